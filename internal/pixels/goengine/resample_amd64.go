package goengine

import "golang.org/x/sys/cpu"

// The kernels for AVX2 give the same samples as those in Go.
var hasAVX2 = cpu.X86.HasAVX2

// verticalAVX2 makes n samples, a multiple of 16. weights are pairs; of an odd number the last has a zero, and its row
// is not read: the row before stands in for it.
//
//go:noescape
func verticalAVX2(dst *int16, src *byte, n, stride int, weights *int16, count int)

// horizontalAVX2 makes n samples, a multiple of 4.
//
//go:noescape
func horizontalAVX2(dst *byte, src *int16, from *int32, weights *int16, n, groups int)

func vertical(dst []int16, src []byte, stride int, weights []int16) {
	n := len(dst) &^ 15
	if !hasAVX2 || n == 0 {
		verticalGo(dst, src, stride, weights)
		return
	}
	_ = src[(len(weights)-1)*stride+n-1] // what the kernel reads is there
	verticalAVX2(&dst[0], &src[0], n, stride, &weights[0], len(weights))
	if n < len(dst) {
		verticalGo(dst[n:], src[n:], stride, weights)
	}
}

func horizontal(dst []byte, src []int16, t *taps) {
	n := len(dst) &^ 3
	if !hasAVX2 || n == 0 {
		horizontalGo(dst, src, t)
		return
	}
	_ = src[int(t.from[len(dst)-1])+t.groups*tapGroup-1]
	horizontalAVX2(&dst[0], &src[0], &t.from[0], &t.weights[0], n, t.groups)
	if n < len(dst) {
		rest := taps{from: t.from[n:], count: t.count, groups: t.groups, weights: t.weights[n*t.groups*tapGroup:]}
		horizontalGo(dst[n:], src, &rest)
	}
}
