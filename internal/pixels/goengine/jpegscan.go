package goengine

import (
	"bytes"
	"encoding/binary"
)

// lookBits is how many bits of the stream a table of codes is indexed by. Nearly all codes of photographs are shorter.
const lookBits = 10

// scanPad is how many zeros follow the entropy-coded data in memory. It is more than an MCU can take, so that running out
// of data needs a check once an MCU only.
const scanPad = 8 << 10

// huffman decodes the codes of a DHT segment. Its tables are indexed by the next bits of the stream; an entry of zero
// stands for a code that is longer than lookBits, or for none. An entry of look has in bits 0-5 how many bits are used
// up and in bits 8-15 the symbol. One of whole is the same, unless bit 6 tells that it has the value too, of an AC
// coefficient of a sequential image: then bits 8-15 are the zeros before it, and bits 16-31 the value.
type huffman struct {
	look    [1 << lookBits]int32
	whole   [1 << lookBits]int32
	maxCode [18]int32 // the largest code of a length, left-aligned to 16 bits, plus one; -1 for none
	offset  [17]int32 // from the code of a length to the index of its symbol
	symbols []byte
}

const (
	huffWhole = 1 << 6
	endOfBand = 64 // zeros that an end-of-block stands for: enough to leave any block
)

// newHuffman makes a table of the counts by length and the symbols of a DHT segment.
func newHuffman(counts [16]byte, symbols []byte) (*huffman, error) {
	h := &huffman{symbols: bytes.Clone(symbols)}
	code, k := int32(0), int32(0)
	for length := 1; length <= 16; length++ {
		n := int32(counts[length-1])
		if code+n > 1<<length {
			return nil, malformed("a Huffman table of the JPEG has too many codes")
		}
		h.offset[length] = k - code
		h.maxCode[length] = (code + n) << (16 - length)
		for range n {
			if length <= lookBits {
				h.enter(code, length, symbols[k])
			}
			code++
			k++
		}
		code <<= 1
	}
	return h, nil
}

// enter fills the entries that begin with a code.
func (h *huffman) enter(code int32, length int, symbol byte) {
	spare := lookBits - length
	size := int(symbol & 15)
	for rest := range int32(1) << spare {
		e := int32(length) | int32(symbol)<<8
		h.look[code<<spare|rest] = e
		switch {
		case symbol == 0:
			e = int32(length) | huffWhole | endOfBand<<8
		case size <= spare && (size > 0 || symbol == 0xf0):
			value := int32(0)
			if size > 0 {
				value = extend(rest>>(spare-size), size)
			}
			e = int32(length+size) | huffWhole | int32(symbol>>4)<<8 | value<<16
		}
		h.whole[code<<spare|rest] = e
	}
}

// extend turns the size bits that follow a symbol into a value (T.81, F.2.2.1).
func extend(bits int32, size int) int32 {
	if size > 0 && bits < 1<<(size-1) {
		bits += -1<<size + 1
	}
	return bits
}

// long decodes a code that look does not have. It returns the length zero if there is none.
func (h *huffman) long(acc uint64) (symbol byte, length int) {
	top := int32(acc >> 48)
	for n := 1; n <= 16; n++ {
		if top < h.maxCode[n] {
			at := top>>(16-n) + h.offset[n]
			if at < 0 || int(at) >= len(h.symbols) {
				return 0, 0
			}
			return h.symbols[at], n
		}
	}
	return 0, 0
}

// bitReader reads entropy-coded data that has been unstuffed. acc holds the next bits from its top; n of them are
// counted, and those below may be there already.
type bitReader struct {
	buf []byte // with scanPad zeros at its end
	pos int
	acc uint64
	n   int
}

func (r *bitReader) reset(buf []byte) { *r = bitReader{buf: buf} }

func (r *bitReader) refill() {
	if r.n < 32 {
		r.acc |= binary.BigEndian.Uint64(r.buf[r.pos:]) >> uint(r.n&63)
		r.pos += (63 - r.n) >> 3
		r.n |= 56
	}
}

// take returns the next size bits, at most 16.
func (r *bitReader) take(size int) int32 {
	r.refill()
	v := int32(r.acc >> 32 >> uint(32-size))
	r.acc <<= uint(size)
	r.n -= size
	return v
}

// spent tells whether more bits were read than there are. A few bits at the end of the last byte may be left.
func (r *bitReader) spent() bool { return r.pos-r.n/8 > len(r.buf)-scanPad }

// symbol decodes a code; ok is false if there is no such code.
func (r *bitReader) symbol(h *huffman) (byte, bool) {
	r.refill()
	symbol, length := h.long(r.acc)
	r.acc <<= uint(length)
	r.n -= length
	return symbol, length > 0
}

// dc decodes the difference of a DC coefficient.
func (r *bitReader) dc(h *huffman) (int32, bool) {
	r.refill()
	var size int
	if e := h.look[r.acc>>(64-lookBits)]; e != 0 {
		size = int(e>>8) & 255
		r.acc <<= uint(e & 63)
		r.n -= int(e & 63)
	} else {
		s, ok := r.symbol(h)
		if !ok {
			return 0, false
		}
		size = int(s)
	}
	if size > 15 {
		return 0, false
	}
	return extend(r.take(size), size), true
}

// coefficients is a block, with slots to which what is not needed goes.
type coefficients = [128]int32

// ac decodes the AC coefficients of a block, multiplies them with quant and stores them where place says, both in the
// order of the stream. It returns the place in the stream of the last one; -1 for invalid data.
func (r *bitReader) ac(h *huffman, quant *[64]int32, place *[64]uint8, block *coefficients) int {
	buf, pos, acc, n := r.buf, r.pos, r.acc, r.n
	k, last := uint(1), uint(0)
	for k < 64 {
		if n < 32 {
			acc |= binary.BigEndian.Uint64(buf[pos:]) >> uint(n&63)
			pos += (63 - n) >> 3
			n |= 56
		}
		e := h.whole[acc>>(64-lookBits)]
		if e&huffWhole != 0 {
			used := e & 63
			acc <<= uint(used)
			n -= int(used)
			k += uint(e >> 8 & 255)
			if k > 63 {
				break
			}
			last = k
			block[place[k]&127] = (e >> 16) * quant[k]
			k++
			continue
		}
		symbol, used := byte(e>>8), int(e&63)
		if e == 0 {
			if symbol, used = h.long(acc); used == 0 {
				return -1
			}
		}
		size := int(symbol & 15)
		acc <<= uint(used)
		bits := int32(acc >> 32 >> uint(32-size))
		acc <<= uint(size)
		n -= used + size
		if size == 0 && symbol != 0xf0 { // an end of block whose code is long
			if symbol != 0 {
				return -1
			}
			break
		}
		k += uint(symbol >> 4)
		if k > 63 {
			return -1
		}
		last = k
		block[place[k]&127] = extend(bits, size) * quant[k]
		k++
	}
	r.pos, r.acc, r.n = pos, acc, n
	return int(last)
}

// unstuff appends to dst the entropy-coded data at the start of src, without the zeros that follow each 0xff, up to a
// marker, and scanPad zeros. It returns how many bytes of src that were.
func unstuff(dst, src []byte) (out []byte, used int) {
	for {
		i := bytes.IndexByte(src[used:], 0xff)
		if i < 0 {
			dst, used = append(dst, src[used:]...), len(src)
			break
		}
		at := used + i
		if at+1 < len(src) && src[at+1] == 0 {
			dst, used = append(dst, src[used:at+1]...), at+2
			continue
		}
		dst, used = append(dst, src[used:at]...), at
		break
	}
	return append(dst, zeros[:]...), used
}

var zeros [scanPad]byte
