package goengine

//go:noescape
func idct4AVX2(b *coefficients, out *byte, stride int)

func idct4(b *coefficients, out []byte, stride int) {
	if !hasAVX2 {
		idct4Go(b, out, stride)
		return
	}
	_ = out[3*stride+3] // the last byte that is written
	idct4AVX2(b, &out[0], stride)
}
