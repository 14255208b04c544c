package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// printed runs a command line and returns what it prints.
func printed(t *testing.T, args ...string) (out string, err error) {
	t.Helper()
	var o, e bytes.Buffer
	err = run(t.Context(), args, stdio{&o, &e})
	return o.String(), err
}

func TestProbeSaysWhatFilesAre(t *testing.T) {
	out, err := printed(t, "probe", "testdata/photos/friends.jpg", "testdata/photos/life.webp")
	if err != nil || !strings.Contains(out, "1024×682  1       6            Canon EOS 5D  2018-07-14T18:21:05\n") {
		t.Errorf("%s%v", out, err)
	}
	out, err = printed(t, "probe", "--json", "testdata/photos/wine.png")
	if want := `{"file":"testdata/photos/wine.png","format":"png","width":267,"height":400,"frames":1,"orientation":1}` + "\n"; out != want || err != nil {
		t.Errorf("%s%v", out, err)
	}
}

func TestProbeSaysWhatIsRefused(t *testing.T) {
	out, err := printed(t, "probe", "--max-pixels", "1000", "go.mod", "testdata/photos/wine.png", "nowhere")
	if err == nil || !strings.HasPrefix(err.Error(), "3 of 3 files") {
		t.Error(err)
	}
	for _, want := range []string{
		"go.mod                    -       unknown-format: ", "too-many-pixels: 267×400 pixels are more than the limit of 1,000\n",
		"unreadable: no such file or directory\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
}

// A name may have what would break the line, or act upon the terminal.
func TestNamesArePrintedInOneLine(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a\tb\n\x1b[2Jc.png")
	photo, err := os.ReadFile("testdata/photos/wine.png")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, photo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"probe", file}, {"probe", file + "/none"}, {"derive", file, "--sizes", "10", "--engine", "go", "--out", dir},
		{"derive", file + "/none", "--engine", "go", "--out", dir},
	} {
		var out bytes.Buffer
		_ = run(t.Context(), args, stdio{&out, &out})
		if !strings.Contains(out.String(), `a\tb\n\x1b[2Jc`) || strings.ContainsAny(out.String(), "\t\x1b") {
			t.Errorf("%q prints %q", args, &out)
		}
	}
}

func TestProbeHashes(t *testing.T) {
	out, err := printed(t, "probe", "--hash", "--json", "--engine", "go", "testdata/photos/wine.png")
	if err != nil || !strings.Contains(out, `"pixel_hash":"c762c0b0f25a7a07672cb6c62ee56bedaac629fcf64255342b8d6f796f214cb7","pdq":"`) {
		t.Errorf("%s%v", out, err)
	}
	out, err = printed(t, "probe", "--hash", "--engine", "go", "testdata/photos/sunset.jpg", "testdata/photos/sunset-again.jpg", "go.mod")
	lines := strings.Split(out, "\n")
	if err == nil || len(lines) != 5 || !strings.Contains(lines[3], "unknown-format") {
		t.Fatalf("%s%v", out, err)
	}
	a, b := strings.Fields(lines[1]), strings.Fields(lines[2])
	if a[len(a)-3] != b[len(b)-3] || len(a[len(a)-3]) != 64 || a[len(a)-2] != "100" {
		t.Errorf("copies have other hashes:\n%s", out)
	}
}
