package main

import (
	"bytes"
	"context"
	"fmt"
	"image"
	_ "image/jpeg"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"darkroom/internal/pixels/engine"
	"darkroom/internal/pixels/pool"
)

// TestMain makes the test binary a pixel process where a pool starts it as one.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "pixels-child" {
		if pool.Serve(engine.Open) != nil {
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func TestDeriveMakesAllSizesAndFormats(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	out, err := printed(t, "derive", "testdata/photos/friends.jpg", "testdata/photos/wine.png", "--out", dir, "--engine", "go",
		"--sizes", "300,100x100", "--fit", "inside", "--format", "jpeg,webp")
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]image.Point{
		"friends-300.jpg": {300, 450}, "friends-100x100.jpg": {67, 100}, "wine-300.jpg": {267, 400}, "wine-100x100.jpg": {67, 100},
	} {
		f, err := os.Open(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		c, format, err := image.DecodeConfig(f)
		if err != nil || format != "jpeg" || image.Pt(c.Width, c.Height) != want {
			t.Errorf("%s: %s %d×%d, %v", file, format, c.Width, c.Height, err)
		}
	}
	all, err := os.ReadDir(dir)
	if err != nil || len(all) != 8 || !strings.Contains(out, "8 files, ") || !strings.Contains(out, " of 2 images in ") {
		t.Errorf("%d files, %v\n%s", len(all), err, out)
	}
}

func TestDeriveTakesARecipe(t *testing.T) {
	dir := t.TempDir()
	if _, err := printed(t, "derive", "testdata/photos/sunset.jpg", "--out", dir, "--engine", "go", "--recipe", "recipes/thumbnails.yaml"); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"sunset-square-400.webp", "sunset-square-200.webp", "sunset-square-100.jpg"} {
		if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
			t.Error(err)
		}
	}
}

func TestDeriveGoesOnAfterAnImageThatFails(t *testing.T) {
	dir := t.TempDir()
	photo, err := os.ReadFile("testdata/photos/sunset.jpg")
	if err != nil {
		t.Fatal(err)
	}
	cut := filepath.Join(dir, "cut.jpg")
	if err := os.WriteFile(cut, photo[:len(photo)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := printed(t, "derive", cut, filepath.Join(dir, "none.jpg"), "go.mod", "testdata/photos/sunset.jpg", "--out", dir,
		"--engine", "go", "--sizes", "50")
	if err == nil || err.Error() != "3 of 4 images could not be derived" {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "sunset-50.jpg")); err != nil || !strings.Contains(out, "1 file, ") {
		t.Errorf("%v\n%s", err, out)
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".*")); err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}

func TestDeriveRefusesInOneLine(t *testing.T) {
	for want, args := range map[string][]string{
		`--sizes (DARKROOM_SIZES): "wide": must be a width`:                     {"--sizes", "wide"},
		"derive 0 as jpeg: width, height: one of them must be given":            {"--sizes", "0"},
		`derive 100 as tga: format "tga": must be one of [jpeg png webp avif`:   {"--sizes", "100", "--format", "tga"},
		`--background (DARKROOM_BACKGROUND) "red": must be a colour as #rrggbb`: {"--background", "red"},
		"would be made of both":  {"recipes/../testdata/photos/sunset.jpg"},
		"[3:1]":                  {"--recipe", "testdata/photos/LICENCES.md"},
		"open pixel processes: ": {"--engine", "libvips", "--libvips", t.TempDir()},
		"--out (DARKROOM_OUT): make folder go.mod: not a directory": {"--out", "go.mod"},
	} {
		_, err := printed(t, append([]string{"derive", "testdata/photos/sunset.jpg"}, args...)...)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %s", args, err, want)
		}
	}
}

func TestDeriveReplacesNoImageThatWasGiven(t *testing.T) {
	photo, err := os.ReadFile("testdata/photos/sunset.jpg")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, photo, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	whole, given, elsewhere := write("photo.jpg"), write("photo-50.jpg"), filepath.Join(t.TempDir(), "link")
	linked, target := filepath.Join(dir, "linked-50.jpg"), write("target.jpg")
	for from, to := range map[string]string{elsewhere: dir, linked: target} {
		if err := os.Symlink(to, from); err != nil {
			t.Fatal(err)
		}
	}
	for name, args := range map[string][]string{
		"the same folder":     {whole, given, "--out", dir},
		"a link to a folder":  {whole, given, "--out", elsewhere},
		"a link to the image": {write("linked.jpg"), target, "--out", dir},
		"a link given":        {filepath.Join(dir, "linked.jpg"), linked, "--out", dir},
	} {
		_, err := printed(t, append([]string{"derive", "--engine", "go", "--sizes", "50"}, args...)...)
		want := "-50.jpg, made of " + args[0] + ", would replace the image " + args[1] + ": "
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
	for _, path := range []string{given, linked} {
		if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, photo) {
			t.Errorf("%s is now of %d bytes, %v", path, len(now), err)
		}
	}
	// What an earlier run has made is made again.
	for range 2 {
		if _, err := printed(t, "derive", whole, "--engine", "go", "--sizes", "40", "--out", dir); err != nil {
			t.Error(err)
		}
	}
}

func TestAPipeIsNotWaitedFor(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe.jpg")
	if err := unix.Mkfifo(pipe, 0o600); err != nil { // which nobody writes to
		t.Fatal(err)
	}
	for want, args := range map[string][]string{
		"2 of 2 images could not be derived": {"derive", pipe, dir, "--engine", "go", "--out", dir},
		"2 of 2 files":                       {"probe", pipe, dir},
	} {
		var out, told bytes.Buffer
		done := make(chan error)
		go func() { done <- run(t.Context(), args, stdio{&out, &told}) }()
		select {
		case err := <-done:
			if err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Error(err)
			}
			if n := strings.Count(out.String()+told.String(), ": no regular file\n"); n != 2 {
				t.Errorf("%v prints\n%s%s", args, &out, &told)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("%v waits for a pipe", args)
		}
	}
}

func TestDeriveObeysTheUmask(t *testing.T) {
	for umask, want := range map[int]os.FileMode{0o022: 0o644, 0o027: 0o640, 0o002: 0o664} {
		dir := t.TempDir()
		before := unix.Umask(umask)
		_, err := printed(t, "derive", "testdata/photos/sunset.jpg", "--engine", "go", "--sizes", "50", "--out", dir)
		unix.Umask(before)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(filepath.Join(dir, "sunset-50.jpg"))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != want {
			t.Errorf("umask %03o: %v, want %v", umask, info.Mode(), want)
		}
	}
}

func TestDeriveSaysHowFarItCameWhenInterrupted(t *testing.T) {
	photo, err := filepath.Abs("testdata/photos/sunset.jpg")
	if err != nil {
		t.Fatal(err)
	}
	in, made := t.TempDir(), t.TempDir()
	args := []string{"derive", "--engine", "go", "--sizes", "50", "--processes", "1", "--out", made}
	for i := range 500 {
		path := filepath.Join(in, strconv.Itoa(i)+".jpg")
		if err := os.Symlink(photo, path); err != nil {
			t.Fatal(err)
		}
		args = append(args, path)
	}
	ctx, stop := context.WithCancel(t.Context())
	var out, told bytes.Buffer
	done := make(chan error)
	go func() { done <- run(ctx, args, stdio{&out, &told}) }()
	for _, err := os.Stat(filepath.Join(made, "0-50.jpg")); err != nil; _, err = os.Stat(filepath.Join(made, "0-50.jpg")) {
		time.Sleep(time.Millisecond)
	}
	stop()
	err = <-done
	files, globErr := filepath.Glob(filepath.Join(made, "*.jpg"))
	if globErr != nil || len(files) == 0 || len(files) == 500 {
		t.Fatalf("%d files are made, %v", len(files), globErr)
	}
	want := fmt.Sprintf("interrupted: %d of 500 images were derived", len(files))
	if err == nil || err.Error() != want || exitStatus(err) != 130 {
		t.Errorf("%v (exit status %d), want %s", err, exitStatus(err), want)
	}
	if !strings.Contains(out.String(), fmt.Sprintf("of %s in ", count(len(files), "image"))) ||
		strings.Count(out.String(), "-50.jpg") != len(files) || strings.Contains(told.String(), "context") {
		t.Errorf("%d files: %s%s", len(files), out.String(), told.String())
	}
	// Before the first.
	err = run(ctx, args, stdio{&out, &told})
	if err == nil || err.Error() != "interrupted: 0 of 500 images were derived" || exitStatus(err) != 130 {
		t.Errorf("%v (exit status %d)", err, exitStatus(err))
	}
}
