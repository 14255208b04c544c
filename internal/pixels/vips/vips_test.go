package vips_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"testing"

	"darkroom/internal/pixels"
	"darkroom/internal/pixels/pixelstest"
	"darkroom/internal/pixels/vips"
)

// open opens libvips, or skips the test where there is none. DARKROOM_LIBVIPS names one; with DARKROOM_TEST_LIBVIPS=1,
// as CI has it, there must be one.
func open(t testing.TB) *vips.Engine {
	t.Helper()
	e, err := vips.Open(os.Getenv("DARKROOM_LIBVIPS"))
	if err != nil {
		if os.Getenv("DARKROOM_TEST_LIBVIPS") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	return e
}

// TestTheWorkingFolderIsNotSearched has a file in it that is called as the library is: whoever can write there is not to
// have their code run.
func TestTheWorkingFolderIsNotSearched(t *testing.T) {
	t.Chdir(t.TempDir())
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"libvips.so.42", "libvips.42.dylib"} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{"", "libvips.so.42", "libvips.42.dylib"} {
		if found := vips.Locate(path); strings.Contains(found, dir) {
			t.Errorf("%q is %s", path, found)
		}
	}
	if found, want := vips.Locate("./libvips.so.42"), filepath.Join(dir, "libvips.so.42"); found != want {
		t.Errorf("a file that is named as one is %s, want %s", found, want)
	}
}

func TestConformance(t *testing.T) {
	if testing.Short() {
		t.Skip("decodes much, by one goroutine")
	}
	pixelstest.Run(t, open(t))
}

// TestMemoryIsFreed counts what libvips holds, which is next to nothing once all pictures are closed, and looks that the
// process does not grow, as it would if its objects leaked.
func TestMemoryIsFreed(t *testing.T) {
	if testing.Short() {
		t.Skip("decodes much")
	}
	e := open(t)
	data, err := os.ReadFile("../../../testdata/photos/wine.png")
	if err != nil {
		t.Fatal(err)
	}
	var outputs []pixels.Output
	for _, side := range []int{64, 32} {
		for _, f := range []pixels.Format{pixels.JPEG, pixels.WebP} {
			outputs = append(outputs, pixels.Output{Width: side, Height: side, Format: f, Fit: pixels.Cover, Sharpen: 0.5})
		}
	}
	broken := data[:len(data)/2]
	facts := pixels.Facts{Format: pixels.PNG, Width: 267, Height: 400, Frames: 1, Orientation: 1}
	round := func(n int) {
		for range n {
			if _, err := pixels.Derive(e, data, pixels.Limits{}, outputs); err != nil {
				t.Fatal(err)
			}
			p, err := e.Decode(broken, facts, pixels.DecodeOptions{})
			if err != nil {
				continue
			}
			if _, err := p.NRGBA(); pixels.CodeOf(err) != pixels.CodeTruncated {
				t.Fatalf("half a PNG: %v", err)
			}
			p.Close()
		}
	}
	round(100)
	before := resident(t)
	round(500)
	// Its threads keep a few buffers until they end.
	if n := vips.Allocated(e); n > 1<<20 {
		t.Errorf("libvips holds %d bytes", n)
	}
	if grown := resident(t) - before; grown > 16<<20 {
		t.Errorf("the process has grown by %d MiB", grown>>20)
	}
}

// resident returns the memory of the process that is not Go's garbage, in bytes; 0 where the system does not tell.
func resident(t *testing.T) int {
	debug.FreeOSMemory()
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var total, pages int
	if _, err := fmt.Sscan(string(b), &total, &pages); err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

// TestErrorsAreNotMixed has many goroutines fail in different ways: each gets its own error.
func TestErrorsAreNotMixed(t *testing.T) {
	e := open(t)
	data, err := os.ReadFile("../../../testdata/photos/wine.png")
	if err != nil {
		t.Fatal(err)
	}
	facts := pixels.Facts{Format: pixels.PNG, Width: 267, Height: 400, Frames: 1, Orientation: 1}
	try := func(data []byte) string {
		p, err := e.Decode(data, facts, pixels.DecodeOptions{})
		if err == nil {
			_, err = p.NRGBA()
			p.Close()
		}
		return fmt.Sprint(err)
	}
	cut, noPNG := data[:len(data)/2], bytes.Repeat([]byte("no PNG "), 1000)
	wantCut, wantNone := try(cut), try(noPNG)
	if wantCut == wantNone || try(data) != "<nil>" {
		t.Fatalf("%q, %q", wantCut, wantNone)
	}
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for range 20 {
				data, want := data, "<nil>"
				switch i % 3 {
				case 0:
					data, want = cut, wantCut
				case 1:
					data, want = noPNG, wantNone
				}
				if got := try(data); got != want {
					t.Errorf("got %q, want %q", got, want)
				}
			}
		})
	}
	group.Wait()
}

func TestOpenFindsNothing(t *testing.T) {
	empty := t.TempDir()
	if _, err := vips.Open(empty); err == nil || !strings.Contains(err.Error(), empty) {
		t.Errorf("an empty folder: %v", err)
	}
	file := filepath.Join(empty, "libvips.so.42")
	if err := os.WriteFile(file, []byte("no library"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{empty, file, filepath.Join(empty, "nothing")} {
		if _, err := vips.Open(path); err == nil {
			t.Errorf("%s was opened", path)
		}
	}
}

// The fuzzer sees which of our code runs, and none of libvips.
func FuzzDecode(f *testing.F) { pixelstest.Fuzz(f, open(f)) }
