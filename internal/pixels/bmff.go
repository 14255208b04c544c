package pixels

import (
	"bytes"
	"encoding/binary"
	"math"
)

// maxBoxLen bounds the boxes that are held in memory, those that describe the pictures and the tracks.
const maxBoxLen = 1 << 20

// bmffWalk is what has been seen of an AVIF or a HEIC, whose boxes (ISO/IEC 14496-12) may come in any order.
type bmffWalk struct {
	*probe
	at                 int64 // bytes that were read
	need               int64 // bytes that the file must have, since pixels are there
	still, moving      bool  // the picture, and the track of a sequence, have been described
	sequence           bool  // the brands call for a track
	exifAt, exifLen    int64
	properties         []bmffProperty
	primary, exifItem  uint32
	associated         []int    // properties of the primary item, by their number in properties
	exifParts          []extent // of the item that holds EXIF, up to two: only one in a single part is read
	orientation        int64
	trackW, trackH     int64
	trackCount, offset int64
}

// extent is a part of the file.
type extent struct{ at, length int64 }

// bmffProperty is one that matters here: the size of a picture or of its part that is shown, a rotation or a mirroring.
type bmffProperty struct {
	kind          string
	width, height int64
	step          byte // quarters of a turn anticlockwise, or the axis of the mirror
}

// bmff walks the boxes until all that describes the image has been seen, and its pixels are there.
func (p *probe) bmff() error {
	w := &bmffWalk{probe: p, orientation: 1}
	for first := true; first || !w.complete(); first = false {
		if more, err := w.peek(1); err != nil {
			return err
		} else if len(more) == 0 {
			return truncated()
		}
		if err := w.box(first); err != nil {
			return err
		}
	}
	if err := w.describe(); err != nil {
		return err
	}
	p.facts.Orientation = w.orientation // EXIF's own is for information only (ISO/IEC 23008-12, annex A.3)
	return nil
}

func (w *bmffWalk) complete() bool {
	return (w.still || w.moving) && (w.moving || !w.sequence) && w.at >= w.need
}

// box reads one box of the file.
func (w *bmffWalk) box(first bool) error {
	kind, left, err := w.boxHeader(&w.at)
	if err != nil {
		return err
	}
	switch {
	case kind == "ftyp" || kind == "meta" || kind == "moov":
		if left > maxBoxLen {
			return fail(CodeUnsupportedFormat, "the image has a box %s of %s bytes", kind, grouped(left))
		}
		b := make([]byte, left)
		if err := w.fill(b); err != nil {
			return err
		}
		w.at += left
		return w.description(kind, b)
	case first:
		return malformed("the image does not begin with its brands")
	case left == toEnd:
		if w.need > w.at && w.need < toEnd {
			return w.pass(w.need - w.at)
		}
		return fail(CodeUnsupportedFormat, "the image's last box, without a length, precedes what describes it")
	}
	return w.pass(left)
}

// toEnd stands for the length of a box that ends with the file.
const toEnd = math.MaxInt64

// boxHeader reads the header of a box, and returns its kind and how many bytes follow.
func (p *probe) boxHeader(at *int64) (kind string, left int64, err error) {
	var h [8]byte
	if err := p.fill(h[:]); err != nil {
		return "", 0, err
	}
	*at += 8
	kind = string(h[4:])
	switch n := int64(binary.BigEndian.Uint32(h[:])); {
	case n == 0:
		return kind, toEnd, nil
	case n >= 8:
		return kind, n - 8, nil
	case n != 1:
		return "", 0, malformed("the image has a box %q of %d bytes", kind, n)
	}
	if err := p.fill(h[:]); err != nil {
		return "", 0, err
	}
	*at += 8
	n := binary.BigEndian.Uint64(h[:])
	if n < 16 || n > math.MaxInt64/2 {
		return "", 0, malformed("the image has a box %q of %d bytes", kind, n)
	}
	return kind, int64(n) - 16, nil
}

// pass reads over n bytes, of which some may be the EXIF data.
func (w *bmffWalk) pass(n int64) error {
	end := w.at + n
	if w.exifLen > 4 && w.exifAt >= w.at && w.exifAt+w.exifLen <= end {
		if err := w.skip(w.exifAt - w.at); err != nil {
			return err
		}
		b := make([]byte, w.exifLen)
		if err := w.fill(b); err != nil {
			return err
		}
		w.exifBlock(b)
		w.at = w.exifAt + w.exifLen
	}
	n, w.at = end-w.at, end
	return w.skip(n)
}

// exifBlock takes EXIF as it is stored in boxes: after the offset of its header.
func (p *probe) exifBlock(b []byte) {
	if len(b) < 4 {
		return
	}
	if at := int64(binary.BigEndian.Uint32(b)) + 4; at < int64(len(b)) {
		p.exif(bytes.NewReader(b[at:]))
	}
}

func (w *bmffWalk) description(kind string, b []byte) error {
	switch kind {
	case "ftyp":
		for at := 0; at+4 <= len(b); at += 4 {
			switch string(b[at : at+4]) {
			case "avis", "msf1", "hevc", "hevx", "hevm", "hevs":
				w.sequence = w.sequence || at != 4 // which is the version
			}
		}
		return nil
	case "meta":
		return w.meta(b)
	}
	return EachBox(b, func(kind string, b []byte) error {
		if kind == "trak" {
			return w.track(b)
		}
		return nil
	})
}

// EachBox hands the boxes in b (ISO/IEC 14496-12, 4.2) to f, until that returns an error.
func EachBox(b []byte, f func(kind string, body []byte) error) error {
	for len(b) > 0 {
		r := fields{b: b}
		n, kind := r.uint(4), string(r.bytes(4))
		switch n {
		case 0:
			n = int64(len(b))
		case 1:
			n = r.uint(8)
		}
		head := int64(len(b) - len(r.b))
		if r.short || n < head || n > int64(len(b)) {
			return malformed("the image has a box %q that does not fit", kind)
		}
		if err := f(kind, b[head:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// fields reads numbers of 0 to 8 bytes, the highest byte first. What is not there is zero, and short is set.
type fields struct {
	b     []byte
	short bool
}

func (f *fields) bytes(n int) []byte {
	if n > len(f.b) {
		f.short = true
		return make([]byte, n)
	}
	b := f.b[:n]
	f.b = f.b[n:]
	return b
}

func (f *fields) uint(n int) int64 {
	var v uint64
	for _, c := range f.bytes(n) {
		v = v<<8 | uint64(c)
	}
	return int64(min(v, math.MaxInt64/4)) // so that a sum of two is no overflow
}

// whole reads a fraction of two numbers of 32 bits; zero if it is no whole number.
func (f *fields) whole() int64 {
	n, d := f.uint(4), f.uint(4)
	if d == 0 || n%d != 0 {
		return 0
	}
	return n / d
}

// full reads the version and flags of a box that has them.
func (f *fields) full() (version, flags int64) { return f.uint(1), f.uint(3) }

func (f *fields) check(kind string) error {
	if f.short {
		return malformed("the image's box %s is too short", kind)
	}
	return nil
}

// meta reads the box that describes the items, of which the primary one is the picture (ISO/IEC 23008-12).
func (w *bmffWalk) meta(b []byte) error {
	if w.still {
		return malformed("the image describes its pictures twice")
	}
	r := fields{b: b}
	r.full()
	w.still, w.associated, w.exifParts = true, nil, nil
	// First which items matter, so that of the others nothing is kept.
	err := EachBox(r.b, func(kind string, b []byte) error {
		r := fields{b: b}
		switch kind {
		case "pitm":
			version, _ := r.full()
			w.primary = uint32(r.uint(wide(version >= 1)))
		case "iinf":
			return w.itemInfos(b)
		}
		return r.check(kind)
	})
	if err != nil {
		return err
	}
	err = EachBox(r.b, func(kind string, b []byte) error {
		switch kind {
		case "iloc":
			return w.itemLocations(b)
		case "iprp":
			return w.itemProperties(b)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if w.primary == 0 && w.sequence {
		w.still = false // all that is shown is in the track
		return nil
	}
	return w.picture()
}

// wide is the length of a number that has 32 bits or 16.
func wide(is32 bool) int {
	if is32 {
		return 4
	}
	return 2
}

// itemInfos finds the item that holds EXIF.
func (w *bmffWalk) itemInfos(b []byte) error {
	r := fields{b: b}
	version, _ := r.full()
	r.uint(wide(version >= 1))
	if err := r.check("iinf"); err != nil {
		return err
	}
	return EachBox(r.b, func(kind string, b []byte) error {
		r := fields{b: b}
		version, _ := r.full()
		if kind != "infe" || version < 2 {
			return nil
		}
		id := uint32(r.uint(wide(version >= 3)))
		r.uint(2)
		if string(r.bytes(4)) == "Exif" && w.exifItem == 0 {
			w.exifItem = id
		}
		return r.check(kind)
	})
}

// itemLocations reads where in the file the items are.
func (w *bmffWalk) itemLocations(b []byte) error {
	r := fields{b: b}
	version, _ := r.full()
	sizes := r.uint(2)
	offsetLen, lengthLen, baseLen, indexLen := int(sizes>>12), int(sizes>>8&15), int(sizes>>4&15), int(sizes&15)
	if max(offsetLen, lengthLen, baseLen, indexLen) > 8 {
		return malformed("the image has places of items in numbers of more than 8 bytes")
	}
	if version == 0 {
		indexLen = 0
	}
	for range r.uint(wide(version >= 2)) {
		id := uint32(r.uint(wide(version >= 2)))
		method := int64(0)
		if version >= 1 {
			method = r.uint(2) & 15
		}
		r.uint(2)
		base := r.uint(baseLen)
		parts := r.uint(2)
		if parts > 1 && indexLen+offsetLen+lengthLen == 0 {
			return malformed("the image has an item of %d parts, none of which has a place", parts)
		}
		for range parts {
			r.uint(indexLen)
			e := extent{at: base + r.uint(offsetLen), length: r.uint(lengthLen)}
			if r.short {
				break
			}
			if method != 0 { // inside of the box itself, or of another item
				continue
			}
			w.need = max(w.need, min(e.at+max(e.length, 1), toEnd-1))
			if id == w.exifItem && len(w.exifParts) < 2 {
				w.exifParts = append(w.exifParts, e)
			}
		}
		if r.short {
			break
		}
	}
	return r.check("iloc")
}

// itemProperties reads the properties and which items have them.
func (w *bmffWalk) itemProperties(b []byte) error {
	return EachBox(b, func(kind string, b []byte) error {
		switch kind {
		case "ipco":
			return EachBox(b, w.property)
		case "ipma":
			r := fields{b: b}
			w.associations(&r)
			return r.check(kind)
		}
		return nil
	})
}

func (w *bmffWalk) property(kind string, b []byte) error {
	r := fields{b: b}
	p := bmffProperty{kind: kind}
	switch kind {
	case "ispe":
		r.full()
		p.width, p.height = r.uint(4), r.uint(4)
		if err := checkSize(p.width, p.height, w.lim); err != nil && !r.short {
			return err
		}
	case "clap":
		p.width, p.height = r.whole(), r.whole()
	case "irot":
		p.step = byte(r.uint(1)) & 3
	case "imir":
		p.step = byte(r.uint(1)) & 1
	}
	w.properties = append(w.properties, p)
	return r.check(kind)
}

func (w *bmffWalk) associations(r *fields) {
	version, flags := r.full()
	for range r.uint(4) {
		id := uint32(r.uint(wide(version >= 1)))
		for range r.uint(1) {
			n := r.uint(1) & 0x7f
			if flags&1 != 0 {
				n = n<<8 | r.uint(1)
			}
			if id == w.primary {
				w.associated = append(w.associated, int(n))
			}
		}
		if r.short {
			return
		}
	}
}

// How an orientation changes when what it shows is turned by a quarter anticlockwise, or mirrored at an axis: top and
// bottom, or left and right, change places.
var (
	quarterTurn = [9]int64{1: 8, 2: 5, 3: 6, 4: 7, 5: 4, 6: 1, 7: 2, 8: 3}
	mirrored    = [2][9]int64{{1: 4, 2: 3, 3: 2, 4: 1, 5: 8, 6: 7, 7: 6, 8: 5}, {1: 2, 2: 1, 3: 4, 4: 3, 5: 6, 6: 5, 7: 8, 8: 7}}
)

// picture takes the size and the orientation of the primary item.
func (w *bmffWalk) picture() error {
	var sized bool
	for _, n := range w.associated {
		if n == 0 { // no property
			continue
		}
		if n > len(w.properties) {
			return malformed("the image's picture has a property that is not there")
		}
		switch p := w.properties[n-1]; p.kind {
		case "ispe":
			sized = true
			if err := w.size(p.width, p.height); err != nil {
				return err
			}
		case "clap": // the part that is shown; only before it is turned (ISO/IEC 23000-22, 7.3.6.7)
			if p.width < 1 || p.height < 1 || p.width > w.facts.Width || p.height > w.facts.Height || w.orientation != 1 {
				return fail(CodeUnsupportedFormat, "the image shows a part of its picture that is not of whole pixels in it")
			}
			if err := w.size(p.width, p.height); err != nil {
				return err
			}
		case "irot":
			for range p.step {
				w.orientation = quarterTurn[w.orientation]
			}
		case "imir":
			w.orientation = mirrored[p.step][w.orientation]
		}
	}
	if !sized {
		return malformed("the image does not say how large its picture is")
	}
	if e := w.exifParts; len(e) == 1 && e[0].length <= w.lim.MaxMetadata {
		w.exifAt, w.exifLen = e[0].at, e[0].length
	}
	return nil
}

// track reads a track, which is the sequence if its handler says so.
func (w *bmffWalk) track(b []byte) error {
	var t bmffWalk
	var handler string
	path := []string{"mdia", "minf", "stbl"} // each in the one before, and no deeper
	depth := 0
	var walk func(kind string, b []byte) error
	walk = func(kind string, b []byte) error {
		if depth < len(path) && kind == path[depth] {
			depth++
			err := EachBox(b, walk)
			depth--
			return err
		}
		r := fields{b: b}
		switch kind {
		case "hdlr":
			r.bytes(8)
			handler = string(r.bytes(4))
		case "stsz", "stz2":
			r.bytes(8)
			t.trackCount = r.uint(4)
		case "stsd":
			r.bytes(8 + 8 + 24) // to the dimensions of the first entry
			t.trackW, t.trackH = r.uint(2), r.uint(2)
		case "stco", "co64":
			r.full()
			n := 4
			if kind == "co64" {
				n = 8
			}
			for range r.uint(4) {
				if t.offset = max(t.offset, r.uint(n)); r.short {
					break
				}
			}
		}
		return r.check(kind)
	}
	if err := EachBox(b, walk); err != nil || handler != "pict" || w.moving {
		return err
	}
	w.moving = true
	w.trackW, w.trackH, w.trackCount = t.trackW, t.trackH, t.trackCount
	w.need = max(w.need, t.offset+1)
	return checkSize(t.trackW, t.trackH, w.lim)
}

// describe takes what the track says.
func (w *bmffWalk) describe() error {
	if !w.moving {
		return nil
	}
	if w.trackCount < 1 {
		return malformed("the image's sequence has no frames")
	}
	if !w.still {
		if err := w.size(w.trackW, w.trackH); err != nil {
			return err
		}
	}
	return w.frames(w.trackCount)
}
