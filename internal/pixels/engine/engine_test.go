package engine_test

import (
	"bytes"
	"image"
	"os"
	"strings"
	"testing"

	"golang.org/x/image/bmp"

	"darkroom/internal/pixels"
	"darkroom/internal/pixels/engine"
	"darkroom/internal/pixels/pool"
)

func TestOpen(t *testing.T) {
	if e, err := engine.Open(engine.Go, ""); err != nil || e.Info().Name != "go" {
		t.Errorf("go: %v", err)
	}
	if _, err := engine.Open(engine.Auto, ""); err != nil {
		t.Errorf("auto: %v", err)
	}
	if _, err := engine.Open("imagemagick", ""); err == nil || !strings.Contains(err.Error(), "auto, go and libvips") {
		t.Errorf("imagemagick: %v", err)
	}
	empty := t.TempDir()
	if _, err := engine.Open(engine.Libvips, empty); err == nil || !strings.Contains(err.Error(), empty) {
		t.Errorf("libvips in an empty folder: %v", err)
	}
}

func TestSurvey(t *testing.T) {
	for name, library := range map[string]string{engine.Auto: "", engine.Go: t.TempDir()} {
		all, err := engine.Choice{Engine: name, Libvips: library}.Survey(t.Context(), pool.Config{Command: childCommand})
		if err != nil {
			t.Fatal(err)
		}
		used := 0
		for _, s := range all {
			if s.Used {
				used++
			}
			if s.Used != (s.Why == "") || s.Used && len(s.Info.Decodes) == 0 {
				t.Errorf("%s: %+v", name, s)
			}
		}
		if len(all) != 2 || used != 1 {
			t.Errorf("%s: %d of %d are used", name, used, len(all))
		}
	}
}

// each are the engines that this machine has, by their names.
func each(t *testing.T) map[string]pixels.Engine {
	t.Helper()
	all := map[string]pixels.Engine{}
	for _, name := range []string{engine.Go, engine.Libvips} {
		e, err := engine.Open(name, os.Getenv("DARKROOM_LIBVIPS"))
		if err != nil {
			t.Log(err)
			continue
		}
		all[name] = e
	}
	return all
}

// What libvips cannot decode, the engine in Go does.
func TestEveryEngineDecodesBMP(t *testing.T) {
	var file bytes.Buffer
	src := image.NewNRGBA(image.Rect(0, 0, 30, 20))
	for i := range src.Pix {
		src.Pix[i] = uint8(i*7) | uint8(i%4/3*255)
	}
	if err := bmp.Encode(&file, src); err != nil {
		t.Fatal(err)
	}
	for name, e := range each(t) {
		got, _, err := pixels.Decode(e, file.Bytes(), pixels.Limits{})
		if err != nil || !bytes.Equal(got.Pix, src.Pix) {
			t.Errorf("%s: %v", name, err)
		}
		made, err := pixels.Derive(e, file.Bytes(), pixels.Limits{}, []pixels.Output{{Width: 15, Format: pixels.JPEG}})
		if err != nil || made[0].Height != 10 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// libvips knows the first frame of an animated PNG alone, so the engine in Go does it all.
func TestEveryEngineKeepsAnAnimatedPNG(t *testing.T) {
	file, err := os.ReadFile("testdata/animated.png")
	if err != nil {
		t.Fatal(err)
	}
	for name, e := range each(t) {
		made, err := pixels.Derive(e, file, pixels.Limits{}, []pixels.Output{
			{Width: 8, Format: pixels.WebP, Animate: true}, {Width: 8, Format: pixels.GIF, Animate: true}, {Width: 8, Format: pixels.JPEG},
		})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for i, want := range []int64{3, 3, 1} {
			facts, err := pixels.Probe(bytes.NewReader(made[i].Data), pixels.Limits{})
			if err != nil || facts.Frames != want || int64(made[i].Frames) != want || facts.Height != 6 {
				t.Errorf("%s, %s: %+v, %v; want %d frames", name, made[i].Format, facts, err, want)
			}
		}
	}
}
