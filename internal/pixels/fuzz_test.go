package pixels_test

import (
	"strings"
	"testing"

	"darkroom/internal/pixels"
)

func FuzzProbe(f *testing.F) {
	for _, s := range samples(f) {
		f.Add(s.data)
	}
	f.Add(freeExtents(100))
	f.Fuzz(func(t *testing.T, b []byte) { checkAnswer(t, b) })
}

func FuzzSniff(f *testing.F) {
	for _, s := range samples(f) {
		f.Add(s.data)
	}
	f.Add([]byte("\x00\x00\x00\x1cftypmif1\x00\x00\x00\x00mif1avif"))
	f.Fuzz(func(t *testing.T, b []byte) {
		format, ok := pixels.Sniff(b)
		if ok != (format != "") {
			t.Fatalf("%q, %v", format, ok)
		}
		if short, _ := pixels.Sniff(b[:min(len(b), pixels.SniffLen)]); short != format {
			t.Fatalf("%q by its first bytes, %q by all", short, format)
		}
		if back, _ := pixels.FormatOfMediaType(format.MediaType()); back != format {
			t.Fatalf("%q by the media type of %q", back, format)
		}
		if _, err := probe(b); ok == (pixels.CodeOf(err) == pixels.CodeUnknownFormat) {
			t.Fatalf("sniffed %q, but probed: %v", format, err)
		}
	})
}

func FuzzExif(f *testing.F) {
	image := jpegOf(f, picture(20, 11))
	f.Add(sampleExif)
	f.Add(exifOf(le, []tag{{tagMake, uint32(0)}, {tagOrientation, uint32(6)}, {0x8298, strings.Repeat("é", 300)}}))
	circles := []tag{{tagMake, "ACME"}, {0x14a, []uint32{8, 8, 8, 8, 8, 8, 8, 8}}}
	f.Add(exifOf(le, circles, tag{tagTaken, "2018:07:14 18:21:05"}))
	f.Fuzz(func(t *testing.T, exif []byte) {
		if len(exif) > 65_000 {
			t.Skip("longer than a segment")
		}
		described(t, image, exif)
	})
}
