package goengine_test

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/draw"
	"image/jpeg"
	"slices"
	"testing"

	"darkroom/internal/pixels"
)

// A JFIF has Y, Cb and Cr, whatever else the file says of its components: that is libjpeg's order.
func TestJFIFIsYCbCr(t *testing.T) {
	plain := encoded(t, func(b *bytes.Buffer) error { return jpeg.Encode(b, quarters(32, 16), nil) })
	want := pixelsOf(t, decode(t, plain, pixels.DecodeOptions{}))
	jfif := []byte("\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00")
	adobe := []byte("\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00")
	named := slices.Clone(plain)
	frame, scan := bytes.Index(named, []byte{0xff, 0xc0}), bytes.Index(named, []byte{0xff, 0xda})
	for i, id := range []byte("RGB") {
		named[frame+10+3*i], named[scan+5+2*i] = id, id
	}
	for name, c := range map[string]struct {
		data []byte
		same bool
	}{
		"JFIF and Adobe's RGB":  {slices.Concat(plain[:2], jfif, adobe, plain[2:]), true},
		"JFIF and names of RGB": {slices.Concat(named[:2], jfif, named[2:]), true},
		"Adobe's RGB":           {slices.Concat(plain[:2], adobe, plain[2:]), false},
		"names of RGB":          {named, false},
	} {
		got := pixelsOf(t, decode(t, c.data, pixels.DecodeOptions{}))
		if bytes.Equal(got.Pix, want.Pix) != c.same {
			t.Errorf("%s: %v, and as YCbCr %v", name, got.NRGBAAt(2, 2), want.NRGBAAt(2, 2))
		}
	}
}

// Of chroma that has no scan nothing is known, and so there is no colour.
func TestJPEGWithoutChromaIsGrey(t *testing.T) {
	m := image.NewGray(image.Rect(0, 0, 32, 16))
	draw.Draw(m, m.Rect, quarters(32, 16), image.Point{}, draw.Src)
	grey := encoded(t, func(b *bytes.Buffer) error { return jpeg.Encode(b, m, nil) })
	want := pixelsOf(t, decode(t, grey, pixels.DecodeOptions{}))
	at := bytes.Index(grey, []byte{0xff, 0xc0})
	frame := binary.BigEndian.AppendUint16([]byte{0xff, 0xc0}, 17)
	frame = append(frame, 8, 0, 16, 0, 32, 3, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0)
	data := slices.Concat(grey[:at], frame, grey[at+2+11:])
	got := pixelsOf(t, decode(t, data, pixels.DecodeOptions{}))
	if !bytes.Equal(got.Pix, want.Pix) {
		t.Errorf("%v, not %v", got.NRGBAAt(2, 2), want.NRGBAAt(2, 2))
	}
}
