package goengine

import (
	"encoding/binary"
	"math/bits"
)

// The quantization tables that T.81 suggests (K.1), for luma and for chroma, in natural order.
var suggestedQuant = [2][64]byte{
	{
		16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
		18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
		72, 92, 95, 98, 112, 100, 103, 99,
	},
	{
		17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99,
		99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
	},
}

// codeSpec is what a DHT segment says: how many codes there are of each length, and their symbols.
type codeSpec struct {
	counts  [16]byte
	symbols []byte
}

// The Huffman tables that T.81 suggests (K.3): DC and AC of luma, DC and AC of chroma.
var suggestedCodes = [4]codeSpec{
	{[16]byte{0, 1, 5, 1, 1, 1, 1, 1, 1}, []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}},
	{[16]byte{0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 125}, []byte(
		"\x01\x02\x03\x00\x04\x11\x05\x12\x21\x31\x41\x06\x13\x51\x61\x07\x22\x71\x14\x32\x81\x91\xa1\x08\x23\x42\xb1\xc1\x15\x52\xd1\xf0" +
			"\x24\x33\x62\x72\x82\x09\x0a\x16\x17\x18\x19\x1a\x25\x26\x27\x28\x29\x2a\x34\x35\x36\x37\x38\x39\x3a\x43\x44\x45\x46\x47\x48\x49" +
			"\x4a\x53\x54\x55\x56\x57\x58\x59\x5a\x63\x64\x65\x66\x67\x68\x69\x6a\x73\x74\x75\x76\x77\x78\x79\x7a\x83\x84\x85\x86\x87\x88\x89" +
			"\x8a\x92\x93\x94\x95\x96\x97\x98\x99\x9a\xa2\xa3\xa4\xa5\xa6\xa7\xa8\xa9\xaa\xb2\xb3\xb4\xb5\xb6\xb7\xb8\xb9\xba\xc2\xc3\xc4\xc5" +
			"\xc6\xc7\xc8\xc9\xca\xd2\xd3\xd4\xd5\xd6\xd7\xd8\xd9\xda\xe1\xe2\xe3\xe4\xe5\xe6\xe7\xe8\xe9\xea\xf1\xf2\xf3\xf4\xf5\xf6\xf7\xf8" +
			"\xf9\xfa")},
	{[16]byte{0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1}, []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}},
	{[16]byte{0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 119}, []byte(
		"\x00\x01\x02\x03\x11\x04\x05\x21\x31\x06\x12\x41\x51\x07\x61\x71\x13\x22\x32\x81\x08\x14\x42\x91\xa1\xb1\xc1\x09\x23\x33\x52\xf0" +
			"\x15\x62\x72\xd1\x0a\x16\x24\x34\xe1\x25\xf1\x17\x18\x19\x1a\x26\x27\x28\x29\x2a\x35\x36\x37\x38\x39\x3a\x43\x44\x45\x46\x47\x48" +
			"\x49\x4a\x53\x54\x55\x56\x57\x58\x59\x5a\x63\x64\x65\x66\x67\x68\x69\x6a\x73\x74\x75\x76\x77\x78\x79\x7a\x82\x83\x84\x85\x86\x87" +
			"\x88\x89\x8a\x92\x93\x94\x95\x96\x97\x98\x99\x9a\xa2\xa3\xa4\xa5\xa6\xa7\xa8\xa9\xaa\xb2\xb3\xb4\xb5\xb6\xb7\xb8\xb9\xba\xc2\xc3" +
			"\xc4\xc5\xc6\xc7\xc8\xc9\xca\xd2\xd3\xd4\xd5\xd6\xd7\xd8\xd9\xda\xe2\xe3\xe4\xe5\xe6\xe7\xe8\xe9\xea\xf2\xf3\xf4\xf5\xf6\xf7\xf8" +
			"\xf9\xfa")},
}

// code is a Huffman code and its length.
type code struct {
	bits   uint32
	length uint32
}

var encodeTables = func() (t [4][256]code) {
	for i, spec := range suggestedCodes {
		next, k := uint32(0), 0
		for length, n := range spec.counts {
			for range n {
				t[i][spec.symbols[k]] = code{next, uint32(length + 1)}
				next++
				k++
			}
			next <<= 1
		}
	}
	return t
}()

// jpegWriter writes a baseline JPEG.
type jpegWriter struct {
	out []byte
	acc uint64 // bits that are not written yet, in its low end
	n   uint   // how many there are, at most 31 between calls
	// quant has the divisors of the coefficients in natural order, for luma and chroma.
	quant [2][64]divisor
}

// divisor divides a magnitude of up to 16 bits by multiplication, rounding to the nearest.
type divisor struct{ half, inverse uint32 }

// writeJPEG returns the file of a grey plane, or of Y and of Cb and Cr for every 2×2 pixels, with the suggested tables.
func writeJPEG(planes []plane, quality int) []byte {
	w := &jpegWriter{out: make([]byte, 0, planes[0].w*planes[0].h/4+2048)}
	w.header(planes, quality)
	width, height := planes[0].w, planes[0].h
	if len(planes) == 1 {
		prediction := int32(0)
		for y := 0; y < height; y += 8 {
			for x := 0; x < width; x += 8 {
				w.block(planes[0], x, y, 0, &prediction)
			}
		}
	} else {
		var predictions [3]int32
		for y := 0; y < height; y += 16 {
			for x := 0; x < width; x += 16 {
				w.block(planes[0], x, y, 0, &predictions[0])
				w.block(planes[0], x+8, y, 0, &predictions[0])
				w.block(planes[0], x, y+8, 0, &predictions[0])
				w.block(planes[0], x+8, y+8, 0, &predictions[0])
				w.block(planes[1], x/2, y/2, 1, &predictions[1])
				w.block(planes[2], x/2, y/2, 1, &predictions[2])
			}
		}
	}
	w.put(0x7f, 7) // fills up the last byte
	for ; w.n >= 8; w.n -= 8 {
		w.stuffed(byte(w.acc >> (w.n - 8)))
	}
	return append(w.out, 0xff, markEOI)
}

// header writes all up to the entropy-coded data.
func (w *jpegWriter) header(planes []plane, quality int) {
	w.out = append(w.out, 0xff, markSOI)
	w.segment(0xe0, []byte("JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"))
	// The scale of the IJG's libraries, which a quality of 1 to 100 means everywhere.
	scale := 200 - 2*quality
	if quality < 50 {
		scale = 5000 / quality
	}
	kinds := min(len(planes), 2)
	for i := range kinds {
		table := []byte{byte(i)}
		for _, z := range zigzag {
			q := min(max((int(suggestedQuant[i][z])*scale+50)/100, 1), 255)
			table = append(table, byte(q))
			d := uint32(8 * q) // the transform's results have that factor
			w.quant[i][z] = divisor{d / 2, (1<<31 + d - 1) / d}
		}
		w.segment(markDQT, table)
	}
	frame := []byte{8, 0, 0, 0, 0, byte(len(planes))}
	binary.BigEndian.PutUint16(frame[1:], uint16(planes[0].h))
	binary.BigEndian.PutUint16(frame[3:], uint16(planes[0].w))
	scan := []byte{byte(len(planes))}
	for i := range planes {
		factors := byte(0x11)
		if i == 0 && len(planes) == 3 {
			factors = 0x22
		}
		kind := byte(min(i, 1))
		frame = append(frame, byte(i+1), factors, kind)
		scan = append(scan, byte(i+1), kind<<4|kind)
	}
	w.segment(markSOF0, frame)
	for i, c := range suggestedCodes[:2*kinds] {
		w.segment(markDHT, append(append([]byte{byte(i&1<<4 | i>>1)}, c.counts[:]...), c.symbols...))
	}
	w.segment(markSOS, append(scan, 0, 63, 0))
}

func (w *jpegWriter) segment(marker byte, body []byte) {
	w.out = binary.BigEndian.AppendUint16(append(w.out, 0xff, marker), uint16(len(body)+2))
	w.out = append(w.out, body...)
}

// put writes up to 32 bits.
func (w *jpegWriter) put(v, n uint32) {
	w.acc = w.acc<<n | uint64(v)
	if w.n += uint(n); w.n < 32 {
		return
	}
	w.n -= 32
	four := uint32(w.acc >> w.n)
	if ones := ^four; (ones-0x01010101)&^ones&0x80808080 == 0 { // no byte is 0xff
		w.out = binary.BigEndian.AppendUint32(w.out, four)
		return
	}
	for shift := 24; shift >= 0; shift -= 8 {
		w.stuffed(byte(four >> shift))
	}
}

func (w *jpegWriter) stuffed(b byte) {
	w.out = append(w.out, b)
	if b == 0xff {
		w.out = append(w.out, 0)
	}
}

// block writes the 8×8 samples at a place. Those outside of the plane repeat its edge.
func (w *jpegWriter) block(p plane, x, y, kind int, prediction *int32) {
	var b [64]int32
	if x+8 <= p.w && y+8 <= p.h {
		fdctRows(&b, p.pix[y*p.stride+x:], p.stride)
	} else {
		var edge [64]byte
		for j := range 8 {
			row := p.row(min(y+j, p.h-1))
			for i := range 8 {
				edge[8*j+i] = row[min(x+i, p.w-1)]
			}
		}
		fdctRows(&b, edge[:], 8)
	}
	fdctColumns(&b)
	w.code(&b, &w.quant[kind], kind, prediction)
}

// code quantizes a block and writes its codes.
func (w *jpegWriter) code(b *[64]int32, quant *[64]divisor, kind int, prediction *int32) {
	var q [64]int32 // in the order of the stream
	present := uint64(0)
	for k, z := range zigzag {
		v := b[z&63]
		sign := v >> 31
		d := quant[z&63]
		m := int32(uint64(uint32((v^sign)-sign)+d.half) * uint64(d.inverse) >> 31)
		q[k] = (m ^ sign) - sign
		if m != 0 {
			present |= 1 << uint(k)
		}
	}
	dc, ac := &encodeTables[2*kind], &encodeTables[2*kind+1]
	diff := q[0] - *prediction
	*prediction = q[0]
	w.value(dc, 0, diff)
	last := 0
	for rest := present &^ 1; rest != 0; rest &= rest - 1 {
		k := bits.TrailingZeros64(rest)
		run := k - last - 1
		for ; run > 15; run -= 16 {
			w.put(ac[0xf0].bits, ac[0xf0].length)
		}
		w.value(ac, run<<4, q[k&63])
		last = k
	}
	if last < 63 {
		w.put(ac[0].bits, ac[0].length)
	}
}

// value writes the code of a run and a size, and the bits of a value.
func (w *jpegWriter) value(t *[256]code, run int, v int32) {
	sign := v >> 31
	size := uint32(bits.Len32(uint32((v ^ sign) - sign)))
	c := t[(run|int(size))&255]
	w.put(c.bits<<size|uint32(v+sign)&(1<<size-1), c.length+size)
}

// fdctRows is the first half of the forward transform by Loeffler, Ligtenberg and Moschytz, on samples less 128.
func fdctRows(b *[64]int32, pix []byte, stride int) {
	const keep = 2
	const down, half = llmBits - keep, 1 << (llmBits - keep - 1)
	for y := range 8 {
		s := pix[y*stride : y*stride+8 : y*stride+8]
		s0, s1, s2, s3 := int32(s[0]), int32(s[1]), int32(s[2]), int32(s[3])
		s4, s5, s6, s7 := int32(s[4]), int32(s[5]), int32(s[6]), int32(s[7])
		r := b[8*y : 8*y+8 : 8*y+8]
		a0, a1, a2, a3 := s0+s7, s1+s6, s2+s5, s3+s4
		e0, e1, e2, e3 := a0+a3, a1+a2, a1-a2, a0-a3
		r[0], r[4] = (e0+e1-8*128)<<keep, (e0-e1)<<keep
		z := (e2+e3)*c0541 + half
		r[2], r[6] = (z+e3*c0765)>>down, (z-e2*c1847)>>down
		o7, o5, o3, o1 := fdctOdd(s3-s4, s2-s5, s1-s6, s0-s7)
		r[1], r[3], r[5], r[7] = (o1+half)>>down, (o3+half)>>down, (o5+half)>>down, (o7+half)>>down
	}
}

// fdctColumns is the second half. The results are eight times the coefficients.
func fdctColumns(b *[64]int32) {
	const keep = 2
	const down, half = llmBits + keep, 1 << (llmBits + keep - 1)
	for x := range 8 {
		s0, s1, s2, s3 := b[x], b[8+x], b[16+x], b[24+x]
		s4, s5, s6, s7 := b[32+x], b[40+x], b[48+x], b[56+x]
		a0, a1, a2, a3 := s0+s7, s1+s6, s2+s5, s3+s4
		e0, e1, e2, e3 := a0+a3, a1+a2, a1-a2, a0-a3
		b[x], b[32+x] = (e0+e1+1<<(keep-1))>>keep, (e0-e1+1<<(keep-1))>>keep
		z := (e2+e3)*c0541 + half
		b[16+x], b[48+x] = (z+e3*c0765)>>down, (z-e2*c1847)>>down
		o7, o5, o3, o1 := fdctOdd(s3-s4, s2-s5, s1-s6, s0-s7)
		b[8+x], b[24+x], b[40+x], b[56+x] = (o1+half)>>down, (o3+half)>>down, (o5+half)>>down, (o7+half)>>down
	}
}

func fdctOdd(t4, t5, t6, t7 int32) (o7, o5, o3, o1 int32) {
	z1, z2, z3, z4 := t4+t7, t5+t6, t4+t6, t5+t7
	z5 := (z3 + z4) * c1175
	z1, z2 = -z1*c0899, -z2*c2562
	z3, z4 = z5-z3*c1961, z5-z4*c0390
	return t4*c0298 + z1 + z3, t5*c2053 + z2 + z4, t6*c3072 + z2 + z3, t7*c1501 + z1 + z4
}
