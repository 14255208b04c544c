package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestDoctor(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), []string{"doctor", "--engine", "go", "--json"}, stdio{&out, &out}); err != nil {
		t.Fatal(err)
	}
	var d diagnosis
	if err := json.Unmarshal(out.Bytes(), &d); err != nil || len(d.Engines) != 2 {
		t.Fatalf("%s: %v", out.String(), err)
	}
	for _, e := range d.Engines {
		if e.Used != (e.Name == "go") || e.Used == (e.Why != "") {
			t.Errorf("%+v", e)
		}
	}
	out.Reset()
	if err := run(t.Context(), []string{"doctor", "--engine", "go"}, stdio{&out, &out}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "engine go") || !strings.Contains(out.String(), "jpeg png") {
		t.Errorf("printed %s", out.String())
	}
	empty := t.TempDir()
	err := run(t.Context(), []string{"doctor", "--libvips", empty}, stdio{&out, &out})
	if err == nil || !strings.Contains(err.Error(), empty) {
		t.Errorf("a folder without libvips: %v", err)
	}
}

// The engine's variable is heeded by all commands that have the flag, as is that of the library.
func TestCommandsHeedTheEnvironment(t *testing.T) {
	t.Setenv("DARKROOM_PIXELS", "go")
	out, err := printed(t, "doctor", "--json")
	var d diagnosis
	if err != nil || json.Unmarshal([]byte(out), &d) != nil || d.Engines[1].Name != "go" || !d.Engines[1].Used {
		t.Errorf("%s%v", out, err)
	}
	t.Setenv("DARKROOM_PIXELS", "libvips")
	empty := t.TempDir()
	t.Setenv("DARKROOM_LIBVIPS", empty)
	for _, args := range [][]string{{"doctor"}, {"derive", "testdata/photos/wine.png", "--out", empty}, {"probe", "--hash", "testdata/photos/wine.png"}, {"ingest", "--ingest-listen", "127.0.0.1:0"}} {
		if _, err := printed(t, args...); err == nil || !strings.Contains(err.Error(), "there is none in the folder "+empty) {
			t.Errorf("%v: %v", args, err)
		}
	}
	t.Setenv("DARKROOM_PIXELS", "magick")
	for _, args := range [][]string{{"doctor"}, {"derive", "x.png"}, {"pipeline", "run", "derive", "--recipe", "recipes/sizes.yaml"}} {
		if _, err := printed(t, args...); err == nil || !strings.Contains(err.Error(), "magick") {
			t.Errorf("%v: %v", args, err)
		}
	}
}
