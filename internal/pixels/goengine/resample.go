package goengine

import (
	"math"
	"sync"
)

// Weights have weightBits fractional bits; rows between the two passes have midBits.
const (
	weightBits = 14
	midBits    = 6
	tapGroup   = 16 // weights of an output sample come in groups of this many, filled up with zeros
)

// kernel is a filter: its radius for an enlargement, and its value at a distance.
type kernel struct {
	radius float64
	at     func(x float64) float64
}

var (
	lanczos3 = kernel{3, func(x float64) float64 {
		if x == 0 {
			return 1
		}
		return 3 * math.Sin(math.Pi*x) * math.Sin(math.Pi*x/3) / (math.Pi * math.Pi * x * x)
	}}
	triangle = kernel{1, func(x float64) float64 { return 1 - math.Abs(x) }}
)

// taps are the weights that make the samples of one direction: of the output sample i those that begin at from[i], for
// count samples of the input. The weights of a sample sum up to exactly one.
type taps struct {
	from    []int32
	count   int
	groups  int // of tapGroup weights a sample has in weights
	weights []int16
}

// span is a part of a row or column, in samples, which need not be whole: chroma has fewer than luma.
type span struct{ from, to float64 }

// makeTaps computes the weights for n samples of the span s of an input of which the samples first to last-1 count.
func makeTaps(k kernel, s span, first, last, n int) taps {
	step := (s.to - s.from) / float64(n)
	stretch := max(step, 1)
	radius := k.radius * stretch
	t := taps{from: make([]int32, n), count: min(int(math.Ceil(2*radius))+1, last-first)}
	t.groups = (t.count + tapGroup - 1) / tapGroup
	t.weights = make([]int16, n*t.groups*tapGroup)
	w := make([]float64, t.count)
	for i := range n {
		centre := s.from + (float64(i)+0.5)*step - 0.5
		from := min(max(int(math.Ceil(centre-radius)), first), last-t.count)
		t.from[i] = int32(from)
		sum := 0.0
		for j := range w {
			w[j] = 0
			if d := math.Abs(float64(from+j) - centre); d < radius {
				w[j] = k.at(d / stretch)
			}
			sum += w[j]
		}
		fix(t.weights[i*t.groups*tapGroup:][:t.count], w, sum)
	}
	return t
}

// fix rounds weights so that they sum up to exactly one. What rounding leaves over goes to the largest.
func fix(dst []int16, w []float64, sum float64) {
	left, largest := 1<<weightBits, 0
	for j, v := range w {
		r := int(math.Round(v / sum * (1 << weightBits)))
		dst[j] = int16(r)
		left -= r
		if r > int(dst[largest]) {
			largest = j
		}
	}
	dst[largest] += int16(left)
}

// midRows keeps the rows between the passes.
var midRows = sync.Pool{New: func() any { return new([]int16) }}

// resample returns w×h samples of a part of p. The samples of p outside of the whole samples that the part touches do not
// count. First comes a shrink by a whole factor that leaves at least three times the size, then the kernel.
func resample(p plane, k kernel, xs, ys span, w, h int) plane {
	x0, x1 := cover(xs, p.w)
	y0, y1 := cover(ys, p.h)
	if x1-x0 == w && y1-y0 == h && xs == (span{float64(x0), float64(x1)}) && ys == (span{float64(y0), float64(y1)}) {
		return plane{pix: p.pix[y0*p.stride+x0:], w: w, h: h, stride: p.stride}
	}
	fx := max(int((xs.to-xs.from)/float64(3*w)), 1)
	fy := max(int((ys.to-ys.from)/float64(3*h)), 1)
	if fx > 1 || fy > 1 {
		p = boxShrink(plane{pix: p.pix[y0*p.stride+x0:], w: x1 - x0, h: y1 - y0, stride: p.stride}, fx, fy)
		xs = span{(xs.from - float64(x0)) / float64(fx), (xs.to - float64(x0)) / float64(fx)}
		ys = span{(ys.from - float64(y0)) / float64(fy), (ys.to - float64(y0)) / float64(fy)}
		x0, x1, y0, y1 = 0, p.w, 0, p.h
	}
	tx, ty := makeTaps(k, xs, x0, x1, w), makeTaps(k, ys, y0, y1, h)
	buf := midRows.Get().(*[]int16)
	defer midRows.Put(buf)
	// The kernels read whole groups, beyond the end of the row, where the weights are zero.
	if need := p.w + tx.groups*tapGroup; cap(*buf) < need {
		*buf = make([]int16, need)
	}
	mid := (*buf)[:p.w+tx.groups*tapGroup]
	out := newPlane(w, h)
	for y := range h {
		weights := ty.weights[y*ty.groups*tapGroup:][:ty.count]
		vertical(mid[x0:x1], p.pix[int(ty.from[y])*p.stride+x0:], p.stride, weights)
		horizontal(out.row(y), mid, &tx)
	}
	return out
}

// cover returns the whole samples that a span touches, of n.
func cover(s span, n int) (from, to int) {
	from = min(max(int(math.Floor(s.from)), 0), n-1)
	return from, max(min(int(math.Ceil(s.to)), n), from+1)
}

// verticalGo makes a row, with midBits fractional bits, of the weighted sum of rows that begin at src.
func verticalGo(dst []int16, src []byte, stride int, weights []int16) {
	for x := range dst {
		sum := int32(1 << (weightBits - midBits - 1))
		at := x
		for _, w := range weights {
			sum += int32(src[at]) * int32(w)
			at += stride
		}
		dst[x] = int16(sum >> (weightBits - midBits))
	}
}

// horizontalGo makes a row of samples of a row with midBits fractional bits.
func horizontalGo(dst []byte, src []int16, t *taps) {
	wide := t.groups * tapGroup
	for i := range dst {
		weights := t.weights[i*wide:][:t.count]
		from := src[t.from[i]:][:t.count]
		sum := int32(1 << (weightBits + midBits - 1))
		for j, w := range weights {
			sum += int32(from[j]) * int32(w)
		}
		dst[i] = clamp8(sum >> (weightBits + midBits))
	}
}

// boxShrink returns the means of boxes of fx×fy samples; the last ones may be of fewer.
func boxShrink(p plane, fx, fy int) plane {
	out := newPlane(ceilDiv(p.w, fx), ceilDiv(p.h, fy))
	sums := make([]uint32, p.w)
	for y := range out.h {
		rows := min(fy, p.h-y*fy)
		clear(sums)
		for j := range rows {
			for x, v := range p.row(y*fy + j) {
				sums[x] += uint32(v)
			}
		}
		dst := out.row(y)
		n := uint32(fx * rows)
		whole := p.w / fx
		for x := range whole {
			sum := n / 2
			for _, v := range sums[x*fx : x*fx+fx] {
				sum += v
			}
			dst[x] = byte(sum / n)
		}
		if whole < out.w {
			rest := sums[whole*fx:]
			n := uint32(len(rest) * rows)
			sum := n / 2
			for _, v := range rest {
				sum += v
			}
			dst[whole] = byte(sum / n)
		}
	}
	return out
}
