package goengine

import (
	"bytes"
	"encoding/binary"
	"slices"
	"sync"

	"darkroom/internal/pixels"
)

// Markers of JPEG (ITU-T T.81, table B.1), without their 0xff.
const (
	markSOF0  = 0xc0
	markSOF1  = 0xc1
	markSOF2  = 0xc2
	markDHT   = 0xc4
	markSOF15 = 0xcf
	markRST0  = 0xd0
	markSOI   = 0xd8
	markEOI   = 0xd9
	markSOS   = 0xda
	markDQT   = 0xdb
	markDNL   = 0xdc
	markDRI   = 0xdd
	markAPP0  = 0xe0
	markAPP2  = 0xe2
	markAPP14 = 0xee
)

// jpegComponent is one of the up to four components of a JPEG.
type jpegComponent struct {
	id         byte
	h, v       int // sampling factors
	quant      byte
	across     int // blocks in a row, with those that fill up the last MCU
	down       int
	ownAcross  int // blocks that a scan of this component alone has
	ownDown    int
	dcTab      *huffman
	acTab      *huffman
	prediction int32
	scanned    bool
	out        plane   // whole blocks; cut at the end
	stored     []int16 // the coefficients of a progressive image, in the order of the stream
}

// jpegDecoder decodes Huffman-coded JPEGs of 8 bits, sequential and progressive, to planes of their own subsampling, at
// full size or at a half, a quarter or an eighth of it. It exists since a reduced inverse transform saves more than half
// of the work that a thumbnail takes, which no other Go decoder has (jpegn's is not the inverse of JPEG's transform).
type jpegDecoder struct {
	data          []byte
	pos           int
	width, height int
	denom         int // 1, 2, 4 or 8
	block         int // samples along the side of a block: 8/denom
	comps         []jpegComponent
	hMax, vMax    int
	mcusX, mcusY  int
	progressive   bool
	interval      int // MCUs between restart markers
	quant         [4][64]int32
	hasQuant      [4]bool
	dc, ac        [4]*huffman
	eobRun        int
	jfif          bool
	adobe         int // the transform that an Adobe segment tells; -1 without one
	profile       iccChunks
	bits          bitReader
	scratch       []byte
}

// scanBuffers keeps the memory that entropy-coded data is unstuffed into.
var scanBuffers = sync.Pool{New: func() any { return new([]byte) }}

// decode reads the file to its end. The size must be that of the facts.
func (d *jpegDecoder) decode(facts pixels.Facts) error {
	buf := scanBuffers.Get().(*[]byte)
	d.scratch = (*buf)[:0]
	defer func() {
		*buf = d.scratch[:0]
		scanBuffers.Put(buf)
	}()
	d.adobe = -1
	d.block = 8 / d.denom
	d.pos = 2
	scanned := false
	for {
		m, err := d.marker()
		if err != nil {
			return err
		}
		if m == markEOI {
			break
		}
		if m >= markRST0 && m < markSOI || m == 0x01 {
			continue
		}
		segment, err := d.segment()
		if err != nil {
			return err
		}
		switch {
		case m == markSOF0 || m == markSOF1 || m == markSOF2:
			err = d.frame(segment, m == markSOF2, facts)
		case m == markDHT:
			err = d.huffmanTables(segment)
		case m >= markSOF0 && m <= markSOF15 || m == markDNL:
			return unsupported("JPEG of this coding (marker %#02x) is not supported", m)
		case m == markDQT:
			err = d.quantTables(segment)
		case m == markDRI && len(segment) >= 2:
			d.interval = int(binary.BigEndian.Uint16(segment))
		case m == markAPP0 && len(segment) >= 14 && string(segment[:5]) == "JFIF\x00":
			d.jfif = true
		case m == markAPP2:
			d.profile.add(segment)
		case m == markAPP14 && len(segment) >= 12 && string(segment[:5]) == "Adobe":
			d.adobe = int(segment[11])
		case m == markSOS:
			scanned = true
			err = d.scan(segment)
		}
		if err != nil {
			return err
		}
	}
	if !scanned {
		return malformed("the JPEG ends without a scan")
	}
	if d.progressive {
		if err := d.transform(); err != nil {
			return err
		}
	}
	for i := range d.comps {
		c := &d.comps[i]
		if !c.scanned {
			for j := range c.out.pix {
				c.out.pix[j] = 128 // as coefficients of zero give
			}
		}
		// The last samples of a reduced plane may stand for fewer than the others.
		c.out.w = ceilDiv(d.width*c.h*d.block, d.hMax*8)
		c.out.h = ceilDiv(d.height*c.v*d.block, d.vMax*8)
	}
	return nil
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }

// marker finds the next marker. Stray bytes before it are passed over, as by libjpeg.
func (d *jpegDecoder) marker() (byte, error) {
	for {
		i := bytes.IndexByte(d.data[d.pos:], 0xff)
		if i < 0 {
			return 0, truncated()
		}
		d.pos += i
		for d.pos < len(d.data) && d.data[d.pos] == 0xff {
			d.pos++
		}
		if d.pos >= len(d.data) {
			return 0, truncated()
		}
		d.pos++
		if m := d.data[d.pos-1]; m != 0 {
			return m, nil
		}
	}
}

func (d *jpegDecoder) segment() ([]byte, error) {
	if d.pos+2 > len(d.data) {
		return nil, truncated()
	}
	n := int(binary.BigEndian.Uint16(d.data[d.pos:]))
	if n < 2 {
		return nil, malformed("a JPEG segment claims a length of %d", n)
	}
	if d.pos+n > len(d.data) {
		return nil, truncated()
	}
	s := d.data[d.pos+2 : d.pos+n]
	d.pos += n
	return s, nil
}

func (d *jpegDecoder) quantTables(s []byte) error {
	for len(s) > 0 {
		id, wide := s[0]&15, s[0]>>4 != 0
		n := 1 + 64
		if wide {
			n += 64
		}
		if id > 3 || len(s) < n {
			return malformed("the JPEG has an invalid quantization table")
		}
		for k := range 64 {
			if wide {
				d.quant[id][k] = int32(binary.BigEndian.Uint16(s[1+2*k:]))
			} else {
				d.quant[id][k] = int32(s[1+k])
			}
		}
		d.hasQuant[id] = true
		s = s[n:]
	}
	return nil
}

func (d *jpegDecoder) huffmanTables(s []byte) error {
	for len(s) > 0 {
		if len(s) < 17 {
			return malformed("the JPEG has an invalid Huffman table")
		}
		ac, id := s[0]>>4 == 1, s[0]&15
		counts := [16]byte(s[1:17])
		n := 0
		for _, c := range counts {
			n += int(c)
		}
		if s[0]>>4 > 1 || id > 3 || n > 256 || len(s) < 17+n {
			return malformed("the JPEG has an invalid Huffman table")
		}
		h, err := newHuffman(counts, s[17:17+n])
		if err != nil {
			return err
		}
		if ac {
			d.ac[id] = h
		} else {
			d.dc[id] = h
		}
		s = s[17+n:]
	}
	return nil
}

func (d *jpegDecoder) frame(s []byte, progressive bool, facts pixels.Facts) error {
	if d.comps != nil {
		return malformed("the JPEG has two frame headers")
	}
	if len(s) < 6 || len(s) != 6+3*int(s[5]) {
		return malformed("the JPEG's frame header has %d bytes", len(s))
	}
	if s[0] != 8 {
		return unsupported("JPEG with %d bits a sample is not supported", s[0])
	}
	d.height, d.width = int(binary.BigEndian.Uint16(s[1:])), int(binary.BigEndian.Uint16(s[3:]))
	if err := sized("JPEG", d.width, d.height, facts); err != nil {
		return err
	}
	n := int(s[5])
	if n != 1 && n != 3 && n != 4 {
		return unsupported("JPEG with %d components is not supported", n)
	}
	d.progressive = progressive
	comps := make([]jpegComponent, n)
	for i := range comps {
		b := s[6+3*i:]
		c := jpegComponent{id: b[0], h: int(b[1] >> 4), v: int(b[1] & 15), quant: b[2]}
		if c.h < 1 || c.h > 4 || c.v < 1 || c.v > 4 || c.quant > 3 {
			return malformed("the JPEG has an invalid component")
		}
		if slices.ContainsFunc(comps[:i], func(o jpegComponent) bool { return o.id == c.id }) {
			return malformed("the JPEG has two components of one name")
		}
		d.hMax, d.vMax = max(d.hMax, c.h), max(d.vMax, c.v)
		comps[i] = c
	}
	if n == 1 { // the factors of a single component mean nothing
		comps[0].h, comps[0].v, d.hMax, d.vMax = 1, 1, 1, 1
	}
	d.mcusX, d.mcusY = ceilDiv(d.width, 8*d.hMax), ceilDiv(d.height, 8*d.vMax)
	for i := range comps {
		c := &comps[i]
		if d.hMax%c.h != 0 || d.vMax%c.v != 0 {
			return unsupported("JPEG with sampling factors %d and %d is not supported", c.h, d.hMax)
		}
		c.across, c.down = d.mcusX*c.h, d.mcusY*c.v
		c.ownAcross, c.ownDown = ceilDiv(ceilDiv(d.width*c.h, d.hMax), 8), ceilDiv(ceilDiv(d.height*c.v, d.vMax), 8)
		if progressive {
			c.stored = make([]int16, 64*c.across*c.down)
		} else {
			c.out = newPlane(c.across*d.block, c.down*d.block)
		}
	}
	d.comps = comps
	return nil
}

// jpegScan is the header of a scan.
type jpegScan struct {
	comps      []*jpegComponent
	start, end int  // the band of coefficients
	refine     bool // whether it adds a bit to what is there
	low        uint // the place of the lowest bit
}

func (d *jpegDecoder) scanHeader(s []byte) (jpegScan, error) {
	var h jpegScan
	if d.comps == nil || len(s) < 1 || s[0] < 1 || s[0] > 4 || len(s) != 4+2*int(s[0]) {
		return h, malformed("the JPEG has an invalid scan header")
	}
	n := int(s[0])
	blocks := 0
	for i := range n {
		at := slices.IndexFunc(d.comps, func(c jpegComponent) bool { return c.id == s[1+2*i] })
		if at < 0 || slices.Contains(h.comps, &d.comps[at]) {
			return h, malformed("a scan of the JPEG has an unknown component")
		}
		c := &d.comps[at]
		if c.dcTab, c.acTab = d.dc[s[2+2*i]>>4&3], d.ac[s[2+2*i]&3]; s[2+2*i]&0xcc != 0 {
			return h, malformed("a scan of the JPEG has an unknown table")
		}
		blocks += c.h * c.v
		h.comps = append(h.comps, c)
	}
	if n > 1 && blocks > 10 {
		return h, malformed("the JPEG has %d blocks in an MCU", blocks)
	}
	s = s[1+2*n:]
	h.start, h.end, h.refine, h.low = int(s[0]), int(s[1]), s[2]>>4 != 0, uint(s[2]&15)
	if !d.progressive {
		h.start, h.end, h.refine, h.low = 0, 63, false, 0
	}
	needDC, needAC := h.start == 0 && !h.refine, h.end > 0
	switch {
	case d.progressive && (h.start == 0) != (h.end == 0), h.start > h.end, h.end > 63, h.low > 13, h.start > 0 && n > 1:
		return h, malformed("a scan of the JPEG has an invalid band")
	case slices.ContainsFunc(h.comps, func(c *jpegComponent) bool {
		return needDC && c.dcTab == nil || needAC && c.acTab == nil || !d.progressive && !d.hasQuant[c.quant]
	}):
		return h, malformed("a scan of the JPEG lacks its table")
	}
	return h, nil
}

// scan decodes a scan, restart interval by restart interval.
func (d *jpegDecoder) scan(s []byte) error {
	h, err := d.scanHeader(s)
	if err != nil {
		return err
	}
	for _, c := range h.comps {
		c.scanned = true
	}
	across, down := d.mcusX, d.mcusY
	if len(h.comps) == 1 {
		across, down = h.comps[0].ownAcross, h.comps[0].ownDown
	}
	decode := d.mcuFunc(h)
	left := 0
	for y := range down {
		for x := range across {
			if left == 0 {
				if left = d.interval; left == 0 {
					left = -1
				}
				if err := d.restart(h, x == 0 && y == 0); err != nil {
					return err
				}
			}
			valid := decode(x, y)
			if d.bits.spent() { // what was read then is not of the file
				return truncated()
			}
			if !valid {
				return malformed("the JPEG has invalid data in its MCU %d, %d", x, y)
			}
			left--
		}
	}
	return nil
}

// restart goes to the next run of entropy-coded data, past its restart marker unless it is the first.
func (d *jpegDecoder) restart(h jpegScan, first bool) error {
	if !first {
		m, err := d.marker()
		if err != nil {
			return err
		}
		if m < markRST0 || m >= markSOI {
			return malformed("the JPEG has marker %#02x in place of a restart", m)
		}
	}
	var used int
	d.scratch, used = unstuff(d.scratch[:0], d.data[d.pos:])
	d.pos += used
	d.bits.reset(d.scratch)
	d.eobRun = 0
	for _, c := range h.comps {
		c.prediction = 0
	}
	return nil
}

// mcuFunc returns what decodes an MCU of a scan.
func (d *jpegDecoder) mcuFunc(h jpegScan) func(x, y int) bool {
	block := d.sequentialBlock()
	if d.progressive {
		block = d.progressiveBlock(h)
	}
	if len(h.comps) == 1 {
		c := h.comps[0]
		return func(x, y int) bool { return block(c, x, y) }
	}
	return func(x, y int) bool {
		for _, c := range h.comps {
			for v := range c.v {
				for u := range c.h {
					if !block(c, x*c.h+u, y*c.v+v) {
						return false
					}
				}
			}
		}
		return true
	}
}

// sequentialBlock returns what decodes a block of a sequential image to samples.
func (d *jpegDecoder) sequentialBlock() func(c *jpegComponent, x, y int) bool {
	var b coefficients
	n, place := d.block, places[d.block]
	return func(c *jpegComponent, x, y int) bool {
		diff, ok := d.bits.dc(c.dcTab)
		if !ok {
			return false
		}
		c.prediction += diff
		quant := &d.quant[c.quant]
		if n == 4 { // with a known length it is a few instructions
			clear(b[:16])
		} else {
			clear(b[:])
		}
		b[0] = c.prediction * quant[0]
		last := d.bits.ac(c.acTab, quant, place, &b)
		if last < 0 {
			return false
		}
		inverse(n, &b, last, c.out.pix[y*n*c.out.stride+x*n:], c.out.stride)
		return true
	}
}

// inverse makes n×n samples of a block, of which the coefficients behind the last are zero.
func inverse(n int, b *coefficients, last int, out []byte, stride int) {
	switch {
	case n == 1:
		idct1(b, out)
	case last == 0:
		v := clamp8((b[0]+4)>>3 + 128)
		for y := range n {
			o := out[y*stride:][:n]
			for x := range o {
				o[x] = v
			}
		}
	case n == 2:
		idct2(b, out, stride)
	case n == 4:
		idct4(b, out, stride)
	default:
		idct8(b, out, stride)
	}
}

// progressiveBlock returns what decodes a block of a progressive scan to coefficients.
func (d *jpegDecoder) progressiveBlock(h jpegScan) func(c *jpegComponent, x, y int) bool {
	at := func(c *jpegComponent, x, y int) *[64]int16 { return (*[64]int16)(c.stored[64*(y*c.across+x):]) }
	switch {
	case h.start == 0 && !h.refine:
		return func(c *jpegComponent, x, y int) bool {
			diff, ok := d.bits.dc(c.dcTab)
			c.prediction += diff
			at(c, x, y)[0] = int16(c.prediction << h.low)
			return ok
		}
	case h.start == 0:
		return func(c *jpegComponent, x, y int) bool {
			if d.bits.take(1) != 0 {
				at(c, x, y)[0] |= 1 << h.low
			}
			return true
		}
	case !h.refine:
		return func(c *jpegComponent, x, y int) bool { return d.band(h, c.acTab, at(c, x, y)) }
	}
	return func(c *jpegComponent, x, y int) bool { return d.refineBand(h, c.acTab, at(c, x, y)) }
}

// acSymbol decodes a symbol with a table whose entries hold the symbols themselves.
func (r *bitReader) acSymbol(h *huffman) (run, size int, ok bool) {
	r.refill()
	var s byte
	if e := h.look[r.acc>>(64-lookBits)]; e != 0 {
		s = byte(e >> 8)
		r.acc <<= uint(e & 63)
		r.n -= int(e & 63)
	} else if s, ok = r.symbol(h); !ok {
		return 0, 0, false
	}
	return int(s >> 4), int(s & 15), true
}

// band decodes the first bits of a band (T.81, G.1.2.2).
func (d *jpegDecoder) band(h jpegScan, tab *huffman, b *[64]int16) bool {
	if d.eobRun > 0 {
		d.eobRun--
		return true
	}
	for k := h.start; k <= h.end; k++ {
		run, size, ok := d.bits.acSymbol(tab)
		if !ok {
			return false
		}
		if size == 0 {
			if run < 15 {
				d.eobRun = 1<<run + int(d.bits.take(run)) - 1
				return true
			}
			k += 15
			continue
		}
		if k += run; k > h.end {
			return false
		}
		b[k] = int16(extend(d.bits.take(size), size) << h.low)
	}
	return true
}

// refineBand adds a bit to the coefficients of a band (T.81, G.1.2.3).
func (d *jpegDecoder) refineBand(h jpegScan, tab *huffman, b *[64]int16) bool {
	k, one := h.start, int16(1)<<h.low
	// pass goes on to the zero that follows a run of zeros, and refines what is not zero on the way.
	pass := func(run int) {
		for ; k <= h.end; k++ {
			switch v := b[k]; {
			case v == 0:
				if run == 0 {
					return
				}
				run--
			case d.bits.take(1) == 0:
			case v > 0:
				b[k] += one
			default:
				b[k] -= one
			}
		}
	}
	if d.eobRun == 0 {
		for k <= h.end {
			run, size, ok := d.bits.acSymbol(tab)
			if !ok || size > 1 {
				return false
			}
			if size == 0 && run < 15 {
				d.eobRun = 1<<run + int(d.bits.take(run))
				break
			}
			var v int16
			if size == 1 {
				if v = -one; d.bits.take(1) != 0 {
					v = one
				}
			}
			pass(run)
			if v != 0 {
				if k > h.end {
					return false
				}
				b[k] = v
			}
			k++
		}
	}
	if d.eobRun > 0 {
		pass(64)
		d.eobRun--
	}
	return true
}

// transform makes samples of the coefficients of a progressive image.
func (d *jpegDecoder) transform() error {
	var b coefficients
	n, place := d.block, places[d.block]
	for i := range d.comps {
		c := &d.comps[i]
		if !d.hasQuant[c.quant] {
			return malformed("the JPEG lacks a quantization table")
		}
		quant := &d.quant[c.quant]
		c.out = newPlane(c.across*n, c.down*n)
		for y := range c.ownDown {
			for x := range c.ownAcross {
				clear(b[:n*n])
				last := 0
				for k, v := range (*[64]int16)(c.stored[64*(y*c.across+x):]) {
					if v != 0 {
						last = k
						b[place[k]&127] = int32(v) * quant[k]
					}
				}
				inverse(n, &b, last, c.out.pix[y*n*c.out.stride+x*n:], c.out.stride)
			}
		}
		c.stored = nil
	}
	return nil
}
