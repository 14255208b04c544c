package goengine

import (
	"image"
)

// frame is one image in planes.
type frame struct {
	w, h int
	// colour has one plane of grey; or three: Y, Cb and Cr as JPEG defines them, of which the last two may have fewer
	// samples; or R, G and B.
	colour []plane
	ycc    bool
	alpha  *plane // straight; nil if all is opaque
	// chromaX and chromaY are the luma samples that a chroma sample stands for, across and down.
	chromaX, chromaY int
	fine             bool // chroma gets as fine as luma when the frame is made smaller
	// profile is still to be applied. That waits until the picture was made smaller.
	profile *profile
}

func (f *frame) size() image.Point { return image.Pt(f.w, f.h) }

// oriented returns the frame as it is to be shown.
func (f *frame) oriented(o int64) *frame {
	if o < 2 || o > 8 {
		return f
	}
	mirrorX, mirrorY := o == 2 || o == 3 || o == 7 || o == 8, o == 3 || o == 4 || o == 6 || o == 7
	if mirrorX && f.w%f.chromaX != 0 || mirrorY && f.h%f.chromaY != 0 {
		f = f.fullChroma() // the first sample would stand for fewer pixels than the others, not the last
	}
	g := *f
	g.colour = make([]plane, len(f.colour))
	for i, p := range f.colour {
		g.colour[i] = p.oriented(o)
	}
	if f.alpha != nil {
		a := f.alpha.oriented(o)
		g.alpha = &a
	}
	if o >= 5 {
		g.w, g.h, g.chromaX, g.chromaY = f.h, f.w, f.chromaY, f.chromaX
	}
	return &g
}

// resized returns the part crop of the frame at a size.
func (f *frame) resized(crop image.Rectangle, size image.Point) *frame {
	if f.profile != nil && size.X*size.Y > crop.Dx()*crop.Dy() {
		f = f.converted()
	}
	if f.alpha != nil {
		return f.resizedAlpha(crop, size)
	}
	g := &frame{w: size.X, h: size.Y, ycc: f.ycc, profile: f.profile, chromaX: 1, chromaY: 1}
	g.colour = make([]plane, len(f.colour))
	if f.ycc && f.chromaX*f.chromaY > 1 && !f.fine {
		g.chromaX, g.chromaY = 2, 2
	}
	for i, p := range f.colour {
		w, h := size.X, size.Y
		// The parts of a chroma plane are those of luma, which may begin and end between two of its samples.
		xs, ys := span{float64(crop.Min.X), float64(crop.Max.X)}, span{float64(crop.Min.Y), float64(crop.Max.Y)}
		if f.ycc && i > 0 {
			w, h = ceilDiv(w, g.chromaX), ceilDiv(h, g.chromaY)
			xs = chromaSpan(xs, f.chromaX, w*g.chromaX, size.X)
			ys = chromaSpan(ys, f.chromaY, h*g.chromaY, size.Y)
		}
		g.colour[i] = resample(p, lanczos3, xs, ys, w, h)
	}
	if f.profile != nil {
		return g.converted()
	}
	return g
}

// chromaSpan is the span in chroma samples of a span in luma, made longer as the last of the new chroma samples sticks
// out of the new luma: of want samples that n, whole chroma, cover.
func chromaSpan(s span, by, n, want int) span {
	length := (s.to - s.from) * float64(n) / float64(want)
	return span{s.from / float64(by), (s.from + length) / float64(by)}
}

// resizedAlpha resamples colours that were multiplied by alpha, so that what is not seen does not shine through.
func (f *frame) resizedAlpha(crop image.Rectangle, size image.Point) *frame {
	f = f.cropped(crop).rgb()
	xs, ys := span{0, float64(f.w)}, span{0, float64(f.h)}
	a := resample(*f.alpha, lanczos3, xs, ys, size.X, size.Y).flat()
	g := &frame{w: size.X, h: size.Y, alpha: &a, profile: f.profile, chromaX: 1, chromaY: 1}
	g.colour = make([]plane, len(f.colour))
	for i, p := range f.colour {
		m := newPlane(f.w, f.h)
		for y := range f.h {
			src, alpha, dst := p.row(y), f.alpha.row(y), m.row(y)
			for x, v := range src {
				t := uint32(v)*uint32(alpha[x]) + 128
				dst[x] = byte((t + t>>8) >> 8)
			}
		}
		q := resample(m, lanczos3, xs, ys, size.X, size.Y).flat()
		for x, v := range a.pix {
			if v == 0 {
				q.pix[x] = 0
			} else if v < 255 {
				q.pix[x] = byte(min((uint32(q.pix[x])*255+uint32(v)/2)/uint32(v), 255))
			}
		}
		g.colour[i] = q
	}
	if g.profile != nil {
		return g.converted()
	}
	return g
}

// cropped returns a view of a part of a frame whose planes have the same size.
func (f *frame) cropped(r image.Rectangle) *frame {
	f = f.fullChroma()
	g := *f
	g.w, g.h = r.Dx(), r.Dy()
	cut := func(p plane) plane {
		return plane{pix: p.pix[r.Min.Y*p.stride+r.Min.X:], w: r.Dx(), h: r.Dy(), stride: p.stride}
	}
	g.colour = make([]plane, len(f.colour))
	for i, p := range f.colour {
		g.colour[i] = cut(p)
	}
	if f.alpha != nil {
		a := cut(*f.alpha)
		g.alpha = &a
	}
	return &g
}

// fullChroma returns the frame with chroma for each pixel, interpolated as libjpeg does.
func (f *frame) fullChroma() *frame {
	if !f.ycc || f.chromaX == 1 && f.chromaY == 1 {
		return f
	}
	g := *f
	xs, ys := span{0, float64(f.w) / float64(f.chromaX)}, span{0, float64(f.h) / float64(f.chromaY)}
	g.colour = []plane{f.colour[0], resample(f.colour[1], triangle, xs, ys, f.w, f.h), resample(f.colour[2], triangle, xs, ys, f.w, f.h)}
	g.chromaX, g.chromaY = 1, 1
	return &g
}

// rgb returns the frame with R, G and B, or with grey.
func (f *frame) rgb() *frame {
	if !f.ycc {
		return f
	}
	f = f.fullChroma()
	g := *f
	g.ycc = false
	g.colour = []plane{newPlane(f.w, f.h), newPlane(f.w, f.h), newPlane(f.w, f.h)}
	for y := range f.h {
		yy, cb, cr := f.colour[0].row(y), f.colour[1].row(y), f.colour[2].row(y)
		r, gr, b := g.colour[0].row(y), g.colour[1].row(y), g.colour[2].row(y)
		cb, cr, r, gr, b = cb[:len(yy)], cr[:len(yy)], r[:len(yy)], gr[:len(yy)], b[:len(yy)]
		for x, v := range yy {
			l, u, w := int32(v)<<16+1<<15, int32(cb[x])-128, int32(cr[x])-128
			r[x] = clamp8((l + 91881*w) >> 16)
			gr[x] = clamp8((l - 22554*u - 46802*w) >> 16)
			b[x] = clamp8((l + 116130*u) >> 16)
		}
	}
	return &g
}

// toYCC returns the frame with Y, Cb and Cr of every 2×2 pixels, unless it has that or grey.
func (f *frame) toYCC() *frame {
	switch {
	case len(f.colour) == 1:
		return f
	case f.ycc && f.chromaX == 2 && f.chromaY == 2:
		return f
	case f.ycc:
		return f.halfChroma()
	}
	g := *f
	g.ycc, g.chromaX, g.chromaY = true, 1, 1
	g.colour = []plane{newPlane(f.w, f.h), newPlane(f.w, f.h), newPlane(f.w, f.h)}
	for y := range f.h {
		r, gr, b := f.colour[0].row(y), f.colour[1].row(y), f.colour[2].row(y)
		yy, cb, cr := g.colour[0].row(y), g.colour[1].row(y), g.colour[2].row(y)
		for x := range yy {
			rr, gg, bb := int32(r[x]), int32(gr[x]), int32(b[x])
			yy[x] = byte((19595*rr + 38470*gg + 7471*bb + 1<<15) >> 16)
			cb[x] = clamp8((-11059*rr - 21709*gg + 32768*bb + 128<<16 + 1<<15) >> 16)
			cr[x] = clamp8((32768*rr - 27439*gg - 5329*bb + 128<<16 + 1<<15) >> 16)
		}
	}
	return g.halfChroma()
}

// halfChroma returns the frame with chroma of every 2×2 pixels.
func (f *frame) halfChroma() *frame {
	g := *f.fullChroma()
	g.colour = []plane{g.colour[0], boxShrink(g.colour[1], 2, 2), boxShrink(g.colour[2], 2, 2)}
	g.chromaX, g.chromaY = 2, 2
	return &g
}

// converted returns the frame with its profile applied, and its chroma as reduced as it was.
func (f *frame) converted() *frame {
	g := f.convertedRGB()
	if f.ycc && !g.ycc && f.chromaX*f.chromaY > 1 {
		return g.toYCC()
	}
	return g
}

// convertedRGB returns the frame with its profile applied, in R, G and B if it has colours and a profile for them.
func (f *frame) convertedRGB() *frame {
	p := f.profile
	if p == nil {
		return f
	}
	if p.grey != nil {
		return f.convertedGrey()
	}
	if len(f.colour) == 1 { // a profile for colours in a grey image
		g := *f
		g.profile = nil
		return &g
	}
	g := *f.rgb()
	g.profile = nil
	out := []plane{newPlane(f.w, f.h), newPlane(f.w, f.h), newPlane(f.w, f.h)}
	for y := range f.h {
		r, gr, b := g.colour[0].row(y), g.colour[1].row(y), g.colour[2].row(y)
		or, og, ob := out[0].row(y), out[1].row(y), out[2].row(y)
		for x := range r {
			or[x], og[x], ob[x] = p.convert(r[x], gr[x], b[x])
		}
	}
	g.colour = out
	return &g
}

func (f *frame) convertedGrey() *frame {
	g := *f
	table := f.profile.grey
	g.profile = nil
	if len(f.colour) != 1 {
		return &g
	}
	out := newPlane(f.w, f.h)
	for y := range f.h {
		dst := out.row(y)
		for x, v := range f.colour[0].row(y) {
			dst[x] = table[v]
		}
	}
	g.colour = []plane{out}
	return &g
}

// sharpened returns the frame with what distinguishes a pixel's luma from that of its surroundings made stronger.
func (f *frame) sharpened(amount float64) *frame {
	// As vipsthumbnail's mask for an amount of one: 1/24 of the difference to each neighbour.
	gain := int32(amount*(1<<16)/24 + 0.5)
	f = f.converted()
	g := *f
	if f.ycc || len(f.colour) == 1 {
		luma := newPlane(f.w, f.h)
		unsharp(f.colour[0], gain, func(y int, more []int32) { addTo(luma.row(y), f.colour[0].row(y), more) })
		g.colour = append([]plane{luma}, f.colour[1:]...)
		return &g
	}
	out := []plane{newPlane(f.w, f.h), newPlane(f.w, f.h), newPlane(f.w, f.h)}
	unsharp(f.lumaOfRGB(), gain, func(y int, more []int32) {
		for i := range out {
			addTo(out[i].row(y), f.colour[i].row(y), more)
		}
	})
	g.colour = out
	return &g
}

func addTo(dst, src []byte, more []int32) {
	for x, v := range src {
		dst[x] = clamp8(int32(v) + more[x])
	}
}

func (f *frame) lumaOfRGB() plane {
	l := newPlane(f.w, f.h)
	for y := range f.h {
		r, g, b, dst := f.colour[0].row(y), f.colour[1].row(y), f.colour[2].row(y), l.row(y)
		for x := range dst {
			dst[x] = byte((19595*int32(r[x]) + 38470*int32(g[x]) + 7471*int32(b[x]) + 1<<15) >> 16)
		}
	}
	return l
}

// unsharp calls each for each row with what is to be added to it. gain has 16 fractional bits.
func unsharp(p plane, gain int32, each func(y int, more []int32)) {
	more := make([]int32, p.w)
	for y := range p.h {
		up, mid, low := p.row(max(y-1, 0)), p.row(y), p.row(min(y+1, p.h-1))
		for x := range mid {
			l, r := max(x-1, 0), min(x+1, p.w-1)
			sum := int32(up[l]) + int32(up[x]) + int32(up[r]) + int32(mid[l]) + int32(mid[r]) + int32(low[l]) + int32(low[x]) + int32(low[r])
			more[x] = ((8*int32(mid[x])-sum)*gain + 1<<15) >> 16
		}
		each(y, more)
	}
}

// nrgba returns the pixels.
func (f *frame) nrgba() *image.NRGBA {
	f = f.convertedRGB().rgb()
	m := image.NewNRGBA(image.Rect(0, 0, f.w, f.h))
	last := len(f.colour) - 1
	for y := range f.h {
		r, g, b := f.colour[0].row(y), f.colour[min(1, last)].row(y), f.colour[last].row(y)
		dst := m.Pix[y*m.Stride:][:4*f.w]
		for x := range r {
			o := dst[4*x : 4*x+4 : 4*x+4]
			o[0], o[1], o[2], o[3] = r[x], g[x], b[x], 255
		}
		if f.alpha != nil {
			for x, v := range f.alpha.row(y) {
				dst[4*x+3] = v
			}
		}
	}
	return m
}

// flattened returns the frame on a background, without alpha.
func (f *frame) flattened(bg [3]byte) *frame {
	if f.alpha == nil {
		return f
	}
	f = f.converted().rgb()
	g := *f
	g.alpha = nil
	g.colour = make([]plane, 3)
	for i := range g.colour {
		src := f.colour[min(i, len(f.colour)-1)]
		out := newPlane(f.w, f.h)
		for y := range f.h {
			dst, alpha := out.row(y), f.alpha.row(y)
			for x, v := range src.row(y) {
				t := uint32(v)*uint32(alpha[x]) + uint32(bg[i])*(255-uint32(alpha[x])) + 128
				dst[x] = byte((t + t>>8) >> 8)
			}
		}
		g.colour[i] = out
	}
	return &g
}
