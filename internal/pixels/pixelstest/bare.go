package pixelstest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"darkroom/internal/pixels"
)

// bare walks the container of a derivative: every part must be one that the pixels need.
func bare(f pixels.Format, file []byte) error {
	switch f {
	case pixels.JPEG:
		return bareJPEG(file)
	case pixels.PNG:
		return bareChunks(file[8:], binary.BigEndian, func(n int) int { return n + 4 },
			true, "IHDR", "PLTE", "tRNS", "IDAT", "IEND", "pHYs", "sRGB", "gAMA", "cHRM", "bKGD", "sBIT")
	case pixels.WebP:
		return bareChunks(file[12:], binary.LittleEndian, func(n int) int { return n + n%2 },
			false, "VP8 ", "VP8L", "VP8X", "ALPH", "ANIM", "ANMF")
	case pixels.GIF:
		return bareGIF(file)
	case pixels.AVIF:
		for _, word := range []string{"Exif", "application/rdf+xml", "prof", "rICC"} {
			if bytes.Contains(file, []byte(word)) {
				return fmt.Errorf("it has %q", word)
			}
		}
	}
	return nil
}

// bareJPEG allows the tables, the frame, the scans, and the two segments that say how components are to be taken.
func bareJPEG(b []byte) error {
	for at := 2; at+4 <= len(b); {
		marker, n := b[at+1], int(binary.BigEndian.Uint16(b[at+2:]))
		content := b[at+4 : at+2+n]
		switch {
		case marker == 0xda:
			return nil
		case marker == 0xe0 && bytes.HasPrefix(content, []byte("JFIF\x00")) && n == 16:
		case marker == 0xee && bytes.HasPrefix(content, []byte("Adobe")):
		case marker >= 0xe0 && marker <= 0xef || marker == 0xfe:
			return fmt.Errorf("it has a segment %x of %d bytes", marker, n)
		}
		at += 2 + n
	}
	return fmt.Errorf("it has no scan")
}

// bareChunks allows some kinds of chunks. In a PNG the length comes first.
func bareChunks(b []byte, order binary.ByteOrder, padded func(int) int, lengthFirst bool, allowed ...string) error {
	for len(b) >= 8 {
		kind, length := string(b[:4]), b[4:8]
		if lengthFirst {
			length, kind = b[:4], string(b[4:8])
		}
		if !slices.Contains(allowed, kind) {
			return fmt.Errorf("it has a chunk %q", kind)
		}
		n := 8 + padded(int(order.Uint32(length)))
		if n > len(b) {
			return fmt.Errorf("its chunk %q is too long", kind)
		}
		b = b[n:]
	}
	return nil
}

// bareGIF allows images, their control, and the number of repeats.
func bareGIF(b []byte) error {
	palette := func(flags byte) int {
		if flags&0x80 == 0 {
			return 0
		}
		return 3 << (flags&7 + 1)
	}
	at := 13 + palette(b[10])
	for {
		switch b[at] {
		case 0x3b:
			return nil
		case 0x2c:
			at += 10 + palette(b[at+9]) + 1
		case 0x21:
			name := b[at+2 : at+3+int(b[at+2])]
			if kind := b[at+1]; kind != 0xf9 && (kind != 0xff || !bytes.Equal(name[1:], []byte("NETSCAPE2.0"))) {
				return fmt.Errorf("it has an extension %x, %q", kind, name)
			}
			at += 2
		default:
			return fmt.Errorf("it has a block %x", b[at])
		}
		for b[at] != 0 {
			at += 1 + int(b[at])
		}
		at++
	}
}
