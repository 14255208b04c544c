package ingest_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"darkroom/internal/event"
)

// How many requests to S3 each makes.
const (
	uploadSteps   = 5
	keyedSteps    = 9
	deletionSteps = 4
)

// crashes are the ways in which the nth request to S3 can be the last that a process makes, or a bad one.
var crashes = map[string]func(at int) func(n int, r *http.Request) fault{
	"dies before": func(at int) func(int, *http.Request) fault {
		return func(n int, _ *http.Request) fault {
			if n >= at {
				return refuse
			}
			return pass
		}
	},
	"dies after": func(at int) func(int, *http.Request) fault {
		return func(n int, _ *http.Request) fault {
			switch {
			case n == at:
				return lose
			case n > at:
				return refuse
			}
			return pass
		}
	},
	"loses one answer": func(at int) func(int, *http.Request) fault {
		return func(n int, _ *http.Request) fault {
			if n == at {
				return lose
			}
			return pass
		}
	},
}

// eachCrash runs a test for every way to crash at every step.
func eachCrash(t *testing.T, steps int, test func(t *testing.T, rule func(int, *http.Request) fault)) {
	for name, crash := range crashes {
		for at := range steps {
			t.Run(fmt.Sprintf("%s %d", name, at), func(t *testing.T) {
				t.Parallel()
				test(t, crash(at))
			})
		}
	}
}

// crashRig is a rig whose services soon take a lease's owner for dead.
func crashRig(t *testing.T) *rig {
	r := newRig(t)
	r.cfg.LeaseFor = 300 * time.Millisecond
	return r
}

// TestACrashedUploadIsWholeOrNotThere crashes an upload at each of its steps, starts another process, and looks at what
// is left; then the client repeats its upload.
func TestACrashedUploadIsWholeOrNotThere(t *testing.T) {
	for name, c := range map[string]struct {
		steps   int
		headers []string
	}{
		"no key": {uploadSteps, nil},
		"key":    {keyedSteps, []string{"Idempotency-Key", "k"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachCrash(t, c.steps, func(t *testing.T, rule func(int, *http.Request) fault) {
				crashUpload(t, rule, c.headers)
			})
		})
	}
}

func crashUpload(t *testing.T, rule func(int, *http.Request) fault, headers []string) {
	r := crashRig(t)
	straight := r.store
	r.behindProxy(rule)
	svc, _ := r.service()
	t.Cleanup(func() { must(t, svc.Close()) })
	a := r.serve(svc.Handler()).post(photo(1), headers...)
	if a.status != 201 && (a.problem() != "storage-unavailable" || a.header.Get("Retry-After") == "") {
		t.Fatalf("the crashing upload: %s", a)
	}

	r.store = straight
	s := r.start()
	wantConsistent(t, s, a.status == 201)
	var again answer
	eventually(t, func() error { // the dead one's lease runs out
		if again = s.post(photo(1), headers...); again.status == 409 {
			return fmt.Errorf("uploaded again: %s", again)
		}
		return nil
	})
	got := again.upload(t)
	if a.status == 201 && (a.upload(t) != got || !again.replayed()) {
		t.Errorf("answered %s, then %s", a, again)
	}
	wantConsistent(t, s, true)
	if c := s.get("/v1/images/" + got.ID + "/content"); c.status != 200 || string(c.body) != string(photo(1)) {
		t.Errorf("the content: %s", c)
	}
}

// wantConsistent waits until the sweeper has nothing left to do, and wants the image to be there whole, or not at all,
// with exactly one event if it is there. A body that belongs to nothing may stay for a day.
func wantConsistent(t *testing.T, s *server, there bool) {
	t.Helper()
	eventually(t, func() error {
		if left := s.keys("_records/", "_leases/", "_incoming/", "default/"); len(left) > 0 {
			return fmt.Errorf("left over: %v", left)
		}
		return nil
	})
	records := len(s.keys("_journal/", "_incoming/", "_leases/", "default/"))
	blobs, events := len(s.keys("_")), len(s.eventIDs())
	if records != blobs || blobs != events || events > 1 {
		t.Fatalf("%d records, %d blobs, %d events", records, blobs, events)
	}
	if there && events != 1 {
		t.Fatal("an acknowledged upload is lost")
	}
}

func TestACrashedDeletionHappenedOrNot(t *testing.T) {
	eachCrash(t, deletionSteps, func(t *testing.T, rule func(int, *http.Request) fault) {
		r := crashRig(t)
		straight := r.store
		s := r.start()
		img := s.post(photo(1)).upload(t)
		s.settled()
		s.stop()
		r.behindProxy(rule)
		svc, _ := r.service()
		t.Cleanup(func() { must(t, svc.Close()) })
		a := r.serve(svc.Handler()).send("DELETE", "/v1/images/"+img.ID, nil)
		if a.status != 202 && a.problem() != "storage-unavailable" {
			t.Fatalf("the crashing deletion: %s", a)
		}

		r.store = straight
		s = r.start()
		s.settled()
		status := s.get("/v1/images/" + img.ID).status
		kinds := map[string]int{}
		for id := range s.eventIDs() {
			kinds[id[33:40]]++
		}
		if deleted := kinds["deleted"] == 1; kinds["uploade"] != 1 || deleted != (status == 410) || !deleted && status != 200 {
			t.Fatalf("published %v, and GET has the status %d", s.eventIDs(), status)
		}
		if a.status == 202 && status != 410 {
			t.Fatal("an acknowledged deletion is lost")
		}
	})
}

// journal puts an entry into the journal, in the form in which it is stored.
func (r *rig) journal(e event.Event, incoming string) {
	r.t.Helper()
	_, value, err := e.Encode()
	must(r.t, err)
	text := fmt.Sprintf(`{"event":%s}`, value)
	if incoming != "" {
		text = fmt.Sprintf(`{"event":%s,"incoming":%q}`, value, incoming)
	}
	r.putObject("_journal/"+e.ID, []byte(text))
}
