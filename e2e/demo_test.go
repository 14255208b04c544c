package e2e_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// demo waits for the end of what --demo prints and returns it line by line, from the table on.
func (p *process) demo() []string {
	p.t.Helper()
	eventually(p.t, 30*time.Second, func() error {
		if !strings.Contains(p.output.String(), "\nsummary {") {
			return errors.New("the demo has not ended:\n" + p.output.String())
		}
		return nil
	})
	_, table, _ := strings.Cut(p.output.String(), "FILE ")
	return strings.Split(table, "\n")[1:]
}

func TestADemoSkipsWhatIsNoImage(t *testing.T) {
	dir, photos := t.TempDir(), filepath.Join("..", "testdata", "photos")
	write := func(name string, data []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	read := func(name string) []byte {
		t.Helper()
		data, err := os.ReadFile(filepath.Join(photos, name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	write(strings.Repeat("n", 251)+".png", read("wine.png")) // as long as a name can be
	write("a\nb.webp", read("life.webp"))
	write("empty.jpg", nil)
	write("notes.txt", []byte("no image"))
	write("photo.jpg", read("sunset.jpg"))
	err := errors.Join(
		os.Mkdir(filepath.Join(dir, "folder"), 0o700),
		syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600),
		os.Symlink("photo.jpg", filepath.Join(dir, "link.jpg")),
		os.Symlink("nowhere", filepath.Join(dir, "broken.jpg")))
	if err != nil {
		t.Fatal(err)
	}
	data := t.TempDir()
	p := up(t, data, "--demo="+dir)
	lines := p.demo()
	for i, want := range []string{
		`"a\nb.webp" `, "link.jpg ", "nnnn", "photo.jpg ",
		"skipped broken.jpg: no such file", "skipped empty.jpg: The upload has no bytes.",
		"skipped notes.txt: The first bytes are of no image format", "skipped pipe: no regular file", `summary {`,
	} {
		if i >= len(lines) || !strings.HasPrefix(lines[i], want) {
			t.Fatalf("line %d does not begin with %s:\n%s", i, want, strings.Join(lines, "\n"))
		}
	}
	if s := p.summary(); s.Images != 4 {
		t.Errorf("%d images, not 4", s.Images)
	}
	p.stop()

	// What is there is not uploaded anew, and other bytes under a known name are another image.
	write("photo.jpg", read("seeding.jpg"))
	p = up(t, data, "--demo="+dir)
	if lines = p.demo(); len(lines) < 9 || !strings.HasPrefix(lines[3], "photo.jpg ") {
		t.Errorf("the second demo printed\n%s", strings.Join(lines, "\n"))
	}
	if s := p.summary(); s.Images != 6 { // link.jpg has these bytes, too
		t.Errorf("%d images after the second demo, not 6", s.Images)
	}
	p.stop()
}
