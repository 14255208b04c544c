package goengine_test

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"testing"

	"pgregory.net/rapid"

	"darkroom/internal/pixels"
	"darkroom/internal/pixels/goengine"
)

// Whatever part of a picture with alpha is wanted at whatever size, it can be made.
func TestAlphaFitsEveryBox(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		side := rapid.IntRange(1, 24)
		m := image.NewNRGBA(image.Rect(0, 0, side.Draw(t, "w"), side.Draw(t, "h")))
		for i := range m.Pix {
			m.Pix[i] = byte(37 * i)
		}
		m.SetNRGBA(0, 0, color.NRGBA{200, 100, 50, 100}) // so that there is alpha
		var b bytes.Buffer
		if err := png.Encode(&b, m); err != nil {
			t.Fatal(err)
		}
		o := pixels.Output{
			Width: side.Draw(t, "width"), Height: side.Draw(t, "height"), Enlarge: rapid.Bool().Draw(t, "enlarge"),
			Fit: rapid.SampledFrom(pixels.Fits).Draw(t, "fit"), Gravity: rapid.SampledFrom(pixels.Gravities).Draw(t, "gravity"),
			Format: rapid.SampledFrom([]pixels.Format{pixels.PNG, pixels.WebP, pixels.JPEG, pixels.GIF}).Draw(t, "format"),
		}
		made, err := pixels.Derive(goengine.New(), b.Bytes(), pixels.Limits{}, []pixels.Output{o})
		if err != nil {
			t.Fatal(err)
		}
		if _, size := o.Plan(m.Rect.Max); image.Pt(made[0].Width, made[0].Height) != size {
			t.Fatalf("%d×%d, not %v", made[0].Width, made[0].Height, size)
		}
	})
}

// What is cut out without being scaled stays as it is.
func TestAlphaCutIsThePart(t *testing.T) {
	m := image.NewNRGBA(image.Rect(0, 0, 20, 30))
	for i := range m.Pix {
		m.Pix[i] = byte(37 * i)
		if i%4 == 3 {
			m.Pix[i] = 255 * byte(i/4%3/2) // all or nothing, so that colours stay exactly
		}
	}
	p := decode(t, encoded(t, func(b *bytes.Buffer) error { return png.Encode(b, m) }), pixels.DecodeOptions{})
	for _, crop := range []image.Rectangle{image.Rect(0, 0, 20, 20), image.Rect(0, 5, 20, 25), image.Rect(3, 5, 13, 30)} {
		q, err := p.Resize(crop, crop.Size())
		if err != nil {
			t.Fatal(err)
		}
		got := pixelsOf(t, q)
		for y := range crop.Dy() {
			for x := range crop.Dx() {
				want := m.NRGBAAt(crop.Min.X+x, crop.Min.Y+y)
				if c := got.NRGBAAt(x, y); c != want && (c.A != 0 || want.A != 0) {
					t.Fatalf("%v: %v at %d, %d, not %v", crop, c, x, y, want)
				}
			}
		}
	}
}
