package goengine_test

import (
	"bytes"
	"image"
	"image/draw"
	"image/jpeg"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"darkroom/internal/pixels"
	"darkroom/internal/pixels/goengine"
)

const photos = "../../../testdata/photos"

func read(t testing.TB, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func decode(t testing.TB, data []byte, opts pixels.DecodeOptions) pixels.Picture {
	t.Helper()
	facts, err := pixels.Probe(bytes.NewReader(data), pixels.Limits{})
	if err != nil {
		t.Fatalf("probe: %v", err)
	}
	p, err := goengine.New().Decode(data, facts, opts)
	if err != nil {
		t.Fatalf("decode: %v", err)
	}
	return p
}

func pixelsOf(t testing.TB, p pixels.Picture) *image.NRGBA {
	t.Helper()
	m, err := p.NRGBA()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// psnr compares the colours of two images of one size, in decibels.
func psnr(t testing.TB, a, b image.Image) float64 {
	t.Helper()
	if a.Bounds().Size() != b.Bounds().Size() {
		t.Fatalf("%v is not as large as %v", a.Bounds(), b.Bounds())
	}
	sum, n := 0.0, 0
	for y := range a.Bounds().Dy() {
		for x := range a.Bounds().Dx() {
			r, g, bl, _ := a.At(a.Bounds().Min.X+x, a.Bounds().Min.Y+y).RGBA()
			r2, g2, bl2, _ := b.At(b.Bounds().Min.X+x, b.Bounds().Min.Y+y).RGBA()
			for _, d := range [][2]uint32{{r, r2}, {g, g2}, {bl, bl2}} {
				e := float64(int(d[0]>>8) - int(d[1]>>8))
				sum += e * e
				n++
			}
		}
	}
	if sum == 0 {
		return 99
	}
	return 10 * math.Log10(255*255*float64(n)/sum)
}

// luma is what the eye sees best, and what no format has fewer samples of.
func luma(m image.Image) *image.Gray {
	g := image.NewGray(m.Bounds())
	draw.Draw(g, g.Rect, m, m.Bounds().Min, draw.Src)
	return g
}

func TestJPEGIsAsTheStandardLibraryDecodesIt(t *testing.T) {
	files, err := filepath.Glob(photos + "/*.jpg")
	if err != nil || len(files) == 0 {
		t.Fatal("no photographs", err)
	}
	more, _ := filepath.Glob("testdata/*.jpg")
	for _, file := range append(files, more...) {
		if strings.HasSuffix(file, "prestart.jpg") {
			continue // the standard library does not decode it; see the next test
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			data := read(t, file)
			want, err := jpeg.Decode(bytes.NewReader(data))
			if err != nil {
				t.Fatal(err)
			}
			facts, err := pixels.Probe(bytes.NewReader(data), pixels.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			facts.Orientation = 1
			p, err := goengine.New().Decode(data, facts, pixels.DecodeOptions{})
			if err != nil {
				t.Fatal(err)
			}
			got := pixelsOf(t, p)
			// The standard library repeats chroma where libjpeg and this engine interpolate; luma must agree.
			c := psnr(t, got, want)
			l := psnr(t, luma(got), luma(want))
			t.Logf("colour %.1f dB, luma %.1f dB", c, l)
			if l < 45 || c < 33 {
				t.Errorf("colour %.1f dB, luma %.1f dB", c, l)
			}
		})
	}
}

// The files were made by one encoder of one picture, so that their coefficients are the same.
func TestScansOfAnyKindGiveTheSamePixels(t *testing.T) {
	for other, file := range map[string]string{
		"p1x1": "s1x1", "p2x1": "s2x1", "p2x2": "s2x2", "p1x2": "s1x2", "p4x1": "s4x1", "p4x2": "s4x2", "pgrey": "sgrey",
		"restart": "s2x2", "prestart": "s2x2",
	} {
		for _, least := range []image.Point{{}, {50, 40}, {20, 20}, {1, 1}} {
			a := decode(t, read(t, "testdata/"+file+".jpg"), pixels.DecodeOptions{AtLeast: least})
			b := decode(t, read(t, "testdata/"+other+".jpg"), pixels.DecodeOptions{AtLeast: least})
			if !bytes.Equal(pixelsOf(t, a).Pix, pixelsOf(t, b).Pix) {
				t.Errorf("%s at least %v is not as %s", other, least, file)
			}
		}
	}
}
