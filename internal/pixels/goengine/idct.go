package goengine

// The orders in which the coefficients of a block come, for each size of the block that is made of them: the place in
// the block of the coefficient at each place in the stream. A reduced block has the low frequencies only; the others go
// to the slot behind the last.
var (
	zigzag = [64]uint8{
		0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21, 28,
		35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
	}
	places = map[int]*[64]uint8{8: &zigzag, 4: reduced(4), 2: reduced(2), 1: reduced(1)}
)

func reduced(n uint8) *[64]uint8 {
	var p [64]uint8
	for k, z := range zigzag {
		if p[k] = n * n; z&7 < n && z>>3 < n {
			p[k] = z>>3*n + z&7
		}
	}
	return &p
}

func clamp8(v int32) byte {
	if uint32(v) > 255 {
		return byte(^(v >> 31))
	}
	return byte(v)
}

// idct1 makes the one sample of an eighth: the mean.
func idct1(b *coefficients, out []byte) { out[0] = clamp8((b[0]+4)>>3 + 128) }

// idct2 makes 2×2 samples by the inverse transform of that length.
func idct2(b *coefficients, out []byte, stride int) {
	s, d, s1, d1 := b[0]+b[1], b[0]-b[1], b[2]+b[3], b[2]-b[3]
	const bias = 128<<3 + 4
	out[0] = clamp8((s + s1 + bias) >> 3)
	out[1] = clamp8((d + d1 + bias) >> 3)
	out[stride] = clamp8((s - s1 + bias) >> 3)
	out[stride+1] = clamp8((d - d1 + bias) >> 3)
}

// Factors of the transforms, with 12 fractional bits.
const (
	idctBits = 12
	r2c1     = 5352 // √2·cos(π/8)
	r2c3     = 2217 // √2·cos(3π/8)
)

// idct4Go makes 4×4 samples by the inverse transform of that length, of the 4×4 low frequencies. That is a better filter
// than the mean of each 2×2 samples of the full transform, and cheaper. Where there is AVX2, idct4 does the same with it.
func idct4Go(b *coefficients, out []byte, stride int) {
	const keep = 4 // fractional bits between the passes
	var t [16]int32
	for i := range 4 {
		f0, f1, f2, f3 := b[i], b[4+i], b[8+i], b[12+i]
		e0, e1 := (f0+f2)<<idctBits, (f0-f2)<<idctBits
		o0, o1 := f1*r2c1+f3*r2c3, f1*r2c3-f3*r2c1
		const half = 1 << (idctBits - keep - 1)
		t[i] = (e0 + o0 + half) >> (idctBits - keep)
		t[4+i] = (e1 + o1 + half) >> (idctBits - keep)
		t[8+i] = (e1 - o1 + half) >> (idctBits - keep)
		t[12+i] = (e0 - o0 + half) >> (idctBits - keep)
	}
	const down = idctBits + keep + 3
	const bias = 128<<down + 1<<(down-1)
	for y := range 4 {
		f0, f1, f2, f3 := t[4*y], t[4*y+1], t[4*y+2], t[4*y+3]
		e0, e1 := (f0+f2)<<idctBits+bias, (f0-f2)<<idctBits+bias
		o0, o1 := f1*r2c1+f3*r2c3, f1*r2c3-f3*r2c1
		o := out[y*stride : y*stride+4 : y*stride+4]
		o[0] = clamp8((e0 + o0) >> down)
		o[1] = clamp8((e1 + o1) >> down)
		o[2] = clamp8((e1 - o1) >> down)
		o[3] = clamp8((e0 - o0) >> down)
	}
}

// Factors of the transform of length 8 by Loeffler, Ligtenberg and Moschytz, with 13 fractional bits.
const (
	llmBits = 13
	c0298   = 2446
	c0390   = 3196
	c0541   = 4433
	c0765   = 6270
	c0899   = 7373
	c1175   = 9633
	c1501   = 12299
	c1847   = 15137
	c1961   = 16069
	c2053   = 16819
	c2562   = 20995
	c3072   = 25172
)

// llm is the transform in one direction, without its division.
func llm(f0, f1, f2, f3, f4, f5, f6, f7 int32) (e0, e1, e2, e3, o0, o1, o2, o3 int32) {
	z := (f2 + f6) * c0541
	a, b := z-f6*c1847, z+f2*c0765
	c, d := (f0+f4)<<llmBits, (f0-f4)<<llmBits
	e0, e1, e2, e3 = c+b, d+a, d-a, c-b

	z1, z2, z3, z4 := f7+f1, f5+f3, f7+f3, f5+f1
	z5 := (z3 + z4) * c1175
	z1, z2 = -z1*c0899, -z2*c2562
	z3, z4 = z5-z3*c1961, z5-z4*c0390
	o3 = f7*c0298 + z1 + z3
	o2 = f5*c2053 + z2 + z4
	o1 = f3*c3072 + z2 + z3
	o0 = f1*c1501 + z1 + z4
	return e0, e1, e2, e3, o0, o1, o2, o3
}

// idct8 makes 8×8 samples.
func idct8(b *coefficients, out []byte, stride int) {
	const keep = 2
	var t [64]int32
	for i := range 8 {
		f1, f2, f3, f4, f5, f6, f7 := b[8+i], b[16+i], b[24+i], b[32+i], b[40+i], b[48+i], b[56+i]
		if f1|f2|f3|f4|f5|f6|f7 == 0 {
			f0 := b[i] << keep
			t[i], t[8+i], t[16+i], t[24+i], t[32+i], t[40+i], t[48+i], t[56+i] = f0, f0, f0, f0, f0, f0, f0, f0
			continue
		}
		const down, half = llmBits - keep, 1 << (llmBits - keep - 1)
		e0, e1, e2, e3, o0, o1, o2, o3 := llm(b[i]+0, f1, f2, f3, f4, f5, f6, f7)
		t[i], t[56+i] = (e0+o0+half)>>down, (e0-o0+half)>>down
		t[8+i], t[48+i] = (e1+o1+half)>>down, (e1-o1+half)>>down
		t[16+i], t[40+i] = (e2+o2+half)>>down, (e2-o2+half)>>down
		t[24+i], t[32+i] = (e3+o3+half)>>down, (e3-o3+half)>>down
	}
	const down = llmBits + keep + 3
	const bias = 128<<(keep+3) + 1<<(keep+2)
	for y := range 8 {
		r := t[8*y : 8*y+8 : 8*y+8]
		e0, e1, e2, e3, o0, o1, o2, o3 := llm(r[0]+bias, r[1], r[2], r[3], r[4], r[5], r[6], r[7])
		o := out[y*stride : y*stride+8 : y*stride+8]
		o[0], o[7] = clamp8((e0+o0)>>down), clamp8((e0-o0)>>down)
		o[1], o[6] = clamp8((e1+o1)>>down), clamp8((e1-o1)>>down)
		o[2], o[5] = clamp8((e2+o2)>>down), clamp8((e2-o2)>>down)
		o[3], o[4] = clamp8((e3+o3)>>down), clamp8((e3-o3)>>down)
	}
}
