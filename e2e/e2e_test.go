package e2e_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"image"
	_ "image/gif"  // the oracle decodes the photographs with the standard library
	_ "image/jpeg" // …
	_ "image/png"  // …
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	_ "golang.org/x/image/webp" // … and its supplement
)

const photos = "../testdata/photos"

// photo is a file and what the standard library says of it.
type photo struct {
	name          string
	body          []byte
	sha256        string
	format        string
	width, height int64
}

// readPhotos is the oracle.
func readPhotos(t *testing.T) (all []photo) {
	t.Helper()
	entries, err := os.ReadDir(photos)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		body, err := os.ReadFile(filepath.Join(photos, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		config, format, err := image.DecodeConfig(bytes.NewReader(body))
		if err != nil {
			continue // LICENCES.md
		}
		sum := sha256.Sum256(body)
		all = append(all, photo{e.Name(), body, hex.EncodeToString(sum[:]), format, int64(config.Width), int64(config.Height)})
	}
	if len(all) < 4 {
		t.Fatalf("%d photographs in %s", len(all), photos)
	}
	return all
}

// expect adds up what the summary must say of the photographs.
func expect(all []photo) (s summary) {
	seen := map[string]bool{}
	for _, p := range all {
		s.Images++
		s.Bytes += int64(len(p.body))
		s.Pixels += p.width * p.height
		if seen[p.sha256] {
			s.Duplicates.SameBytes++
		}
		seen[p.sha256] = true
	}
	return s
}

func same(got, want summary) error {
	got.AsOf, want.AsOf = nil, nil
	if got != want {
		return fmt.Errorf("the summary is %+v, want %+v", got, want)
	}
	return nil
}

// TestAPhotographBecomesAFigure follows real photographs through the whole of Darkroom, in one process, over a stop and
// a start.
func TestAPhotographBecomesAFigure(t *testing.T) {
	data, begun := t.TempDir(), time.Now()
	p := up(t, data)
	all := readPhotos(t)
	ids := map[string]photo{}
	for _, photo := range all {
		a, err := p.upload(photo.body, photo.name)
		if err != nil || a.status != http.StatusCreated {
			t.Fatalf("upload %s: %+v %v", photo.name, a, err)
		}
		if a.SHA256 != photo.sha256 || a.Bytes != int64(len(photo.body)) || a.State != "stored" || a.replayed {
			t.Errorf("upload %s: %+v", photo.name, a)
		}
		again, err := p.upload(photo.body, photo.name)
		if err != nil || again.ID != a.ID || !again.replayed {
			t.Errorf("upload %s again: %+v %v, want %s replayed", photo.name, again, err, a.ID)
		}
		ids[a.ID] = photo
	}
	// A file that begins like a photograph and then ends is accepted, looked at, and rejected with the reason.
	broken, err := p.upload(all[0].body[:len(all[0].body)/2], "broken")
	if err != nil || broken.status != http.StatusCreated {
		t.Fatalf("upload a cut file: %+v %v", broken, err)
	}
	want := expect(all)
	want.Rejected = 1
	check := func() {
		t.Helper()
		eventually(t, 20*time.Second, func() error { return same(p.summary(), want) })
	}
	check()
	checkFacts(t, p, ids)
	checkRejected(t, p, broken.ID)
	eventually(t, 10*time.Second, func() error {
		if n, b := p.total("images", begun), p.total("bytes", begun); n != want.Images || b != want.Bytes {
			return fmt.Errorf("the series sum up to %d images of %d bytes", n, b)
		}
		return nil
	})
	eventually(t, 10*time.Second, func() error {
		if at := p.summary().AsOf; at == nil || at.Before(time.Now().Add(-5*time.Second)) {
			return fmt.Errorf("as_of is %v at %v", at, time.Now())
		}
		return nil
	})

	checkMetrics(t, p, float64(len(all)+1), begun)

	before := p.summary().AsOf
	if out, err := command(t, "statsapi", "rebuild", "--kafka", p.kafka, "--postgres", p.postgres).CombinedOutput(); err != nil {
		t.Fatalf("rebuild beside up: %v\n%s", err, out)
	}
	if now := p.summary(); same(now, want) != nil || now.AsOf == nil || now.AsOf.Before(*before) {
		t.Errorf("after the rebuild the summary is %+v; before it was complete to %v", now, before)
	}

	p.stop()
	p = up(t, data)
	check()
	for id, photo := range ids { // one of each deletion's two kinds: with and without a duplicate
		del(t, p, id)
		want.Images--
		want.Bytes -= int64(len(photo.body))
		want.Pixels -= photo.width * photo.height
	}
	want.Duplicates.SameBytes = 0
	check()
	p.stop()
}

// checkMetrics waits until the metrics tell of a pipeline that has read so many records and looked at what they name.
func checkMetrics(t *testing.T, p *process, records float64, begun time.Time) {
	t.Helper()
	eventually(t, 20*time.Second, func() error {
		res, err := http.Get(p.ingest + "/metrics")
		if err != nil {
			return err
		}
		defer res.Body.Close()
		sums := map[string]float64{} // over partitions and steps
		for lines := bufio.NewScanner(res.Body); lines.Scan(); {
			name, value, _ := strings.Cut(lines.Text(), "} ")
			series, labels, _ := strings.Cut(name, "{")
			if strings.Contains(labels, `name="analysed"`) {
				series += " analysed"
			}
			n, _ := strconv.ParseFloat(value, 64) // other lines have none
			sums[series] += n
		}
		lag, position := sums["darkroom_kafka_lag_records"], sums["darkroom_kafka_position_offset"]
		complete := sums["darkroom_pipeline_complete_to_timestamp_seconds"]
		if lag != 0 || position != records || sums["darkroom_pipeline_stalled"] != 0 || complete < float64(begun.Unix()) ||
			sums["darkroom_beam_counter_total analysed"] == 0 {
			return fmt.Errorf("lag %v, position %v of %v, complete to %v, all: %v", lag, position, records, complete, sums)
		}
		return nil
	})
}

func checkFacts(t *testing.T, p *process, ids map[string]photo) {
	t.Helper()
	for id, photo := range ids {
		var facts struct {
			State, SHA256, Format string
			Bytes, Width, Height  int64
		}
		for _, base := range []string{p.ingest, p.stats} {
			if status := get(t, base+"/v1/images/"+id, &facts); status != http.StatusOK {
				t.Fatalf("%s at %s: status %d", photo.name, base, status)
			}
			if facts.State != "analysed" || facts.SHA256 != photo.sha256 || facts.Format != photo.format ||
				facts.Bytes != int64(len(photo.body)) || facts.Width != photo.width || facts.Height != photo.height {
				t.Errorf("%s at %s: %+v", photo.name, base, facts)
			}
		}
		res, err := http.Get(p.ingest + "/v1/images/" + id + "/content")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || !bytes.Equal(body, photo.body) || res.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: content of %d bytes, %v, headers %v", photo.name, len(body), err, res.Header)
		}
		others := 0
		for other, o := range ids {
			if other != id && o.sha256 == photo.sha256 {
				others++
			}
		}
		var duplicates struct{ Duplicates []struct{ ID, Class string } }
		get(t, p.stats+"/v1/images/"+id+"/duplicates", &duplicates)
		if len(duplicates.Duplicates) != others {
			t.Errorf("%s has the duplicates %+v, want %d", photo.name, duplicates, others)
		}
	}
}

func checkRejected(t *testing.T, p *process, id string) {
	t.Helper()
	for _, base := range []string{p.ingest, p.stats} {
		res, err := http.Get(base + "/v1/images/" + id)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || !strings.Contains(string(body), `"rejected"`) || !strings.Contains(string(body), `"truncated"`) {
			t.Errorf("the cut file at %s: %s %v", base, body, err)
		}
	}
}

func del(t *testing.T, p *process, id string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodDelete, p.ingest+"/v1/images/"+id, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusAccepted {
		t.Fatalf("DELETE %s: status %d", id, res.StatusCode)
	}
}

const (
	kills     = 10
	uploaders = 4
)

// TestNothingIsLostOrCountedTwiceOverKills kills up at random moments while images are being uploaded, and then counts.
func TestNothingIsLostOrCountedTwiceOverKills(t *testing.T) {
	data, begun := t.TempDir(), time.Now()
	base := readPhotos(t)
	i := 0
	for base[i].format != "jpeg" {
		i++
	}
	l := &load{photo: base[i], acked: map[string]bool{}}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for range kills {
		p := up(t, data)
		stop := l.run(p)
		time.Sleep(time.Duration(150+rng.IntN(700)) * time.Millisecond) // the moment of the crash
		p.kill()
		stop()
	}
	p := up(t, data)
	// What was not acknowledged is tried again, as a client does; a crashed upload's lease has to run out first.
	for key := range l.sent {
		eventually(t, 60*time.Second, func() error {
			a, err := p.upload(l.body(key), fmt.Sprint(key))
			if err == nil && a.status != http.StatusCreated {
				err = errors.New(a.problem)
			}
			return err
		})
	}
	var want summary
	want.Images, want.Bytes = int64(l.sent), int64(l.sent)*int64(len(l.body(0)))
	want.Pixels = want.Images * l.photo.width * l.photo.height
	t.Logf("%d of %d uploads were acknowledged before a kill", len(l.acked), l.sent)
	if len(l.acked) == 0 {
		t.Fatal("no upload was acknowledged: the test tested nothing")
	}
	eventually(t, 60*time.Second, func() error { return same(p.summary(), want) })
	eventually(t, 20*time.Second, func() error {
		if n, b := p.total("images", begun), p.total("bytes", begun); n != want.Images || b != want.Bytes {
			return fmt.Errorf("the series sum up to %d images of %d bytes, want %d of %d", n, b, want.Images, want.Bytes)
		}
		return nil
	})
	p.stop()
}

// load uploads images that differ, each with a key.
type load struct {
	photo photo

	mu    sync.Mutex
	sent  int
	acked map[string]bool // the ids
}

// body is the photograph with some bytes behind its end, so that each is another image.
func (l *load) body(key int) []byte {
	return fmt.Appendf(bytes.Clone(l.photo.body), "%016d", key)
}

// run uploads until the process is gone. The function that it returns waits for that.
func (l *load) run(p *process) (wait func()) {
	var wg sync.WaitGroup
	for range uploaders {
		wg.Go(func() {
			for {
				l.mu.Lock()
				key := l.sent
				l.sent++
				l.mu.Unlock()
				a, err := p.upload(l.body(key), fmt.Sprint(key))
				if err != nil {
					return
				}
				if a.status == http.StatusCreated {
					l.mu.Lock()
					l.acked[a.ID] = true
					l.mu.Unlock()
				}
			}
		})
	}
	return wg.Wait
}

func TestASecondUpOnTheSameDataIsRefusedInOneLine(t *testing.T) {
	data := t.TempDir()
	p := up(t, data)
	listen := strings.TrimPrefix(p.ingest, "http://")
	for name, args := range map[string][]string{
		"same data":         {"up", "--data", data, "--ingest-listen", "127.0.0.1:0", "--stats-listen", "127.0.0.1:0"},
		"taken port":        {"up", "--data", t.TempDir(), "--ingest-listen", listen, "--stats-listen", "127.0.0.1:0"},
		"unwritable folder": {"up", "--data", "/proc/no-such-folder"},
		"unknown flag":      {"up", "--no-such-flag"},
		"bad value":         {"up", "--max-bytes", "many"},
	} {
		out, err := command(t, args...).CombinedOutput()
		last := strings.TrimSpace(string(out))
		last = last[strings.LastIndex(last, "\n")+1:]
		if err == nil || !strings.HasPrefix(last, "darkroom: ") || strings.Contains(string(out), "goroutine ") {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		t.Logf("%s: %s", name, last)
	}
	p.stop()
}
