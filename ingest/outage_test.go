package ingest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"darkroom/internal/event"
	"darkroom/internal/local"
	"darkroom/internal/locked"
)

// broker is a broker that can go away and come back.
type broker struct {
	t    *testing.T
	opts local.KafkaOptions
	now  *local.Kafka
}

// withBroker gives the rig a broker of its own.
func (r *rig) withBroker(t *testing.T) *broker {
	b := &broker{t: t, opts: local.KafkaOptions{Dir: t.TempDir(), Topics: map[string]int32{event.TopicImages: 2}}}
	b.start()
	r.cfg.Brokers = []string{b.now.Addr()}
	_, err := fmt.Sscanf(b.now.Addr(), "127.0.0.1:%d", &b.opts.Port)
	must(t, err)
	t.Cleanup(b.stop)
	return b
}

func (b *broker) start() {
	b.t.Helper()
	var err error
	b.now, err = local.StartKafka(b.opts)
	must(b.t, err)
}

func (b *broker) stop() { must(b.t, b.now.Close()) }

type readiness struct {
	Status   string
	NotReady []string `json:"not_ready"`
	Degraded []string
	Checks   map[string]string
}

func TestWithoutKafkaUploadsGoOnAndArePublishedLater(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	b := r.withBroker(t)
	s := r.start()
	s.post(photo(0)).upload(t)
	s.settled()
	b.stop()
	first := s.post(photo(1))
	if n := s.metric("darkroom_ingest_kafka_up"); n != 0 { // so that the next uploads do not wait as this one did
		t.Errorf("after an upload that waited in vain kafka_up is %v", n)
	}
	want := map[string]bool{}
	for i := 1; i <= 20; i++ {
		want[s.post(photo(i)).upload(t).ID] = true
	}
	if a := s.send("DELETE", "/v1/images/"+first.upload(t).ID, nil); a.status != 202 {
		t.Errorf("DELETE: %s", a)
	}
	ready := s.get("/readyz")
	if got := decode[readiness](t, ready); ready.status != 200 || got.Status != "ready" ||
		!slices.Equal(got.Degraded, []string{"kafka"}) || got.Checks["s3"] != "ok" || got.Checks["kafka"] == "ok" {
		t.Errorf("/readyz: %s", ready)
	}
	eventually(t, func() error {
		if n := s.metric("darkroom_ingest_journal_entries"); n != 21 {
			return fmt.Errorf("%v entries wait", n)
		}
		return nil
	})
	if n := s.metric("darkroom_ingest_journal_oldest_seconds"); n <= 0 || n > 60 {
		t.Errorf("the oldest entry is %v s old", n)
	}
	b.start()
	s.settled() // long before SweepAfter
	eventually(t, func() error {
		up, entries := s.metric("darkroom_ingest_kafka_up"), s.metric("darkroom_ingest_journal_entries")
		if up != 1 || entries != 0 {
			return fmt.Errorf("kafka_up is %v, and %v entries wait", up, entries)
		}
		return nil
	})
	wantEvents(t, s, want, first.upload(t).ID)
}

// wantEvents wants one upload of each image beside the first, and one deletion.
func wantEvents(t *testing.T, s *server, want map[string]bool, deleted string) {
	t.Helper()
	ids := s.eventIDs()
	uploads, deletions := 0, 0
	for id := range ids {
		switch image, rest, _ := strings.Cut(id, "."); {
		case strings.HasPrefix(rest, "deleted.") && image == deleted:
			deletions++
		case want[image]:
			uploads++
		}
	}
	if uploads != len(want) || deletions != 1 || len(ids) != len(want)+2 {
		t.Errorf("%d uploads and %d deletions among %v", uploads, deletions, ids)
	}
}

func TestWhatAProcessLeftWithoutKafkaIsPublishedByTheNext(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	b := r.withBroker(t)
	b.stop()
	s := r.start()
	eventually(t, func() error { // it knows before the first upload
		if n := s.metric("darkroom_ingest_kafka_up"); n != 0 {
			return fmt.Errorf("kafka_up is %v", n)
		}
		return nil
	})
	img := s.post(photo(1)).upload(t)
	s.stop()
	s = r.start() // Kafka is still away
	if a := s.post(photo(1)); a.upload(t) != img || !a.replayed() {
		t.Errorf("again: %s", a)
	}
	eventually(t, func() error {
		if ids := s.keys("_records/", "default/"); len(ids) != 1 || !strings.HasPrefix(ids[0], "_journal/") {
			return fmt.Errorf("in the bucket: %v", ids)
		}
		return nil
	})
	b.start()
	s.settled()
	if ids := s.eventIDs(); len(ids) != 1 {
		t.Errorf("published %v", ids)
	}
}

// TestTheReturnOfKafkaIsNoticedWithoutAnUpload has nothing under way whose acknowledgement would show it.
func TestTheReturnOfKafkaIsNoticedWithoutAnUpload(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	b := r.withBroker(t)
	b.stop()
	s := r.start()
	eventually(t, func() error {
		if n := s.metric("darkroom_ingest_kafka_up"); n != 0 {
			return fmt.Errorf("kafka_up is %v", n)
		}
		return nil
	})
	img := s.post(photo(1)).upload(t)
	b.start()
	s.settled()
	if events := s.published(); len(events) != 1 || events[0].Image.ImageID != img.ID {
		t.Errorf("published %v", events)
	}
}

func TestWithoutS3NothingIsHalfKept(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.behindProxy(always(pass))
	s := r.start()
	there := s.post(photo(0)).upload(t)
	s.settled()
	p.become(refuse)
	unavailable := func(name string, a answer) {
		t.Helper()
		if a.status != 503 || a.header.Get("Retry-After") == "" || a.problem() != "storage-unavailable" {
			t.Errorf("%s: %s %v", name, a, a.header)
		}
	}
	unavailable("raw", s.post(photo(1)))
	unavailable("in chunks", s.send("POST", "/v1/images", onlyReader{bytes.NewReader(photo(2))}))
	unavailable("with a key", s.post(photo(3), "Idempotency-Key", "k"))
	unavailable("form", s.post(form(part{file: true, name: "a", data: photo(4)}), formType...))
	unavailable("large", s.post(big(5, 8<<20)))
	unavailable("GET", s.get("/v1/images/"+there.ID))
	unavailable("GET content", s.get("/v1/images/"+there.ID+"/content"))
	unavailable("DELETE", s.send("DELETE", "/v1/images/"+there.ID, nil))
	a := s.get("/readyz")
	got := decode[readiness](t, a)
	if a.status != 503 || got.Status != "not ready" || !slices.Equal(got.NotReady, []string{"s3"}) {
		t.Errorf("/readyz: %s", a)
	}
	if a := s.get("/healthz"); a.status != 200 {
		t.Errorf("/healthz: %s", a)
	}
	p.become(pass)
	s.settled()
	if records := s.keys("_journal/", "_incoming/", "default/"); len(records) != 1 {
		t.Errorf("records: %v", records)
	}
	if a := s.post(photo(3), "Idempotency-Key", "k"); a.status != 201 || a.replayed() {
		t.Errorf("with the key again: %s", a)
	}
	s.settled()
	if ids := s.eventIDs(); len(ids) != 2 {
		t.Errorf("published %v", ids)
	}
}

func TestS3ThatHangsHoldsNoUploadForEver(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.cfg.StallAfter = 300 * time.Millisecond
	r.behindProxy(func(_ int, r *http.Request) fault {
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/_incoming/") {
			return hang
		}
		return pass
	})
	s := r.start()
	begun := time.Now()
	if a := s.post(big(1, 16<<20)); a.problem() != "storage-unavailable" || time.Since(begun) > 10*time.Second {
		t.Errorf("%s after %v", a, time.Since(begun))
	}
}

func TestS3ThatStallsHoldsNoDownloadForEver(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.cfg.StallAfter = 300 * time.Millisecond
	p := r.behindProxy(always(pass))
	var log locked.Buffer
	r.log = slog.New(slog.NewTextHandler(&log, nil))
	s := r.start()
	content := s.url + "/v1/images/" + s.post(big(1, 100_000)).upload(t).ID + "/content"
	s.settled()
	p.mu.Lock()
	p.rule = func(_ int, r *http.Request) fault {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/default/") {
			return stall
		}
		return pass
	}
	p.mu.Unlock()
	client := &http.Client{Timeout: 5 * time.Second}
	res, err := client.Get(content)
	must(t, err)
	defer res.Body.Close()
	n, err := io.Copy(io.Discard, res.Body)
	var late net.Error
	if err == nil || errors.As(err, &late) && late.Timeout() || n == 0 || n > 50_000 {
		t.Errorf("%d bytes, %v", n, err)
	}
	if !strings.Contains(log.String(), "content was cut") {
		t.Errorf("the log says nothing: %s", log.String())
	}
}

func TestReadiness(t *testing.T) {
	r := newRig(t)
	r.tables = &tables{}
	s := r.start()
	a := s.get("/readyz")
	got := decode[readiness](t, a)
	if a.status != 200 || got.Status != "ready" || len(got.Degraded) != 0 || len(got.Checks) != 3 {
		t.Errorf("/readyz: %s", a)
	}
	r.tables.(*tables).err = context.DeadlineExceeded
	a = s.get("/readyz")
	if got := decode[readiness](t, a); a.status != 200 || !slices.Equal(got.Degraded, []string{"table"}) {
		t.Errorf("/readyz: %s", a)
	}
}
