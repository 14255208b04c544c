//go:build !amd64

package goengine

func idct4(b *coefficients, out []byte, stride int) { idct4Go(b, out, stride) }
