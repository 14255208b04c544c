package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/alecthomas/kong"
)

func TestPathsCountFromWhereTheyWereGiven(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.Mkdir("there", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("libvips.so.42", nil, 0o600); err != nil { // no file of the working folder is loaded for a name
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

// A path without a default would be the working directory, say where an environment variable is there but empty.
func TestAnEmptyPathIsNone(t *testing.T) {
	var c cli
	parser, err := kong.New(&c, kong.Vars{"stack_parts": stackParts()})
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"stack", "up", "--lib="}, {"ingest", "--signing-keys="}, {"up", "--signing-keys="}} {
		if _, err := parser.Parse(args); err != nil {
			t.Errorf("%v: %v", args, err)
		}
		if got := c.Stack.Up.Lib + c.Ingest.SigningKeys + c.Up.SigningKeys; got != "" {
			t.Errorf("%v: %q", args, got)
		}
	}
}
