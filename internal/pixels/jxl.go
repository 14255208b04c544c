package pixels

import (
	"bytes"
	"encoding/binary"
)

// jxlHeaderLen is more than the fields take that are read here.
const jxlHeaderLen = 64

// jxl reads the header of a JPEG XL (ISO/IEC 18181-1), bare or in boxes (18181-2). A bare one does not say where it
// ends, so that it is not found out whether it was cut.
func (p *probe) jxl() error {
	head, err := p.peek(2)
	if err != nil {
		return err
	}
	if bytes.Equal(head, []byte("\xff\x0a")) {
		if head, err = p.peek(jxlHeaderLen); err != nil {
			return err
		}
		return p.jxlHeader(head)
	}
	head = nil
	var described bool
	for last := false; !last; {
		var at int64
		kind, left, err := p.boxHeader(&at)
		if err != nil {
			return err
		}
		switch kind {
		case "jxlc":
			last = true
		case "jxlp":
			var n [4]byte
			if left < 4 {
				return malformed("the JPEG XL has a part of %d bytes", left)
			}
			if err := p.fill(n[:]); err != nil {
				return err
			}
			last, left = n[0]&0x80 != 0, left-4
		case "Exif":
			if !described && left <= p.lim.MaxMetadata {
				described = true
				b := make([]byte, left)
				if err := p.fill(b); err != nil {
					return err
				}
				left = 0
				p.exifBlock(b)
			}
		}
		if kind == "jxlc" || kind == "jxlp" {
			b := make([]byte, min(left, int64(jxlHeaderLen-len(head))))
			if left == toEnd {
				if b, err = p.peek(len(b)); err != nil {
					return err
				}
			} else if err := p.fill(b); err != nil {
				return err
			}
			head = append(head, b...)
			left -= int64(len(b))
		}
		if left > toEnd-1<<10 { // the last box, without a length
			if !last {
				return truncated()
			}
			break
		}
		if err := p.skip(left); err != nil {
			return err
		}
	}
	return p.jxlHeader(head)
}

// jxlHeader reads the size and, of the metadata, the orientation and whether there is an animation.
func (p *probe) jxlHeader(b []byte) error {
	p.facts.Orientation = 1 // that of EXIF is for information only
	if len(b) < 2 || binary.BigEndian.Uint16(b) != 0xff0a {
		return malformed("the JPEG XL has no codestream")
	}
	r := bitReader{b: b[2:]}
	width, height := r.jxlSize()
	if r.short {
		return truncated()
	}
	if err := p.size(width, height); err != nil {
		return err
	}
	allDefault := r.read(1) == 1
	if !allDefault && r.read(1) == 1 {
		p.facts.Orientation = 1 + r.read(3)
		if r.read(1) == 1 { // another size, at which the image is to be shown
			r.jxlSize()
		}
		if r.read(1) == 1 {
			r.jxlPreview()
		}
		if r.read(1) == 1 {
			return fail(CodeUnsupportedFormat, "animated JPEG XL images are not supported")
		}
	}
	if r.short {
		return truncated()
	}
	return nil
}

// bitReader reads numbers whose lowest bit comes first. What is not there is zero, and short is set.
type bitReader struct {
	b     []byte
	at    int
	short bool
}

func (r *bitReader) read(n int) (v int64) {
	for i := range n {
		if r.at>>3 >= len(r.b) {
			r.short = true
			return 0
		}
		v |= int64(r.b[r.at>>3]>>(r.at&7)&1) << i
		r.at++
	}
	return v
}

// jxlNumber is one of four forms of a number: so many bits, and what is added to them.
type jxlNumber [4]struct {
	bits int
	plus int64
}

var (
	jxlSide      = jxlNumber{{9, 1}, {13, 1}, {18, 1}, {30, 1}}
	jxlPreview   = jxlNumber{{6, 1}, {8, 65}, {10, 321}, {12, 1345}}
	jxlPreview8s = jxlNumber{{0, 16}, {0, 32}, {5, 1}, {9, 33}}
)

func (r *bitReader) number(n jxlNumber) int64 {
	form := n[r.read(2)]
	return form.plus + r.read(form.bits)
}

// jxlRatios are those of width to height that need no width.
var jxlRatios = [8][2]int64{1: {1, 1}, 2: {12, 10}, 3: {4, 3}, 4: {3, 2}, 5: {16, 9}, 6: {5, 4}, 7: {2, 1}}

// jxlSize reads a SizeHeader.
func (r *bitReader) jxlSize() (width, height int64) {
	side := func() int64 { return r.number(jxlSide) }
	if r.read(1) == 1 {
		side = func() int64 { return 8 * (1 + r.read(5)) }
	}
	return r.jxlSides(side)
}

// jxlPreview reads over a PreviewHeader.
func (r *bitReader) jxlPreview() {
	side := func() int64 { return r.number(jxlPreview) }
	if r.read(1) == 1 {
		side = func() int64 { return 8 * r.number(jxlPreview8s) }
	}
	r.jxlSides(side)
}

func (r *bitReader) jxlSides(side func() int64) (width, height int64) {
	height = side()
	ratio := jxlRatios[r.read(3)]
	if ratio[0] == 0 {
		return side(), height
	}
	return height * ratio[0] / ratio[1], height
}
