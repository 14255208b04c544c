package goengine

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func drawPlane(t *rapid.T, most int) plane {
	p := newPlane(rapid.IntRange(1, most).Draw(t, "w"), rapid.IntRange(1, most).Draw(t, "h"))
	seed := rapid.Uint32().Draw(t, "seed")
	for i := range p.pix {
		seed = seed*1664525 + 1013904223
		p.pix[i] = byte(seed >> 24)
	}
	return p
}

func wholeSpans(p plane) (span, span) { return span{0, float64(p.w)}, span{0, float64(p.h)} }

func TestKernelsOfTheProcessorAreThoseInGo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPlane(t, 120)
		w, h := rapid.IntRange(1, 130).Draw(t, "to w"), rapid.IntRange(1, 130).Draw(t, "to h")
		tx, ty := makeTaps(lanczos3, span{0, float64(p.w)}, 0, p.w, w), makeTaps(lanczos3, span{0, float64(p.h)}, 0, p.h, h)
		a, b := make([]int16, p.w+tx.groups*tapGroup), make([]int16, p.w+tx.groups*tapGroup)
		for y := range h {
			weights := ty.weights[y*ty.groups*tapGroup:][:ty.count]
			vertical(a[:p.w], p.pix[int(ty.from[y])*p.stride:], p.stride, weights)
			verticalGo(b[:p.w], p.pix[int(ty.from[y])*p.stride:], p.stride, weights)
			if !slices.Equal(a, b) {
				t.Fatalf("columns: %v is not %v", a, b)
			}
			c, d := make([]byte, w), make([]byte, w)
			horizontal(c, a, &tx)
			horizontalGo(d, b, &tx)
			if !slices.Equal(c, d) {
				t.Fatalf("rows: %v is not %v", c, d)
			}
		}
	})
}

func TestResampleKeepsAConstant(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newPlane(rapid.IntRange(1, 300).Draw(t, "w"), rapid.IntRange(1, 300).Draw(t, "h"))
		v := rapid.Byte().Draw(t, "value")
		for i := range p.pix {
			p.pix[i] = v
		}
		w, h := rapid.IntRange(1, 300).Draw(t, "to w"), rapid.IntRange(1, 300).Draw(t, "to h")
		xs, ys := wholeSpans(p)
		for _, k := range []kernel{lanczos3, triangle} {
			q := resample(p, k, xs, ys, w, h)
			if q.w != w || q.h != h {
				t.Fatalf("%d×%d is not %d×%d", q.w, q.h, w, h)
			}
			for _, got := range q.flat().pix {
				if got != v {
					t.Fatalf("%d became %d", v, got)
				}
			}
		}
	})
}

func TestResampleCommutesWithFlips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPlane(t, 80)
		w, h := rapid.IntRange(1, 80).Draw(t, "to w"), rapid.IntRange(1, 80).Draw(t, "to h")
		// A shrink by a whole factor begins at the left and the top, which a flip does not keep.
		if p.w >= 6*w {
			w = p.w/6 + 1
		}
		if p.h >= 6*h {
			h = p.h/6 + 1
		}
		o := int64(rapid.IntRange(2, 4).Draw(t, "orientation"))
		xs, ys := wholeSpans(p)
		a := resample(p, lanczos3, xs, ys, w, h).oriented(o)
		b := resample(p.oriented(o), lanczos3, xs, ys, w, h)
		for i, v := range a.flat().pix {
			// Where a tie is rounded, and which weight takes what rounding left, may differ by one.
			if !near(int(v), int(b.flat().pix[i]), 1) {
				t.Fatalf("sample %d: %d is not %d", i, v, b.pix[i])
			}
		}
	})
}

func TestReducedTransformOfTheProcessorIsThatInGo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b coefficients
		for i := range 16 {
			b[i] = rapid.Int32().Draw(t, "coefficient")
			if rapid.Bool().Draw(t, "usual") {
				b[i] %= 2048
			}
		}
		c, d := make([]byte, 40), make([]byte, 40)
		idct4(&b, c, 10)
		idct4Go(&b, d, 10)
		if !slices.Equal(c, d) {
			t.Fatalf("%v is not %v", c, d)
		}
	})
}
