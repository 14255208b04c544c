package ingest_test

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestOfManyUploadsOfOneImageOneWins sends the same upload many times at once to two instances.
func TestOfManyUploadsOfOneImageOneWins(t *testing.T) {
	for _, c := range []struct {
		name    string
		headers []string
		body    func(n int) []byte
	}{
		{"no key", nil, func(int) []byte { return photo(1) }},
		{"a key", []string{"Idempotency-Key", "k"}, func(int) []byte { return photo(1) }},
		{"a key and different bytes", []string{"Idempotency-Key", "k"}, photo},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			servers := []*server{r.start(), r.start()}
			for _, s := range servers { // the sweeps at their start are over
				eventually(t, func() error {
					if s.metric("darkroom_ingest_journal_entries") != 0 {
						return fmt.Errorf("no sweep yet")
					}
					return nil
				})
			}
			answers := make([]answer, 16)
			var wg sync.WaitGroup
			for i := range answers {
				wg.Go(func() { answers[i] = servers[i%2].post(c.body(i), c.headers...) })
			}
			wg.Wait()
			created, ids := 0, map[string]bool{}
			for _, a := range answers {
				switch {
				case a.status == 201 && !a.replayed():
					created++
					ids[a.upload(t).ID] = true
				case a.status == 201:
					ids[a.upload(t).ID] = true
				case a.problem() == "upload-in-progress" && c.headers != nil && a.header.Get("Retry-After") != "":
				case a.problem() == "idempotency-mismatch" && c.name == "a key and different bytes":
				default:
					t.Errorf("%s", a)
				}
			}
			r.settled()
			if blobs := r.keys("_"); created != 1 || len(ids) != 1 || len(blobs) != 1 {
				t.Errorf("%d were created, with the ids %v and the blobs %v", created, ids, blobs)
			}
			if events := r.published(); len(events) != 1 {
				t.Errorf("%d events were published", len(events))
			}
		})
	}
}

func TestDeletionsAtOnceAreOne(t *testing.T) {
	r := newRig(t)
	servers := []*server{r.start(), r.start()}
	img := servers[0].post(photo(1)).upload(t)
	bodies := make([]string, 16)
	var wg sync.WaitGroup
	for i := range bodies {
		wg.Go(func() {
			a := servers[i%2].send("DELETE", "/v1/images/"+img.ID, nil)
			bodies[i] = a.String()
		})
	}
	wg.Wait()
	for _, b := range bodies {
		if b != bodies[0] || !strings.HasPrefix(b, "status 202") {
			t.Errorf("%s, and %s", bodies[0], b)
		}
	}
	r.settled()
	if ids := r.eventIDs(); len(ids) != 2 {
		t.Errorf("published %v", ids)
	}
}

// slowly sends an upload whose body ends when release is closed.
func (s *server) slowly(body []byte, release <-chan struct{}, headers ...string) <-chan answer {
	r, w := io.Pipe()
	go func() {
		_, err := w.Write(body[:len(body)/2])
		<-release
		if err == nil {
			_, err = w.Write(body[len(body)/2:])
		}
		w.CloseWithError(err)
	}()
	done := make(chan answer, 1)
	go func() { done <- s.send(http.MethodPost, "/v1/images", r, headers...) }()
	return done
}

func (r *rig) leased() error {
	for _, k := range r.keys() {
		if strings.HasPrefix(k, "_leases/") {
			return nil
		}
	}
	return fmt.Errorf("nobody has a lease")
}

func TestAKeyIsTakenWhileItsUploadRuns(t *testing.T) {
	r := newRig(t)
	r.cfg.LeaseFor = 200 * time.Millisecond
	one, two := r.start(), r.start()
	release := make(chan struct{})
	key := []string{"Idempotency-Key", "k"}
	running := one.slowly(photo(1), release, key...)
	eventually(t, r.leased)
	for end := time.Now().Add(4 * r.cfg.LeaseFor); time.Now().Before(end); { // it is refreshed
		for _, s := range []*server{one, two} {
			a := s.post(photo(1), key...)
			if n, err := strconv.Atoi(a.header.Get("Retry-After")); a.problem() != "upload-in-progress" || err != nil || n < 1 {
				t.Fatalf("while the first is running: %s %v", a, a.header)
			}
		}
		if a := two.post(photo(1), "Idempotency-Key", "other"); a.status != 201 {
			t.Fatalf("another key: %s", a)
		}
	}
	close(release)
	first := <-running
	if first.status != 201 || first.replayed() {
		t.Fatalf("the first: %s", first)
	}
	if a := two.post(photo(1), key...); a.upload(t) != first.upload(t) || !a.replayed() {
		t.Errorf("after it: %s", a)
	}
	r.settled()
}

func TestTheLeaseOfTheDeadIsTakenOver(t *testing.T) {
	r := newRig(t)
	r.cfg.LeaseFor = 300 * time.Millisecond
	s := r.start()
	key := []string{"Idempotency-Key", "k"}
	release := make(chan struct{})
	running := s.slowly(photo(1), release, key...)
	eventually(t, r.leased)
	lease := r.keys()[0]
	close(release)
	(<-running).upload(t)
	r.settled()
	must(t, r.blobs.Delete(t.Context(), r.keys()...)) // as if the upload had never been
	until := time.Now().Add(r.cfg.LeaseFor).UTC().Format(time.RFC3339Nano)
	r.putObject(lease, fmt.Appendf(nil, `{"owner":"dead","until":%q}`, until))
	if a := s.post(photo(1), key...); a.problem() != "upload-in-progress" {
		t.Errorf("before the lease ran out: %s", a)
	}
	eventually(t, func() error {
		if a := s.post(photo(1), key...); a.status != 201 {
			return fmt.Errorf("after it ran out: %s", a)
		}
		return nil
	})
	for _, broken := range []string{"", "nonsense", "{}"} {
		must(t, r.blobs.Delete(t.Context(), r.keys()...))
		r.putObject(lease, []byte(broken))
		if a := s.post(photo(1), key...); a.status != 201 {
			t.Errorf("with the lease %q: %s", broken, a)
		}
	}
}
