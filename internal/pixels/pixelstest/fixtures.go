package pixelstest

import (
	"bytes"
	_ "embed"
	"image"
	"image/color"
	"image/gif"
	"testing"

	"darkroom/internal/pixels"
)

// Four colours in 64×48 pixels, drawn for this suite and free of rights: by pillow-heif with x265, by libvips 8.14 with
// libaom and libjxl, and by Pillow as the first of two pages.
var (
	//go:embed quadrants.heic
	heicFile []byte
	//go:embed quadrants.avif
	avifFile []byte
	//go:embed quadrants.jxl
	jxlFile []byte
	//go:embed pages.tif
	tiffFile []byte
	// 200×200 pixels of which the 100 rows in the middle are shown: squares of 20 pixels, blue and red by turns.
	//go:embed cut.avif
	cutFile []byte
)

// fixtures has the formats that need a codec which not every engine has: those it lists must be right, and the others
// refused as unsupported, by the engine and by Decode.
func (s suite) fixtures(t *testing.T) {
	corners := map[image.Point]color.NRGBA{
		{9, 9}: {200, 40, 30, 255}, {55, 9}: {30, 160, 60, 255}, {9, 40}: {40, 60, 190, 255}, {55, 40}: {240, 220, 60, 255},
	}
	for f, data := range map[pixels.Format][]byte{
		pixels.HEIC: heicFile, pixels.AVIF: avifFile, pixels.JXL: jxlFile, pixels.TIFF: tiffFile,
	} {
		m, facts, err := pixels.Decode(s, data, pixels.Limits{})
		if !s.decodes(f) {
			if pixels.CodeOf(err) != pixels.CodeUnsupportedFormat {
				t.Errorf("%s: code %q: %v", f, pixels.CodeOf(err), err)
			}
			continue
		}
		if err != nil || facts.Format != f || m.Rect.Size() != image.Pt(64, 48) || f == pixels.TIFF && facts.Frames != 2 {
			t.Errorf("%s: %+v: %v", f, facts, err)
			continue
		}
		for at, want := range corners {
			likely(t, string(f), m.NRGBAAt(at.X, at.Y), want, 8)
		}
		p := s.open(t, data, pixels.DecodeOptions{AllFrames: true, AtLeast: image.Pt(32, 24)})
		small := resize(t, p, all(p), image.Pt(32, 24))
		likely(t, string(f)+", resized", show(t, small).NRGBAAt(4, 4), corners[image.Pt(9, 9)], 8)
	}
}

// parts has pictures that are not all of what is shown, or more: they are shown so, or refused, but never stretched.
func (s suite) parts(t *testing.T) {
	show := func(name string, data []byte, size image.Point, want map[image.Point]color.NRGBA) {
		m, _, err := pixels.Decode(s, data, pixels.Limits{})
		if err != nil {
			if pixels.CodeOf(err) != pixels.CodeUnsupportedFormat {
				t.Errorf("%s: code %q: %v", name, pixels.CodeOf(err), err)
			}
			return
		}
		if m.Rect.Size() != size {
			t.Errorf("%s: %v, not %v", name, m.Rect.Size(), size)
			return
		}
		for at, c := range want {
			likely(t, name, m.NRGBAAt(at.X, at.Y), c, 24)
		}
		made, err := pixels.Derive(s, data, pixels.Limits{}, []pixels.Output{{Width: size.X / 2, Format: pixels.PNG}})
		if err != nil || made[0].Width != size.X/2 || made[0].Height != size.Y/2 {
			t.Errorf("%s: %v", name, err)
		}
	}
	red, blue := color.NRGBA{255, 0, 0, 255}, color.NRGBA{0, 0, 255, 255}
	show("a part of an AVIF", cutFile, image.Pt(200, 100), map[image.Point]color.NRGBA{
		{10, 5}: blue, {10, 15}: red, {10, 95}: red, {30, 95}: blue,
	})
	for _, size := range []image.Point{{640, 480}, {641, 480}} {
		var b bytes.Buffer
		g := &gif.GIF{Image: []*image.Paletted{quadrants(100, 50, 0)}, Delay: []int{0}}
		g.Config = image.Config{ColorModel: palette, Width: size.X, Height: size.Y}
		if err := gif.EncodeAll(&b, g); err != nil {
			t.Fatal(err)
		}
		show("a GIF on a larger screen", b.Bytes(), size, map[image.Point]color.NRGBA{
			{10, 10}: palette[0].(color.NRGBA), {90, 40}: palette[3].(color.NRGBA),
		})
	}
}
