package goengine

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/color"
	"image/draw"

	"golang.org/x/image/bmp"
	"golang.org/x/image/tiff"

	"darkroom/internal/pixels"
)

// fromImage makes a frame of a library's image, which must have the size that Probe found.
func fromImage(m image.Image, facts pixels.Facts) (*frame, error) {
	b := m.Bounds()
	if err := sized("image", b.Dx(), b.Dy(), facts); err != nil {
		return nil, err
	}
	f := &frame{w: b.Dx(), h: b.Dy(), chromaX: 1, chromaY: 1}
	switch m := m.(type) {
	case *image.Gray:
		f.colour = []plane{{pix: m.Pix, w: f.w, h: f.h, stride: m.Stride}}
		return f, nil
	case *image.Gray16:
		p := newPlane(f.w, f.h)
		for y := range f.h {
			dst := p.row(y)
			for x := range dst {
				dst[x] = m.Pix[y*m.Stride+2*x]
			}
		}
		f.colour = []plane{p}
		return f, nil
	}
	n, ok := m.(*image.NRGBA)
	if !ok {
		n = toNRGBA(m)
	}
	return fromNRGBA(n), nil
}

// toNRGBA converts with the precision of 8 bits that the formats with straight alpha have.
func toNRGBA(m image.Image) *image.NRGBA {
	b := m.Bounds()
	n := image.NewNRGBA(image.Rect(0, 0, b.Dx(), b.Dy()))
	switch m := m.(type) {
	case *image.NRGBA64:
		for y := range b.Dy() {
			src, dst := m.Pix[y*m.Stride:][:8*b.Dx()], n.Pix[y*n.Stride:][:4*b.Dx()]
			for i := range dst {
				dst[i] = src[2*i]
			}
		}
	case *image.Paletted:
		var table [256]color.NRGBA
		for i, c := range m.Palette {
			table[i] = color.NRGBAModel.Convert(c).(color.NRGBA)
		}
		for y := range b.Dy() {
			dst := n.Pix[y*n.Stride:][:4*b.Dx()]
			for x, v := range m.Pix[y*m.Stride:][:b.Dx()] {
				c := table[v]
				dst[4*x], dst[4*x+1], dst[4*x+2], dst[4*x+3] = c.R, c.G, c.B, c.A
			}
		}
	case *image.RGBA, *image.RGBA64:
		if o, ok := m.(interface{ Opaque() bool }); ok && o.Opaque() {
			draw.Draw(n, n.Rect, m, b.Min, draw.Src)
			return n
		}
		eachPixel(m, n)
	default:
		eachPixel(m, n)
	}
	return n
}

func eachPixel(m image.Image, n *image.NRGBA) {
	b := m.Bounds()
	for y := range b.Dy() {
		for x := range b.Dx() {
			n.SetNRGBA(x, y, color.NRGBAModel.Convert(m.At(b.Min.X+x, b.Min.Y+y)).(color.NRGBA))
		}
	}
}

// fromNRGBA takes pixels apart.
func fromNRGBA(n *image.NRGBA) *frame {
	w, h := n.Rect.Dx(), n.Rect.Dy()
	f := &frame{w: w, h: h, chromaX: 1, chromaY: 1, colour: []plane{newPlane(w, h), newPlane(w, h), newPlane(w, h)}}
	opaque := n.Opaque()
	for y := range h {
		src := n.Pix[y*n.Stride:][:4*w]
		r, g, b := f.colour[0].row(y), f.colour[1].row(y), f.colour[2].row(y)
		for x := range r {
			s := src[4*x : 4*x+4 : 4*x+4]
			r[x], g[x], b[x] = s[0], s[1], s[2]
		}
	}
	if !opaque {
		a := newPlane(w, h)
		for y := range h {
			dst, src := a.row(y), n.Pix[y*n.Stride:][:4*w]
			for x := range dst {
				dst[x] = src[4*x+3]
			}
		}
		f.alpha = &a
	}
	return f
}

func decodeBMP(data []byte, facts pixels.Facts) (*frame, error) {
	m, err := bmp.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	return fromImage(m, facts)
}

func decodeTIFF(data []byte, facts pixels.Facts) (*frame, error) {
	c, err := tiff.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	if err := sized("TIFF", c.Width, c.Height, facts); err != nil {
		return nil, err
	}
	m, err := tiff.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	f, err := fromImage(m, facts)
	if err != nil {
		return nil, err
	}
	f.invertFax(data)
	f.profile = parseProfile(tiffProfile(data))
	return f, nil
}

// Tags of TIFF 6.0, and of a profile (ICC.1:2022, B.3).
const (
	tiffCompression = 259
	tiffPhotometric = 262
	tiffICC         = 34675
)

// invertFax makes white of black where the library takes a fax whose zeros are black for one whose zeros are white: what
// Group 3 and 4 call white is always a zero (TIFF 6.0, sections 10 and 11).
func (f *frame) invertFax(data []byte) {
	compression, photometric := tiffNumber(data, tiffCompression), tiffNumber(data, tiffPhotometric)
	if len(f.colour) != 1 || compression < 2 || compression > 4 || photometric != 1 {
		return
	}
	p := f.colour[0]
	for y := range p.h {
		row := p.row(y)
		for x, v := range row {
			row[x] = 255 - v
		}
	}
}

// tiffNumber returns the number of 16 or 32 bits that a tag of the first page has; zero if there is none.
func tiffNumber(b []byte, tag uint16) uint32 {
	e, order := tiffEntry(b, tag)
	switch {
	case e == nil:
		return 0
	case order.Uint16(e[2:]) == 3:
		return uint32(order.Uint16(e[8:]))
	}
	return order.Uint32(e[8:])
}

// tiffProfile returns the profile of the first page; nil if there is none.
func tiffProfile(b []byte) []byte {
	e, order := tiffEntry(b, tiffICC)
	if e == nil {
		return nil
	}
	size, from := uint64(order.Uint32(e[4:])), uint64(order.Uint32(e[8:]))
	if from+size > uint64(len(b)) {
		return nil
	}
	return b[from : from+size]
}

// tiffEntry returns the entry of a tag in the first page's directory, which is sorted by them; nil if there is none.
func tiffEntry(b []byte, tag uint16) ([]byte, binary.ByteOrder) {
	var order binary.ByteOrder = binary.LittleEndian
	if b[0] == 'M' {
		order = binary.BigEndian
	}
	at := uint64(order.Uint32(b[4:]))
	if at+2 > uint64(len(b)) {
		return nil, order
	}
	n := order.Uint16(b[at:])
	for e := b[at+2:]; n > 0 && len(e) >= 12; e = e[12:] {
		n--
		switch t := order.Uint16(e); {
		case t == tag:
			return e[:12], order
		case t > tag:
			return nil, order
		}
	}
	return nil, order
}
