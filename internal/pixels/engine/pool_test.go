package engine_test

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"darkroom/internal/pixels"
	"darkroom/internal/pixels/engine"
	"darkroom/internal/pixels/pool"
	"darkroom/internal/pixels/vips"
)

var childCommand = []string{os.Args[0], "child"}

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "child" {
		if err := pool.Serve(engine.Open); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) > 1 && os.Args[1] == "crashing-child" {
		_ = pool.Serve(func(name, _ string) (pixels.Engine, error) {
			if name != engine.Go {
				fmt.Fprintln(os.Stderr, "SIGBUS: bus error") // as Go says it
				os.Exit(2)
			}
			return engine.Open(name, "")
		})
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// What confines a child must leave an engine what it needs: threads, memory, its library.
func TestEnginesInConfinedProcesses(t *testing.T) {
	library := vips.Locate(os.Getenv("DARKROOM_LIBVIPS"))
	for _, name := range []string{engine.Go, engine.Libvips} {
		e, err := engine.Open(name, library)
		if err != nil {
			t.Log(err)
			continue
		}
		var outputs []pixels.Output
		for _, f := range e.Info().Encodes {
			outputs = append(outputs, pixels.Output{Width: 100, Height: 80, Format: f})
		}
		cfg := pool.DefaultConfig()
		cfg.Engine, cfg.Libvips, cfg.Size, cfg.Command = name, library, 1, childCommand
		p, err := pool.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		status, err := p.Check(t.Context())
		if err != nil || !reflect.DeepEqual(status.Engine, e.Info()) {
			t.Errorf("%s: %+v, want %+v: %v", name, status.Engine, e.Info(), err)
		}
		for _, photo := range []string{"friends.jpg", "life.webp", "wine.png"} {
			data, err := os.ReadFile(filepath.Join("../../../testdata/photos", photo))
			if err != nil {
				t.Fatal(err)
			}
			want, err := pixels.Derive(e, data, pixels.Limits{}, outputs)
			if err != nil {
				t.Fatal(err)
			}
			got, err := p.Derive(t.Context(), pool.Source{Data: data}, pixels.Limits{}, outputs)
			if err != nil {
				t.Errorf("%s, %s: %v", name, photo, err)
				continue
			}
			for i := range want {
				if string(got[i].Data) != string(want[i].Data) {
					t.Errorf("%s, %s: %s differs", name, photo, want[i].Format)
				}
			}
		}
		p.Close()
	}
}
