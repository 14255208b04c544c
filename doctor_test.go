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
