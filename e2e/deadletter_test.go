package e2e_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// deadletter runs the command on a process's broker.
func (p *process) deadletter(args ...string) string {
	p.t.Helper()
	out, err := command(p.t, append([]string{"deadletter", args[0], "--kafka", p.kafka}, args[1:]...)...).Output()
	if err != nil {
		p.t.Fatalf("deadletter %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// waiting are the letters that wait, as "key code replays", by id.
func (p *process) waiting() map[string]string {
	p.t.Helper()
	letters := map[string]string{}
	for line := range strings.Lines(p.deadletter("list", "--json")) {
		var l struct {
			ID, Key, Code string
			Replays       int
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			p.t.Fatal(err)
		}
		letters[l.ID] = fmt.Sprint(l.Key, " ", l.Code, " ", l.Replays)
	}
	return letters
}

// TestADeadLetterIsReplayed uploads a file that is cut and a photograph that is too large for the limit, and replays
// both: in vain at first, then with a limit that it fits in.
func TestADeadLetterIsReplayed(t *testing.T) {
	data, begun := t.TempDir(), time.Now()
	all := readPhotos(t)
	pixels := func(p photo) int64 { return p.width * p.height }
	slices.SortFunc(all, func(a, b photo) int { return cmp.Compare(pixels(a), pixels(b)) })
	small, photo := all[0], all[len(all)-1]
	p := up(t, data, "--max-pixels", fmt.Sprint(pixels(small)))
	ids := map[string]string{}
	for name, body := range map[string][]byte{"large": photo.body, "cut": small.body[:len(small.body)/2]} {
		a, err := p.upload(body, name)
		if err != nil || a.status != http.StatusCreated {
			t.Fatalf("upload %s: %+v %v", name, a, err)
		}
		ids[name] = a.ID
	}
	// figures waits for the summary, the series, and the letters that wait.
	figures := func(want summary, letters ...string) {
		t.Helper()
		eventually(t, 20*time.Second, func() error {
			if err := same(p.summary(), want); err != nil {
				return err
			}
			for metric, want := range map[string]int64{"images": want.Images, "pixels": want.Pixels} {
				if got := p.total(metric, begun); got != want {
					return fmt.Errorf("the series of %s sum up to %d, want %d", metric, got, want)
				}
			}
			waiting := p.waiting()
			for _, l := range waiting {
				if !strings.Contains(strings.Join(letters, "\n"), l) {
					return fmt.Errorf("the letters are %q, want %q", waiting, letters)
				}
			}
			if len(waiting) != len(letters) {
				return fmt.Errorf("the letters are %q, want %q", waiting, letters)
			}
			return nil
		})
	}
	cut, large := ids["cut"]+" truncated ", ids["large"]+" too-many-pixels "
	figures(summary{Rejected: 2}, cut+"0", large+"0")
	for id, l := range p.waiting() {
		if shown := p.deadletter("show", id[:16]); !strings.Contains(shown, `"image_id": "`+strings.Fields(l)[0]) {
			t.Errorf("letter of %s: %s", l, shown)
		}
	}
	if out := p.deadletter("replay", "--image", ids["cut"]); out != "replayed 1 letter\n" {
		t.Errorf("%q", out)
	}
	figures(summary{Rejected: 2}, cut+"1", large+"0")
	p.stop()

	p = up(t, data)
	figures(summary{Rejected: 2}, cut+"1", large+"0")
	if out := p.deadletter("replay", "--all"); out != "replayed 2 letters\n" {
		t.Errorf("%q", out)
	}
	figures(summary{Images: 1, Bytes: int64(len(photo.body)), Pixels: pixels(photo), Rejected: 1}, cut+"2")
	if out := p.deadletter("replay", "--code", "too-many-pixels"); out != "replayed 0 letters\n" {
		t.Errorf("%q", out)
	}
	p.stop()
}
