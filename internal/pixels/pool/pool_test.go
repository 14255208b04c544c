package pool_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"darkroom/internal/pixels"
	"darkroom/internal/pixels/hash"
	"darkroom/internal/pixels/pool"
)

var small = []pixels.Output{{Width: 16, Format: pixels.JPEG}}

// photo is a PNG with some content.
func photo(t testing.TB, width, height int) []byte {
	m := image.NewNRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			m.SetNRGBA(x, y, color.NRGBA{byte(x * y), byte(x), byte(y), 255})
		}
	}
	b, err := picture{m}.Encode(pixels.EncodeOptions{Format: pixels.PNG})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// child is the command that makes this binary a child.
func child(t testing.TB, role string) []string {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return []string{exe, role}
}

func open(t testing.TB, cfg pool.Config) *pool.Pool {
	t.Helper()
	if cfg.Command == nil {
		cfg.Command = child(t, "child")
	}
	if cfg.Memory == 0 {
		cfg.Memory = 256 << 20
	}
	p, err := pool.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func derive(t testing.TB, p *pool.Pool, data []byte) error {
	_, err := p.Derive(t.Context(), pool.Source{Data: data}, pixels.Limits{}, small)
	return err
}

// pid asks a child for its process id.
func pid(t testing.TB, p *pool.Pool) string {
	t.Helper()
	err := derive(t, p, ordered(photo(t, 20, 10), "pid"))
	if pixels.CodeOf(err) != "pid" {
		t.Fatalf("no process id: %v", err)
	}
	return err.Error()
}

func TestDerivativesAreThoseOfTheSameProcess(t *testing.T) {
	p := open(t, pool.Config{})
	data := photo(t, 300, 200)
	outputs := []pixels.Output{
		{Width: 100, Format: pixels.JPEG, Quality: 70}, {Width: 50, Height: 50, Fit: pixels.Cover, Format: pixels.PNG},
		{Width: 400, Enlarge: true, Format: pixels.JPEG, Background: color.RGBA{1, 2, 3, 255}},
	}
	want, err := pixels.Derive(engine{}, data, pixels.Limits{}, outputs)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "photo.png")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for name, src := range map[string]pool.Source{"bytes": {Data: data}, "file": {File: file}} {
		for range 3 {
			got, err := p.Derive(t.Context(), src, pixels.Limits{}, outputs)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			for i := range want {
				if fmt.Sprint(got[i]) != fmt.Sprint(want[i]) {
					t.Errorf("%s: output %d differs", name, i)
				}
			}
		}
	}
}

func TestHashesAreThoseOfTheSameProcess(t *testing.T) {
	p := open(t, pool.Config{Size: 1})
	data := photo(t, 300, 200)
	want, err := hash.Of(engine{}, data, pixels.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got, err := p.Hash(t.Context(), pool.Source{Data: data}, pixels.Limits{}); err != nil || got != want {
			t.Errorf("%+v, want %+v: %v", got, want, err)
		}
		if err := derive(t, p, data); err != nil { // with the same child
			t.Error(err)
		}
	}
	for name, c := range map[string]struct {
		data []byte
		code string
	}{
		"cut": {data[:len(data)/2], pixels.CodeTruncated}, "crash": {ordered(data, "exit"), pixels.CodeDecodeCrash},
		"no hashes": {ordered(data, "claim 1"), pixels.CodeDecodeCrash},
	} {
		if got, err := p.Hash(t.Context(), pool.Source{Data: c.data}, pixels.Limits{}); pixels.CodeOf(err) != c.code || got != (hash.Hashes{}) {
			t.Errorf("%s: %+v: code %q: %v", name, got, pixels.CodeOf(err), err)
		}
	}
}

func TestErrorsOfTheImageComeAsTheyAre(t *testing.T) {
	p := open(t, pool.Config{Size: 1})
	before := pid(t, p)
	data := photo(t, 300, 200)
	for _, c := range []struct {
		name, code, text string
		data             []byte
		lim              pixels.Limits
		outputs          []pixels.Output
	}{
		{"nothing", pixels.CodeUnknownFormat, "first bytes", nil, pixels.Limits{}, small},
		{"truncated", pixels.CodeTruncated, "ends before", data[:len(data)/2], pixels.Limits{}, small},
		{"limits", pixels.CodeTooManyPixels, "300×200", data, pixels.Limits{MaxPixels: 1000}, small},
		{"output", "", "quality 101", data, pixels.Limits{}, []pixels.Output{{Width: 1, Format: "jpeg", Quality: 101}}},
		{"plain", "", "no idea", ordered(data, "fail no idea"), pixels.Limits{}, small},
		{"memory", pixels.CodeResourceLimit, "more memory", ordered(data, "fail VipsJpeg: out of memory"), pixels.Limits{}, small},
	} {
		_, err := p.Derive(t.Context(), pool.Source{Data: c.data}, c.lim, c.outputs)
		if err == nil || pixels.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: code %q: %v", c.name, pixels.CodeOf(err), err)
		}
	}
	if after := pid(t, p); after != before {
		t.Error("a refused image cost a process")
	}
}

// TestWhatAnImageDoesToItsProcess has an image for each way in which decoding ends badly. Each costs its process only.
func TestWhatAnImageDoesToItsProcess(t *testing.T) {
	img := photo(t, 20, 10)
	for _, c := range []struct{ order, code, text string }{
		{"nil", pixels.CodeDecodeCrash, "nil pointer"},
		{"panic fault", pixels.CodeDecodeCrash, "panic: the decoder's fault"},
		{"exit", pixels.CodeDecodeCrash, "exit status 7"},
		{"segv", pixels.CodeDecodeCrash, "SIGSEGV"},
		{"sigkill", pixels.CodeResourceLimit, "memory is short"},
		{"hang", pixels.CodeDecodeTimeout, "limit of 2s"},
		{"spin", pixels.CodeResourceLimit, "more CPU time"},
		{"allocate", pixels.CodeResourceLimit, "more memory than the limit of 256 MiB"},
		{"shared", pixels.CodeResourceLimit, "more memory than the limit of 256 MiB"},
		{"garbage", pixels.CodeDecodeCrash, "no valid answer"},
		{"long", pixels.CodeDecodeCrash, "no valid answer"},
		{"claim 1", pixels.CodeDecodeCrash, "200000000 bytes"},
		{"claim 9", pixels.CodeDecodeCrash, "not that to the question"},
		{"hang-up", pixels.CodeDecodeCrash, "no valid answer"},
	} {
		t.Run(c.order, func(t *testing.T) {
			t.Parallel()
			cfg := pool.Config{Size: 1, Timeout: time.Minute, CPU: time.Second, MaxOutput: 1 << 30}
			if c.order == "hang" {
				cfg.Timeout = 2 * time.Second
			}
			p := open(t, cfg)
			err := derive(t, p, ordered(img, c.order))
			if pixels.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.text) {
				t.Errorf("code %q: %v", pixels.CodeOf(err), err)
			}
			if err := derive(t, p, img); err != nil {
				t.Errorf("the next image: %v", err)
			}
		})
	}
}

// TestImagesOfAllLengths has each image served by what the one before has left.
func TestImagesOfAllLengths(t *testing.T) {
	p := open(t, pool.Config{Size: 1})
	img := photo(t, 60, 40)
	want, err := pixels.Derive(engine{}, img, pixels.Limits{}, small)
	if err != nil {
		t.Fatal(err)
	}
	for _, padding := range []int{0, 3 << 20, 10, 40 << 20, 0, 2 << 20} {
		got, err := p.Derive(t.Context(), pool.Source{Data: append(bytes.Clone(img), make([]byte, padding)...)}, pixels.Limits{}, small)
		if err != nil || !bytes.Equal(got[0].Data, want[0].Data) {
			t.Errorf("with %d bytes after it: %v", padding, err)
		}
		// A shorter one does not end with what is left of the longer one.
		if err := derive(t, p, img[:len(img)-20]); pixels.CodeOf(err) != pixels.CodeTruncated {
			t.Errorf("cut, after one of %d bytes more: %v", padding, err)
		}
	}
}

func TestTooMuchOutput(t *testing.T) {
	p := open(t, pool.Config{Size: 1, MaxOutput: 20_000})
	before := pid(t, p)
	outputs := []pixels.Output{{Width: 100, Format: pixels.PNG}, {Width: 200, Format: pixels.PNG}}
	_, err := p.Derive(t.Context(), pool.Source{Data: photo(t, 200, 200)}, pixels.Limits{}, outputs)
	if pixels.CodeOf(err) != pixels.CodeResourceLimit {
		t.Errorf("more output than allowed: %v", err)
	}
	if err := derive(t, p, photo(t, 20, 10)); err != nil || pid(t, p) != before {
		t.Errorf("the next image: %v", err)
	}
}

func TestChildrenAreUsedAgain(t *testing.T) {
	p := open(t, pool.Config{Size: 4, MaxUses: 50})
	seen := map[string]int{}
	for range 120 {
		seen[pid(t, p)]++
	}
	if len(seen) != 3 {
		t.Errorf("120 images, one after the other, of at most 50 a process: %v", seen)
	}
}

func TestAnImageIsNotBlamedForAnEarlierOne(t *testing.T) {
	p := open(t, pool.Config{Size: 1})
	before := pid(t, p)
	// The order is obeyed by a process that has served before; a fresh one gets the image once more.
	if err := derive(t, p, ordered(photo(t, 20, 10), "panic once")); pixels.CodeOf(err) != pixels.CodeDecodeCrash {
		t.Error(err)
	}
	if after := pid(t, p); after == before {
		t.Error("the process that crashed lives on")
	}
}

func TestCancel(t *testing.T) {
	p := open(t, pool.Config{Size: 1})
	img := photo(t, 20, 10)
	if err := derive(t, p, img); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	fault := errors.New("the client went away")
	busy := make(chan error, 1)
	go func() {
		_, err := p.Derive(ctx, pool.Source{Data: ordered(img, "hang")}, pixels.Limits{}, small)
		busy <- err
	}()
	waiting, stop := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer stop()
	for waiting.Err() == nil { // until it is the other that has the child
		_, _ = p.Derive(waiting, pool.Source{Data: img}, pixels.Limits{}, small)
	}
	cancel(fault)
	if err := <-busy; !errors.Is(err, fault) || pixels.CodeOf(err) != "" {
		t.Errorf("cancelled: %v", err)
	}
	if err := derive(t, p, img); err != nil {
		t.Errorf("after that: %v", err)
	}
}

func TestCloseWhileBusy(t *testing.T) {
	p := open(t, pool.Config{Size: 2})
	img := photo(t, 20, 10)
	var group sync.WaitGroup
	for range 6 {
		group.Go(func() {
			if err := derive(t, p, ordered(img, "hang")); !errors.Is(err, pool.ErrClosed) {
				t.Errorf("closed meanwhile: %v", err)
			}
		})
	}
	p.Close()
	group.Wait()
	p.Close()
	if err := derive(t, p, img); !errors.Is(err, pool.ErrClosed) {
		t.Errorf("closed before: %v", err)
	}
}

func TestAChildThatCannotStart(t *testing.T) {
	for name, c := range map[string]struct {
		cfg  pool.Config
		text string
	}{
		"no program": {pool.Config{Command: []string{"/no/such/program"}}, "no such file"},
		"dies":       {pool.Config{Command: child(t, "no-child")}, "no library, no luck"},
		"no engine":  {pool.Config{Engine: "missing"}, "no engine of that name"},
	} {
		p := open(t, c.cfg)
		first := derive(t, p, nil)
		if first == nil || !strings.Contains(first.Error(), c.text) || !strings.HasPrefix(first.Error(), "start a pixel process: ") {
			t.Errorf("%s: %v", name, first)
		}
		// No process is started for a while: the error is the same one.
		if again := derive(t, p, nil); again != first { //nolint:errorlint // see above
			t.Errorf("%s, again: %v", name, again)
		}
	}
}

func TestConfig(t *testing.T) {
	for _, cfg := range []pool.Config{{Size: -1}, {Memory: 1}, {MaxUses: -1}, {MaxOutput: -1}, {Timeout: -1}, {CPU: -1}} {
		if p, err := pool.New(cfg); err == nil {
			p.Close()
			t.Errorf("%+v is taken", cfg)
		}
	}
}

func TestManyAtOnce(t *testing.T) {
	p := open(t, pool.Config{Size: 3})
	img := photo(t, 60, 40)
	want, err := pixels.Derive(engine{}, img, pixels.Limits{}, small)
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for i := range 60 {
		group.Go(func() {
			if i%10 == 0 {
				if err := derive(t, p, ordered(img, "exit")); pixels.CodeOf(err) != pixels.CodeDecodeCrash {
					t.Errorf("%d: %v", i, err)
				}
				return
			}
			got, err := p.Derive(t.Context(), pool.Source{Data: img}, pixels.Limits{}, small)
			if err != nil || !bytes.Equal(got[0].Data, want[0].Data) {
				t.Errorf("%d: %v", i, err)
			}
		})
	}
	group.Wait()
}

func TestSourcesThatAreNoFiles(t *testing.T) {
	p := open(t, pool.Config{})
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if _, err := p.Derive(t.Context(), pool.Source{File: r}, pixels.Limits{}, small); err == nil ||
		!strings.Contains(err.Error(), "no regular file") {
		t.Errorf("a pipe: %v", err)
	}
}
