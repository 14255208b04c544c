package goengine

import "image"

// plane holds samples of 8 bits, row by row. A plane may be a view of a larger one.
type plane struct {
	pix          []byte
	w, h, stride int
}

func newPlane(w, h int) plane { return plane{pix: make([]byte, w*h), w: w, h: h, stride: w} }

func (p plane) row(y int) []byte { return p.pix[y*p.stride:][:p.w] }

// flat returns a plane whose rows follow each other without a gap: p itself if it is so already.
func (p plane) flat() plane {
	if p.stride == p.w {
		p.pix = p.pix[:p.w*p.h] // a view goes on where what it is of does
		return p
	}
	q := newPlane(p.w, p.h)
	for y := range p.h {
		copy(q.row(y), p.row(y))
	}
	return q
}

// oriented returns the plane as EXIF's orientation, 1 to 8, says that it is to be shown.
func (p plane) oriented(o int64) plane {
	if o < 2 || o > 8 {
		return p
	}
	// Where the sample at (0, 0) of the result comes from, and the step to its right and down.
	first, right, down := 0, 1, p.stride
	w, h := p.w, p.h
	lastCol, lastRow := p.w-1, (p.h-1)*p.stride
	switch o {
	case 2: // mirrored
		first, right = lastCol, -1
	case 3: // upside down
		first, right, down = lastRow+lastCol, -1, -p.stride
	case 4: // mirrored upside down
		first, down = lastRow, -p.stride
	case 5: // transposed
		right, down = p.stride, 1
	case 6: // to be turned clockwise
		first, right, down = lastRow, -p.stride, 1
	case 7: // transposed along the other diagonal
		first, right, down = lastRow+lastCol, -p.stride, -1
	case 8: // to be turned counter-clockwise
		first, right, down = lastCol, p.stride, -1
	}
	if o >= 5 {
		w, h = h, w
	}
	q := newPlane(w, h)
	// In squares, since a walk along the columns of the source touches another cache line with each sample.
	const square = 32
	for y0 := 0; y0 < h; y0 += square {
		for x0 := 0; x0 < w; x0 += square {
			for y := y0; y < min(y0+square, h); y++ {
				at := first + y*down + x0*right
				dst := q.pix[y*w+x0 : y*w+min(x0+square, w)]
				for x := range dst {
					dst[x] = p.pix[at]
					at += right
				}
			}
		}
	}
	return q
}

// upright swaps the sides of a size if the orientation turns the image.
func upright(size image.Point, orientation int64) image.Point {
	if orientation >= 5 && orientation <= 8 {
		return image.Pt(size.Y, size.X)
	}
	return size
}
