package pixelstest

import (
	"bytes"
	"testing"

	"darkroom/internal/pixels"
)

// efforts sees to it that a photograph becomes no larger by more effort, but for a tenth, and smaller where each engine has
// a choice. A picture without loss stays the same, the others nearly.
func (s suite) efforts(t *testing.T) {
	data := photo(t, "picosdeeuropa.jpg")
	for _, f := range s.Info().Encodes {
		t.Run(string(f), func(t *testing.T) {
			var outputs []pixels.Output
			for _, e := range append([]pixels.Effort{""}, pixels.Efforts...) {
				outputs = append(outputs, pixels.Output{Width: 320, Format: f, Effort: e})
			}
			made, err := pixels.Derive(s, data, pixels.Limits{}, outputs)
			if err != nil {
				t.Fatal(err)
			}
			unsaid, low, normal, high := made[0].Data, made[1].Data, made[2].Data, made[3].Data
			if !bytes.Equal(unsaid, normal) {
				t.Error("without an effort it is not normal")
			}
			// With loss, more effort may also go into a better picture.
			if l, n, h := len(low), len(normal), len(high); n > l+l/10 || h > n+n/10 {
				t.Errorf("%d bytes by low effort, %d by normal, %d by high", l, n, h)
			}
			if (f == pixels.PNG || f == pixels.WebP) && len(high) >= len(low) || f == pixels.AVIF && bytes.Equal(high, low) {
				t.Errorf("%d bytes by low effort, and %d by high: there is a choice", len(low), len(high))
			}
			if !s.decodes(f) {
				return
			}
			want := show(t, s.open(t, normal, pixels.DecodeOptions{}))
			for effort, file := range map[pixels.Effort][]byte{pixels.Low: low, pixels.High: high} {
				got := show(t, s.open(t, file, pixels.DecodeOptions{}))
				if f == pixels.PNG {
					exact(t, string(effort), got, want)
				} else {
					near(t, string(effort), got, want, 30)
				}
			}
		})
	}
}
