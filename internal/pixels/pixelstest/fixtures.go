package pixelstest

import (
	_ "embed"
	"image"
	"image/color"
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
