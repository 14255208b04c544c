package goengine_test

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"darkroom/internal/pixels"
	"darkroom/internal/pixels/goengine"
)

// TestAVersionStandsForItsBytes fails when derivatives become other bytes: then raise the version, and put what it prints
// here. Rows name the version of what they were made by.
func TestAVersionStandsForItsBytes(t *testing.T) {
	const version, want = "3", "3947cf4f564507750bd659844b00c0bdb16b2baacb2613a16d67f3aaa09114c0"
	if runtime.GOARCH != "amd64" {
		t.Skip("other processors round sums of products otherwise")
	}
	outputs := []pixels.Output{
		{Width: 160, Format: pixels.JPEG, Sharpen: 1},
		{Width: 90, Height: 90, Fit: pixels.Cover, Gravity: pixels.Attention, Format: pixels.WebP},
		{Height: 60, Format: pixels.PNG},
		{Width: 50, Height: 80, Fit: pixels.Exact, Format: pixels.GIF},
		{Width: 40, Format: pixels.AVIF},
	}
	files, err := filepath.Glob(photos + "/*.[jpw]*")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	more, err := filepath.Glob("testdata/*")
	if err != nil || len(more) == 0 {
		t.Fatal(more, err)
	}
	sum := sha256.New()
	for _, f := range append(files, more...) {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		made, err := pixels.Derive(goengine.New(), data, pixels.Limits{}, outputs)
		if err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		for _, d := range made {
			sum.Write(d.Data)
		}
	}
	if got := hex.EncodeToString(sum.Sum(nil)); goengine.New().Info().Version != version || got != want {
		t.Errorf("version %s makes %s, and %s makes %s", goengine.New().Info().Version, got, version, want)
	}
}
