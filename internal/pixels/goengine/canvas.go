package goengine

import (
	"image"
	"image/png"
	"sync"
)

// What becomes of the place of a frame once it was shown.
type disposal int

const (
	keep disposal = iota
	clearPlace
	restore // what was there before
)

// canvas composes the frames of an animation.
type canvas struct{ image *image.NRGBA }

func newCanvas(size image.Point) *canvas { return &canvas{image.NewNRGBA(image.Rectangle{Max: size})} }

// show draws m at a place within the canvas, over what is there or instead of it, and returns what is then seen.
func (c *canvas) show(m *image.NRGBA, place image.Rectangle, over bool, after disposal) *frame {
	var before []byte
	if after == restore {
		before = append(before, c.image.Pix...)
	}
	for y := range place.Dy() {
		dst := c.image.Pix[c.image.PixOffset(place.Min.X, place.Min.Y+y):][:4*place.Dx()]
		src := m.Pix[m.PixOffset(m.Rect.Min.X, m.Rect.Min.Y+y):][:4*place.Dx()]
		if !over {
			copy(dst, src)
			continue
		}
		for x := 0; x < len(src); x += 4 {
			blend((*[4]byte)(dst[x:]), (*[4]byte)(src[x:]))
		}
	}
	f := fromNRGBA(c.image)
	switch after {
	case clearPlace:
		for y := range place.Dy() {
			clear(c.image.Pix[c.image.PixOffset(place.Min.X, place.Min.Y+y):][:4*place.Dx()])
		}
	case restore:
		copy(c.image.Pix, before)
	}
	return f
}

// blend puts a pixel with straight alpha over another.
func blend(dst, src *[4]byte) {
	switch src[3] {
	case 255:
		*dst = *src
		return
	case 0:
		return
	}
	sa, da := uint32(src[3]), uint32(dst[3])
	rest := da * (255 - sa)
	total := sa*255 + rest // of alpha, times 255
	for i := range 3 {
		dst[i] = byte((uint32(src[i])*sa*255 + uint32(dst[i])*rest + total/2) / total)
	}
	dst[3] = byte((total + 127) / 255)
}

func toNRGBAImage(m image.Image) *image.NRGBA {
	if n, ok := m.(*image.NRGBA); ok {
		return n
	}
	return toNRGBA(m)
}

// pngPool keeps the buffers of the PNG encoder.
type pngPool struct{ sync.Pool }

var pngBuffers pngPool

func (p *pngPool) Get() *png.EncoderBuffer {
	b, _ := p.Pool.Get().(*png.EncoderBuffer)
	return b
}

func (p *pngPool) Put(b *png.EncoderBuffer) { p.Pool.Put(b) }
