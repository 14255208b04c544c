//go:build !amd64

package goengine

func vertical(dst []int16, src []byte, stride int, weights []int16) {
	verticalGo(dst, src, stride, weights)
}

func horizontal(dst []byte, src []int16, t *taps) { horizontalGo(dst, src, t) }
