package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestPathsCountFromWhereTheyWereGiven(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.Mkdir("there", 0o755); err != nil {
		t.Fatal(err)
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for given, want := range map[string]string{
		"": "", "there": filepath.Join(dir, "there"), "./there": filepath.Join(dir, "there"), "libvips.so.42": "libvips.so.42",
	} {
		got := given
		if err := anchor(&got); err != nil || got != want {
			t.Errorf("%q becomes %q: %v; want %q", given, got, err, want)
		}
	}
}
