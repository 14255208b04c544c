package pixelstest

import (
	"image"
	"image/color"
	"image/draw"
	"math"
)

// Reference is the part crop of a picture, resampled to size in float64 by a Lanczos filter of three lobes, on colours
// multiplied by their alpha: the yardstick of what an engine makes.
func Reference(src image.Image, crop image.Rectangle, size image.Point) *image.NRGBA {
	pic := nrgba(src)
	w, h := crop.Dx(), crop.Dy()
	plane := make([][4]float64, w*h)
	for y := range h {
		for x := range w {
			c := pic.NRGBAAt(crop.Min.X+x, crop.Min.Y+y)
			a := float64(c.A) / 255
			plane[y*w+x] = [4]float64{float64(c.R) * a, float64(c.G) * a, float64(c.B) * a, float64(c.A)}
		}
	}
	plane = resampleRows(plane, w, h, size.X)
	plane = transpose(plane, size.X, h)
	plane = resampleRows(plane, h, size.X, size.Y)
	plane = transpose(plane, size.Y, size.X)

	out := image.NewNRGBA(image.Rectangle{Max: size})
	for i, p := range plane {
		a := p[3] / 255
		if a <= 0 {
			continue
		}
		for b := range 3 {
			out.Pix[4*i+b] = clamp(p[b] / a)
		}
		out.Pix[4*i+3] = clamp(p[3])
	}
	return out
}

func clamp(v float64) uint8 { return uint8(math.Round(min(255, max(0, v)))) }

func transpose(p [][4]float64, w, h int) [][4]float64 {
	out := make([][4]float64, len(p))
	for y := range h {
		for x := range w {
			out[x*h+y] = p[y*w+x]
		}
	}
	return out
}

func resampleRows(p [][4]float64, w, h, n int) [][4]float64 {
	if w == n {
		return p
	}
	out := make([][4]float64, n*h)
	ratio := float64(w) / float64(n)
	stretch := max(1, ratio)
	for x := range n {
		centre := (float64(x)+0.5)*ratio - 0.5
		first, last := int(math.Ceil(centre-3*stretch)), int(math.Floor(centre+3*stretch))
		var total float64
		weights := make([]float64, 0, last-first+1)
		for i := first; i <= last; i++ {
			v := lanczos((float64(i) - centre) / stretch)
			weights, total = append(weights, v), total+v
		}
		for y := range h {
			var sum [4]float64
			for i, v := range weights {
				from := p[y*w+min(w-1, max(0, first+i))]
				for b := range sum {
					sum[b] += v / total * from[b]
				}
			}
			out[y*n+x] = sum
		}
	}
	return out
}

func lanczos(x float64) float64 {
	if x == 0 {
		return 1
	}
	if math.Abs(x) >= 3 {
		return 0
	}
	x *= math.Pi
	return 3 * math.Sin(x) * math.Sin(x/3) / (x * x)
}

// PSNR tells in decibels how near two pictures of one size are, over red, green and blue: infinite if they are equal,
// zero if their sizes differ.
func PSNR(a, b image.Image) float64 {
	x, y := nrgba(a), nrgba(b)
	if x.Rect.Size() != y.Rect.Size() {
		return 0
	}
	var sum float64
	for i := range x.Pix {
		if i%4 != 3 {
			d := float64(x.Pix[i]) - float64(y.Pix[i])
			sum += d * d
		}
	}
	if sum == 0 {
		return math.Inf(1)
	}
	return 10 * math.Log10(255*255/(sum/float64(len(x.Pix)/4*3)))
}

// nrgba is the picture with its corner at the origin.
func nrgba(src image.Image) *image.NRGBA {
	if p, ok := src.(*image.NRGBA); ok && p.Rect.Min == (image.Point{}) && p.Stride == 4*p.Rect.Dx() {
		return p
	}
	b := src.Bounds()
	out := image.NewNRGBA(image.Rectangle{Max: b.Size()})
	switch src.(type) {
	case *image.YCbCr, *image.Gray: // much faster than At, and exact without alpha
		draw.Draw(out, out.Rect, src, b.Min, draw.Src)
		return out
	}
	for y := range b.Dy() {
		for x := range b.Dx() {
			out.SetNRGBA(x, y, color.NRGBAModel.Convert(src.At(b.Min.X+x, b.Min.Y+y)).(color.NRGBA))
		}
	}
	return out
}

// turned is the picture stored so that an orientation, as EXIF defines it, makes it upright.
func turned(upright *image.NRGBA, orientation int) *image.NRGBA {
	w, h := upright.Rect.Dx(), upright.Rect.Dy()
	stored := image.Pt(w, h)
	if orientation >= 5 {
		stored = image.Pt(h, w)
	}
	out := image.NewNRGBA(image.Rectangle{Max: stored})
	for y := range h {
		for x := range w {
			// Where EXIF says that the row 0 and column 0 of the stored pixels are seen.
			at := [9]image.Point{
				1: {X: x, Y: y}, 2: {X: w - 1 - x, Y: y}, 3: {X: w - 1 - x, Y: h - 1 - y}, 4: {X: x, Y: h - 1 - y},
				5: {X: y, Y: x}, 6: {X: y, Y: w - 1 - x}, 7: {X: h - 1 - y, Y: w - 1 - x}, 8: {X: h - 1 - y, Y: x},
			}[orientation]
			out.SetNRGBA(at.X, at.Y, upright.NRGBAAt(x, y))
		}
	}
	return out
}
