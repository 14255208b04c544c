package engine_test

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"darkroom/internal/pixels/engine"
	"darkroom/internal/pixels/pool"
)

// brokenLibraries are files that a cache folder may hold instead of libvips, with a part of what is said of them.
func brokenLibraries(t *testing.T) map[string][]byte {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("the libraries are of ELF")
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	foreign := bytes.Clone(self)
	foreign[18] ^= 0x55 // e_machine
	return map[string][]byte{
		"not all of one: EOF": self[:len(self)/2], "libvips-cpp.so.1: ": foreign, "not all of one: bad magic": []byte("<html>not found</html>"),
	}
}

// place puts a library where auto looks first.
func place(t *testing.T, library []byte) {
	t.Helper()
	cache := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	dir := filepath.Join(cache, "darkroom", "libvips")
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // processes without rights read it
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "libvips-cpp.so.1"), library, 0o755); err != nil { //nolint:gosec // as above
		t.Fatal(err)
	}
}

// A library that is broken is passed over: for another one, or for the engine in Go, which says why.
func TestBrokenLibraries(t *testing.T) {
	for text, library := range brokenLibraries(t) {
		place(t, library)
		all, err := engine.Choice{}.Survey(t.Context(), pool.Config{Command: childCommand})
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		for _, s := range all {
			if s.Name == engine.Libvips && !s.Used && !strings.Contains(s.Why, text) {
				t.Errorf("%q is not in %q", text, s.Why)
			}
		}
		// Alone in its folder, there is no other.
		path := filepath.Join(os.Getenv("XDG_CACHE_HOME"), "darkroom", "libvips")
		if _, err := (engine.Choice{Libvips: path}).Survey(t.Context(), pool.Config{Command: childCommand}); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("asked for by name: %q is not in %v", text, err)
		}
		e, err := engine.Open(engine.Auto, path)
		f, ok := e.(interface{ Fallback() string })
		if err != nil || !ok || !strings.Contains(f.Fallback(), text) || e.Info().Name != engine.Go {
			t.Errorf("in this process: %v", err)
		}
	}
}

// A library that takes down whoever opens it costs a process, once.
func TestALibraryThatCrashes(t *testing.T) {
	cfg := engine.Choice{}.Pool(pool.Config{Size: 2, Command: []string{os.Args[0], "crashing-child"}})
	p, err := pool.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for range 2 {
		s, err := p.Check(t.Context())
		if err != nil || s.Engine.Name != engine.Go || !strings.Contains(s.Fallback, "SIGBUS") {
			t.Errorf("%+v: %v", s, err)
		}
	}
	cfg.Fallback = ""
	asked, err := pool.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer asked.Close()
	if _, err := asked.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "SIGBUS") {
		t.Errorf("without an engine to fall back to: %v", err)
	}
}
