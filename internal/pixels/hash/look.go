package hash

import (
	"cmp"
	"encoding/hex"
	"image"
	"math"
	"math/bits"
	"slices"
)

// Look is a PDQ hash (https://github.com/facebook/ThreatExchange/tree/main/pdq) of 256 bits, the last first. Half of them
// are set. Those of similar pictures differ in few bits: up to 31 of duplicates, in 128 or so of unrelated pictures.
type Look [32]byte

// String is in hexadecimal digits, as PDQ's own programs write it.
func (l Look) String() string { return hex.EncodeToString(l[:]) }

// MarshalText implements encoding.TextMarshaler.
func (l Look) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (l *Look) UnmarshalText(text []byte) error { return unhex(l[:], text) }

// Distance is in how many bits two looks differ, 0 to 256.
func (l Look) Distance(other Look) (n int) {
	for i, b := range l {
		n += bits.OnesCount8(b ^ other[i])
	}
	return n
}

const (
	lookSide = 512 // to which pictures are resized, small ones too: else copies of two sizes look less alike
	blocks   = 64  // the side of what is transformed
	terms    = 16  // of the transform, in each direction
	passes   = 2   // of the filter
)

// OfLook returns the PDQ hash of a picture, and its quality from 0 to 100. Of resizes to 512×512 pixels before it, which
// PDQ recommends, but any size will do. What shows through is white.
func OfLook(m *image.NRGBA) (Look, int) {
	w, h := m.Rect.Dx(), m.Rect.Dy()
	if w == 0 || h == 0 {
		return Look{}, 0
	}
	luma := luminance(m)
	blur(luma, w, h)
	small := decimate(luma, w, h)
	return threshold(transform(small)), quality(small)
}

// luminance returns that of each pixel, 0 to 255.
func luminance(m *image.NRGBA) []float32 {
	w, h := m.Rect.Dx(), m.Rect.Dy()
	out := make([]float32, 0, w*h)
	for y := range h {
		for px := range slices.Chunk(m.Pix[y*m.Stride:][:4*w], 4) {
			l := 0.299*float64(px[0]) + 0.587*float64(px[1]) + 0.114*float64(px[2])
			if a := float64(px[3]) / 255; a < 1 {
				l = l*a + 255*(1-a)
			}
			out = append(out, float32(l))
		}
	}
	return out
}

// blur is Jarosz's filter: box filters along rows and columns, in turns, of half the width of a block.
func blur(p []float32, w, h int) {
	spare := make([]float32, len(p))
	for range passes {
		for y := range h {
			box(spare[y*w:], p[y*w:], 1, w, window(w))
		}
		box(p, spare, w, h, window(h))
	}
}

func window(n int) int { return (n + 2*blocks - 1) / (2 * blocks) }

// box writes the means of windows of n rows, fewer at the ends, each of so many values.
func box(dst, src []float32, width, rows, n int) {
	before, after := (n-1)/2, n/2 // rows of a window beside its own
	row := func(y int) []float32 { return src[y*width:][:width] }
	sums := make([]float32, width)
	count := 0
	add := func(y int) {
		for x, v := range row(y) {
			sums[x] += v
		}
		count++
	}
	for y := range min(after, rows) {
		add(y)
	}
	for y := range rows {
		if y+after < rows {
			add(y + after)
		}
		if y > before {
			for x, v := range row(y - before - 1) {
				sums[x] -= v
			}
			count--
		}
		by := float32(count)
		for x, v := range sums {
			dst[y*width+x] = v / by
		}
	}
}

// decimate takes the value in the middle of each block.
func decimate(p []float32, w, h int) (out [blocks][blocks]float32) {
	for y := range blocks {
		for x := range blocks {
			out[y][x] = p[(2*y+1)*h/(2*blocks)*w+(2*x+1)*w/(2*blocks)]
		}
	}
	return out
}

// quality is the sum of the gradients, weak ones left out, scaled.
func quality(p [blocks][blocks]float32) int {
	sum := 0
	for y := range blocks {
		for x := range blocks {
			if y+1 < blocks {
				sum += gradient(p[y][x], p[y+1][x])
			}
			if x+1 < blocks {
				sum += gradient(p[y][x], p[y][x+1])
			}
		}
	}
	const scale = 90
	return min(sum/scale, 100)
}

func gradient(a, b float32) int {
	d := int((a - b) * 100 / 255)
	return max(d, -d)
}

// cosines has the rows 1 to 16 of the matrix of a discrete cosine transform of 64 values.
var cosines = func() (m [terms][blocks]float32) {
	for i := range m {
		for j := range m[i] {
			m[i][j] = float32(math.Sqrt(2./blocks) * math.Cos(math.Pi/(2*blocks)*float64((i+1)*(2*j+1))))
		}
	}
	return m
}()

// transform returns the low frequencies of the discrete cosine transform, without the constant ones.
func transform(p [blocks][blocks]float32) (out [terms * terms]float32) {
	var rows [terms][blocks]float32
	for i, c := range cosines {
		for k, f := range c {
			for j := range blocks {
				rows[i][j] += f * p[k][j]
			}
		}
	}
	for i := range terms {
		for j, c := range cosines {
			var sum float32
			for k, f := range c {
				sum += rows[i][k] * f
			}
			out[i*terms+j] = sum
		}
	}
	return out
}

// threshold sets the bits of the frequencies that are above the median.
func threshold(f [terms * terms]float32) (l Look) {
	sorted := f
	slices.SortFunc(sorted[:], cmp.Compare[float32])
	median := sorted[len(sorted)/2-1]
	for i, v := range f {
		if v > median {
			l[len(l)-1-i/8] |= 1 << (i % 8)
		}
	}
	return l
}
