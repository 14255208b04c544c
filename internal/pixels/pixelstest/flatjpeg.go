package pixelstest

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// flatJPEG describes a JPEG whose blocks of 8×8 samples each have one value: a form that any sampling, number of
// components and marker can be given in, which image/jpeg does not write.
type flatJPEG struct {
	width, height int
	sampling      [][2]int // horizontal and vertical, a component
	progressive   bool
	adobe         int // transform of an Adobe marker: 0 none, 1 YCbCr, 2 YCCK; no marker if negative
	// value gives a component's sample in the block whose corner is at (x, y), in pixels.
	value func(component, x, y int) int
}

func (f flatJPEG) encode() []byte {
	var b bytes.Buffer
	segment := func(marker byte, content ...byte) {
		b.Write([]byte{0xff, marker})
		_ = binary.Write(&b, binary.BigEndian, uint16(len(content)+2)) // a buffer takes everything
		b.Write(content)
	}
	b.Write([]byte{0xff, 0xd8})
	if f.adobe >= 0 {
		segment(0xee, 'A', 'd', 'o', 'b', 'e', 0, 100, 0, 0, 0, 0, byte(f.adobe))
	}
	segment(0xdb, append([]byte{0}, bytes.Repeat([]byte{1}, 64)...)...)
	frame := []byte{8, byte(f.height >> 8), byte(f.height), byte(f.width >> 8), byte(f.width), byte(len(f.sampling))}
	scan := []byte{byte(len(f.sampling))}
	for i, s := range f.sampling {
		frame = append(frame, byte(i+1), byte(s[0]<<4|s[1]), 0)
		scan = append(scan, byte(i+1), 0)
	}
	table := func(class byte, symbols ...byte) {
		counts := [16]byte{3: byte(len(symbols))}
		segment(0xc4, append(append([]byte{class << 4}, counts[:]...), symbols...)...)
	}
	table(0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)
	table(1, 0) // the end of the block
	if f.progressive {
		segment(0xc2, frame...)
		segment(0xda, append(scan, 0, 0, 0)...)
		f.scan(&b)
		// Decoders blur blocks whose other coefficients did not come.
		for i, s := range f.sampling {
			segment(0xda, 1, byte(i+1), 0, 1, 63, 0)
			b.Write(make([]byte, (f.blocks(s)+1)/2)) // the end of a block is four zeros
		}
	} else {
		segment(0xc0, frame...)
		segment(0xda, append(scan, 0, 63, 0)...)
		f.scan(&b)
	}
	b.Write([]byte{0xff, 0xd9})
	return b.Bytes()
}

// blocks counts those of a component's own scan.
func (f flatJPEG) blocks(sampling [2]int) int {
	maxH, maxV := f.largest()
	along := func(n, part, whole int) int { return ((n*part+whole-1)/whole + 7) / 8 }
	return along(f.width, sampling[0], maxH) * along(f.height, sampling[1], maxV)
}

func (f flatJPEG) largest() (h, v int) {
	for _, s := range f.sampling {
		h, v = max(h, s[0]), max(v, s[1])
	}
	return h, v
}

// scan writes the entropy-coded data of all components. The codes of the Huffman tables have four bits each.
func (f flatJPEG) scan(b *bytes.Buffer) {
	var acc uint64
	var n int
	put := func(v uint64, width int) {
		acc, n = acc<<width|v, n+width
		for n >= 8 {
			c := byte(acc >> (n - 8))
			b.WriteByte(c)
			if c == 0xff {
				b.WriteByte(0)
			}
			n -= 8
		}
	}
	maxH, maxV := f.largest()
	last := make([]int, len(f.sampling))
	for my := 0; my < f.height; my += 8 * maxV {
		for mx := 0; mx < f.width; mx += 8 * maxH {
			for c, s := range f.sampling {
				for v := range s[1] {
					for h := range s[0] {
						// A coefficient of 8 is one step of the sample, since the table of quantization has ones.
						dc := 8 * (f.value(c, mx+8*h*maxH/s[0], my+8*v*maxV/s[1]) - 128)
						diff := dc - last[c]
						last[c] = dc
						width := bits.Len(uint(max(diff, -diff)))
						put(uint64(width), 4)
						if diff < 0 {
							diff += 1<<width - 1
						}
						put(uint64(diff), width)
						if !f.progressive {
							put(0, 4)
						}
					}
				}
			}
		}
	}
	put(0x7f, 7) // fill the last byte with ones
}
