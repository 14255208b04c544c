package goengine

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/jpeg"

	"darkroom/internal/pixels"
)

// decodeJPEG decodes at the smallest scale that leaves atLeast pixels, upright.
func decodeJPEG(data []byte, facts pixels.Facts, atLeast image.Point) (*frame, error) {
	if len(data) < 2 {
		return nil, truncated()
	}
	d := jpegDecoder{data: data, denom: jpegDenom(facts, atLeast)}
	if err := d.decode(facts); err != nil {
		var coded *pixels.Error
		if !errors.As(err, &coded) {
			return nil, err
		}
		// A second opinion: where it can decode the file, the first was too strict.
		f, again := decodeJPEGStandard(data, facts)
		if again != nil {
			return nil, err
		}
		return f, nil
	}
	planes := make([]plane, len(d.comps))
	for i, c := range d.comps {
		planes[i] = c.out
	}
	f := &frame{w: planes[0].w, h: planes[0].h, chromaX: 1, chromaY: 1}
	// The components need not be in the order of their sampling; the frame has the size of the finest.
	f.w, f.h = ceilDiv(d.width*d.block, 8), ceilDiv(d.height*d.block, 8)
	profile := parseProfile(d.profile.bytes())
	switch len(planes) {
	case 1:
		f.colour, f.profile = planes, profile
		return f, nil
	case 3:
		f.colour, f.ycc, f.profile = planes, d.isYCC(), profile
	case 4:
		f.colour = planes
	}
	return d.finish(f), nil
}

// isYCC tells whether three components are Y, Cb and Cr, as libjpeg does.
func (d *jpegDecoder) isYCC() bool {
	if d.jfif {
		return true
	}
	if d.adobe >= 0 {
		return d.adobe != 0
	}
	return d.comps[0].id != 'R' || d.comps[1].id != 'G' || d.comps[2].id != 'B'
}

// finish makes a frame of the components of a JPEG: luma at full size with chroma of one subsampling, or RGB.
func (d *jpegDecoder) finish(f *frame) *frame {
	full := func(i int) plane {
		c := d.comps[i]
		xs := span{0, float64(f.w) * float64(c.h) / float64(d.hMax)}
		ys := span{0, float64(f.h) * float64(c.v) / float64(d.vMax)}
		return resample(f.colour[i], triangle, xs, ys, f.w, f.h)
	}
	c := d.comps
	if f.ycc && c[0].h == d.hMax && c[0].v == d.vMax && c[1].h == c[2].h && c[1].v == c[2].v {
		f.chromaX, f.chromaY = d.hMax/c[1].h, d.vMax/c[1].v
		return f
	}
	for i := range f.colour {
		f.colour[i] = full(i)
	}
	if len(f.colour) == 4 {
		return d.fromCMYK(f)
	}
	return f
}

// fromCMYK makes RGB of CMYK or YCCK. Adobe's programs store both inverted, and others follow them.
func (d *jpegDecoder) fromCMYK(f *frame) *frame {
	g := *f
	g.colour = f.colour[:3]
	if d.adobe == 2 { // YCCK: the complement of the colours that YCbCr gives is what CMYK has
		g.ycc = true
		g = *g.rgb()
	}
	out := []plane{newPlane(f.w, f.h), newPlane(f.w, f.h), newPlane(f.w, f.h)}
	for y := range f.h {
		black := f.colour[3].row(y)
		for i := range out {
			src, dst := g.colour[i].row(y), out[i].row(y)
			for x, k := range black {
				v := src[x]
				switch {
				case d.adobe == 2:
					v = 255 - v
				case d.adobe < 0:
					v, k = 255-v, 255-k
				}
				t := uint32(v)*uint32(k) + 128
				dst[x] = byte((t + t>>8) >> 8)
			}
		}
	}
	g.colour = out
	return &g
}

// jpegDenom returns the denominator of the scale to decode at.
func jpegDenom(facts pixels.Facts, atLeast image.Point) int {
	if atLeast.X <= 0 || atLeast.Y <= 0 {
		return 1
	}
	need := upright(atLeast, facts.Orientation)
	w, h := int(facts.Width), int(facts.Height)
	for _, denom := range []int{8, 4, 2} {
		if ceilDiv(w, denom) >= need.X && ceilDiv(h, denom) >= need.Y && pixels.Reducible(w, denom) && pixels.Reducible(h, denom) {
			return denom
		}
	}
	return 1
}

// decodeJPEGStandard decodes with the standard library.
func decodeJPEGStandard(data []byte, facts pixels.Facts) (*frame, error) {
	m, err := jpeg.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	return fromImage(m, facts)
}

// encodeJPEG writes a baseline JPEG with chroma of every 2×2 pixels, or of grey.
func encodeJPEG(f *frame, quality int) ([]byte, error) {
	const most = 1<<16 - 1
	if f.w > most || f.h > most {
		return nil, fmt.Errorf("a JPEG has no more than %d pixels a side", most)
	}
	return writeJPEG(f.converted().toYCC().colour, min(max(quality, 1), 100)), nil
}
