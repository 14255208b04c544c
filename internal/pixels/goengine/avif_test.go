package goengine_test

import (
	"image/color"
	"testing"

	"darkroom/internal/pixels"
)

// The file is one colour, (230, 60, 40) of Display P3; what is wanted is what lcms makes of it.
func TestAVIFHasAProfile(t *testing.T) {
	m := pixelsOf(t, decode(t, read(t, "testdata/p3.avif"), pixels.DecodeOptions{}))
	if got, want := m.NRGBAAt(9, 9), (color.NRGBA{250, 31, 14, 255}); !closeTo(got, want, 6) {
		t.Errorf("%v, not %v", got, want)
	}
}
