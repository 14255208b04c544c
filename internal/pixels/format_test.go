package pixels_test

import (
	"testing"

	"darkroom/internal/pixels"
)

func TestSniff(t *testing.T) {
	for _, c := range []struct {
		prefix string
		want   pixels.Format
	}{
		{"\xff\xd8\xff\xe0", pixels.JPEG},
		{"\x89PNG\r\n\x1a\n", pixels.PNG},
		{"GIF87a", pixels.GIF},
		{"GIF89a", pixels.GIF},
		{"RIFF\x00\x00\x00\x00WEBPVP8 ", pixels.WebP},
		{"BM\x00\x00\x00\x00\x00\x00\x00\x00\x36\x00\x00\x00\x28\x00\x00\x00", pixels.BMP},
		{"II*\x00", pixels.TIFF},
		{"MM\x00*", pixels.TIFF},
		{"MM\x00+", pixels.TIFF},
		{"\xff\x0a", pixels.JXL},
		{"\x00\x00\x00\x0cJXL \r\n\x87\n", pixels.JXL},
		{"\x00\x00\x00\x1cftypavif\x00\x00\x00\x00mif1miaf", pixels.AVIF},
		{"\x00\x00\x00\x1cftypmif1\x00\x00\x00\x00mif1avif", pixels.AVIF},
		{"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", pixels.HEIC},
		{"\x00\x00\x00\x18ftypmif1\x00\x00\x00\x00mif1heic", pixels.HEIC},
		{"\x00\x00\x00\x14ftypmif1\x00\x00\x00\x00mif1", pixels.HEIC},
		{"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom", ""},
		{"\x00\x00\x00\x14ftypmp42\x00\x00\x00\x00mp42avif", ""}, // the box ends before the brand
		{"\x00\x00\x00\x14ftypmp42avifmp42", ""},                 // a minor version is no brand
		{"RIFF\x00\x00\x00\x00WAVEfmt ", ""},
		{"BMW and other words that begin so", ""},
		{"<svg xmlns='http://www.w3.org/2000/svg'/>", ""},
		{"%PDF-1.7", ""},
		{"\xff\xd8", ""},
		{"", ""},
	} {
		got, ok := pixels.Sniff([]byte(c.prefix))
		if got != c.want || ok != (c.want != "") {
			t.Errorf("%q: %q, %v; want %q", c.prefix, got, ok, c.want)
		}
	}
}

func TestMediaTypes(t *testing.T) {
	formats := []pixels.Format{
		pixels.JPEG, pixels.PNG, pixels.GIF, pixels.WebP, pixels.BMP, pixels.TIFF, pixels.AVIF, pixels.HEIC, pixels.JXL,
	}
	for _, f := range formats {
		if f.MediaType() != "image/"+string(f) {
			t.Errorf("%s has the media type %s", f, f.MediaType())
		}
		if got, ok := pixels.FormatOfMediaType(f.MediaType()); !ok || got != f {
			t.Errorf("%s is of %q", f.MediaType(), got)
		}
	}
	for s, want := range map[string]pixels.Format{
		"image/jpg": pixels.JPEG, "image/pjpeg": pixels.JPEG, "IMAGE/JPEG; q=1": pixels.JPEG, " image/png ": pixels.PNG,
		"image/jpeg; broken": pixels.JPEG, "image/x-png": pixels.PNG, "image/x-ms-bmp": pixels.BMP,
		"image/heif": pixels.HEIC, "image/svg+xml": "", "application/octet-stream": "", "": "", "jpeg": "",
	} {
		if got, ok := pixels.FormatOfMediaType(s); got != want || ok != (want != "") {
			t.Errorf("%q is of %q, %v; want %q", s, got, ok, want)
		}
	}
	if got := pixels.Format("svg").MediaType(); got != "application/octet-stream" {
		t.Errorf("an unknown format has the media type %s", got)
	}
}
