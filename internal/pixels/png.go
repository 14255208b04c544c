package pixels

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
)

const (
	pngSignature = "\x89PNG\r\n\x1a\n"
	pngMaxLen    = 1<<31 - 1 // of a chunk, and of a dimension
)

// pngWalk is what has been seen of a PNG (W3C PNG, third edition, with the animations of its section 11.3.6).
type pngWalk struct {
	*probe
	colour                          byte // colour type
	header, palette, data, dataOver bool
	animated, described             bool
}

func (p *probe) png() error {
	if err := p.skip(int64(len(pngSignature))); err != nil {
		return err
	}
	w := pngWalk{probe: p}
	for {
		var h [8]byte
		if err := p.fill(h[:]); err != nil {
			return err
		}
		length, kind := int64(binary.BigEndian.Uint32(h[:])), string(h[4:])
		if length > pngMaxLen || !pngChunkName(h[4:]) {
			return malformed("the PNG has a chunk %q of %s bytes", kind, grouped(length))
		}
		if err := w.chunk(kind, length); err != nil {
			return err
		}
		if kind == "IEND" {
			return nil
		}
	}
}

func (w *pngWalk) chunk(kind string, length int64) error {
	if w.header == (kind == "IHDR") {
		return malformed("the PNG has its chunk %s out of place", kind)
	}
	if w.data && kind != "IDAT" {
		w.dataOver = true
	}
	switch kind {
	case "IHDR":
		return w.ihdr(length)
	case "PLTE":
		if w.palette || w.data || length == 0 || length > 3*256 || length%3 != 0 {
			return malformed("the PNG's palette is out of place or has a wrong length")
		}
		w.palette = true
		return w.pass(kind, length)
	case "IDAT":
		if w.dataOver || w.colour == 3 && !w.palette {
			return malformed("the PNG's image data is out of place")
		}
		w.data = true
		return w.pass(kind, length)
	case "IEND":
		if !w.data || length != 0 {
			return malformed("the PNG ends without image data")
		}
		return w.pass(kind, length)
	case "fcTL", "fdAT": // ancillary, but an animation's pixels
		return w.pass(kind, length)
	case "acTL":
		return w.actl(length)
	case "eXIf":
		return w.describe(length)
	}
	if kind[0] >= 'A' && kind[0] <= 'Z' {
		return malformed("the PNG has an unknown critical chunk %s", kind)
	}
	return w.skip(length + 4)
}

func (w *pngWalk) ihdr(length int64) error {
	if length != 13 {
		return malformed("the PNG's header has %d bytes", length)
	}
	b, good, err := w.body("IHDR", length)
	if err != nil {
		return err
	}
	if !good {
		return malformed("the PNG's chunk IHDR fails its checksum")
	}
	depth, colour := b[8], b[9]
	if !pngDepth(depth, colour) || b[10] != 0 || b[11] != 0 || b[12] > 1 {
		return malformed("the PNG has colour type %d with %d bits, compression %d, filter %d, interlace %d",
			colour, depth, b[10], b[11], b[12])
	}
	width, height := int64(binary.BigEndian.Uint32(b)), int64(binary.BigEndian.Uint32(b[4:]))
	if width > pngMaxLen || height > pngMaxLen {
		return malformed("the PNG claims %s×%s pixels", grouped(width), grouped(height))
	}
	w.header, w.colour = true, colour
	return w.size(width, height)
}

// actl takes the number of frames of an animation. A broken one leaves a still image, as in browsers.
func (w *pngWalk) actl(length int64) error {
	if length != 8 || w.data || w.animated {
		return w.skip(length + 4)
	}
	b, good, err := w.body("acTL", length)
	if err != nil {
		return err
	}
	if n := int64(binary.BigEndian.Uint32(b)); good && n > 0 {
		w.animated = true
		return w.frames(n)
	}
	return nil
}

func (w *pngWalk) describe(length int64) error {
	if length > w.lim.MaxMetadata || w.described {
		return w.skip(length + 4)
	}
	b, good, err := w.body("eXIf", length)
	if err != nil {
		return err
	}
	if good {
		w.described = true
		w.exif(bytes.NewReader(b))
	}
	return nil
}

// body reads a chunk of a length that the caller has bounded, and reports whether its checksum is right.
func (w *pngWalk) body(kind string, length int64) ([]byte, bool, error) {
	b := make([]byte, length+4)
	if err := w.fill(b); err != nil {
		return nil, false, err
	}
	sum := crc32.Update(crc32.ChecksumIEEE([]byte(kind)), crc32.IEEETable, b[:length])
	return b[:length], sum == binary.BigEndian.Uint32(b[length:]), nil
}

// pass reads over a chunk and refuses a wrong checksum.
func (w *pngWalk) pass(kind string, length int64) error {
	sum := crc32.ChecksumIEEE([]byte(kind))
	if err := w.each(length, func(b []byte) { sum = crc32.Update(sum, crc32.IEEETable, b) }); err != nil {
		return err
	}
	var want [4]byte
	if err := w.fill(want[:]); err != nil {
		return err
	}
	if sum != binary.BigEndian.Uint32(want[:]) {
		return malformed("the PNG's chunk %s fails its checksum", kind)
	}
	return nil
}

func pngChunkName(b []byte) bool {
	for _, c := range b {
		if (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

// pngDepth tells the allowed pairs of bit depth and colour type (table 8 of the specification).
func pngDepth(depth, colour byte) bool {
	switch colour {
	case 0:
		return depth == 1 || depth == 2 || depth == 4 || depth == 8 || depth == 16
	case 3:
		return depth == 1 || depth == 2 || depth == 4 || depth == 8
	case 2, 4, 6:
		return depth == 8 || depth == 16
	}
	return false
}
