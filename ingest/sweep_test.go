package ingest_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"darkroom/internal/blob"
	"darkroom/internal/event"
)

func (r *rig) putObject(key string, data []byte) {
	r.t.Helper()
	_, err := r.blobs.Put(r.t.Context(), key, data, blob.PutOptions{})
	must(r.t, err)
}

const someID = "00112233445566778899aabbccddeeff"

// uploaded returns the event of an upload at a time.
func uploaded(body []byte, at time.Time) event.Event {
	sum := sha256.Sum256(body)
	return event.NewUploaded(event.Image{
		ImageID: someID, Tenant: "default", SHA256: hex.EncodeToString(sum[:]), Bytes: int64(len(body)),
		MediaType: "image/jpeg", UploadedAt: at,
	})
}

// record puts an image's record, in the form in which it is stored.
func (r *rig) record(img event.Image, deleted time.Time, events ...string) {
	r.t.Helper()
	gone := ""
	if !deleted.IsZero() {
		gone = fmt.Sprintf(`"deleted_at":%q,`, deleted.UTC().Format(time.RFC3339Nano))
	}
	r.putObject("_records/"+img.ImageID, fmt.Appendf(nil,
		`{"image":{"image_id":%q,"tenant":%q,"sha256":%q,"bytes":%d,"media_type":%q,"uploaded_at":%q},%s"events":["%s"]}`,
		img.ImageID, img.Tenant, img.SHA256, img.Bytes, img.MediaType, img.UploadedAt.Format(time.RFC3339Nano), gone,
		strings.Join(events, `","`)))
}

// TestTheSweeperFinishesWhatItFinds makes the states by hand, in which processes of any age may leave the bucket.
func TestTheSweeperFinishesWhatItFinds(t *testing.T) {
	body, other := photo(1), photo(2)
	at := time.Now().Add(-3 * time.Hour).UTC().Truncate(time.Microsecond)
	up := uploaded(body, at)
	del := event.NewDeleted(up.Image, at.Add(time.Minute))
	loser := uploaded(body, at.Add(time.Second))
	back := uploaded(body, at.Add(time.Hour))
	const incoming = "_incoming/AAAA"
	for _, c := range []struct {
		name   string
		make   func(r *rig)
		events []event.Event
		status int // of a GET
	}{
		{"complete, not in its place", func(r *rig) {
			r.putObject(incoming, body)
			r.journal(up, incoming)
		}, []event.Event{up}, 200},
		{"in its place, without a record", func(r *rig) {
			r.putObject(incoming, body)
			must(r.t, r.blobs.Promote(r.t.Context(), incoming, up.Image.BlobKey(), sha256.Sum256(body), "image/jpeg"))
			r.journal(up, incoming)
		}, []event.Event{up}, 200},
		{"recorded, not published", func(r *rig) {
			r.putObject(up.Image.BlobKey(), body)
			r.record(up.Image, time.Time{}, up.ID)
			r.journal(up, incoming)
		}, []event.Event{up}, 200},
		{"deletion, not recorded", func(r *rig) {
			r.putObject(up.Image.BlobKey(), body)
			r.record(up.Image, time.Time{}, up.ID)
			r.journal(del, "")
		}, []event.Event{del}, 410},
		{"upload and deletion, both not published", func(r *rig) {
			r.putObject(up.Image.BlobKey(), body)
			r.record(up.Image, del.Time, up.ID, del.ID)
			r.journal(del, "")
			r.journal(up, incoming)
		}, []event.Event{up, del}, 410},
		{"upload, deletion and return, none recorded", func(r *rig) {
			r.putObject(incoming, body)
			r.putObject("_incoming/BBBB", body)
			r.journal(back, "_incoming/BBBB")
			r.journal(up, incoming)
			r.journal(del, "")
		}, []event.Event{up, del, back}, 200},
		{"forestalled upload", func(r *rig) {
			r.putObject(up.Image.BlobKey(), body)
			r.putObject(incoming, body)
			r.record(up.Image, time.Time{}, up.ID)
			r.journal(loser, incoming)
		}, nil, 200},
		{"forestalled upload of other bytes", func(r *rig) {
			r.putObject(up.Image.BlobKey(), body)
			r.putObject(incoming, other)
			r.record(up.Image, time.Time{}, up.ID)
			r.journal(uploaded(other, at.Add(time.Second)), incoming)
		}, nil, 200},
		{"no bytes", func(r *rig) { r.journal(up, incoming) }, nil, 404},
		{"wrong bytes", func(r *rig) {
			r.putObject(incoming, other)
			r.journal(up, incoming)
		}, nil, 404},
		{"deletion of nothing", func(r *rig) { r.journal(del, "") }, nil, 404},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			c.make(r)
			s := r.start()
			s.settled()
			got := s.published()
			if !slices.Equal(got, c.events) {
				t.Errorf("published %v, want %v", got, c.events)
			}
			a := s.get("/v1/images/" + someID)
			if a.status != c.status {
				t.Errorf("GET: %s, want %d", a, c.status)
			}
			if content := s.get("/v1/images/" + someID + "/content"); a.status == 200 && !bytes.Equal(content.body, body) {
				t.Errorf("GET content: %s", content)
			}
		})
	}
}

// TestAnOldUploadIsPublishedAgainAfterManyChanges is about what a record no longer names: its list of events is bounded.
func TestAnOldUploadIsPublishedAgainAfterManyChanges(t *testing.T) {
	r := newRig(t)
	at := time.Now().Add(-time.Hour).UTC().Truncate(time.Microsecond)
	up := uploaded(photo(1), at)
	var named []string
	for i := range 32 {
		named = append(named, fmt.Sprintf("%s.deleted.%d", someID, at.Add(time.Duration(i+1)*time.Second).UnixMicro()))
	}
	r.putObject(up.Image.BlobKey(), photo(1))
	r.record(up.Image, at.Add(32*time.Second), named...)
	r.journal(up, "_incoming/AAAA")
	s := r.start()
	s.settled()
	if got := s.published(); len(got) != 1 || got[0] != up {
		t.Errorf("published %v", got)
	}
}

func TestWhatIsUnderWayIsLeftAlone(t *testing.T) {
	r := newRig(t)
	s := r.start()
	eventually(t, func() error { // the sweep at the start is over
		if s.metric("darkroom_ingest_journal_entries") != 0 {
			return fmt.Errorf("no sweep yet")
		}
		return nil
	})
	r.putObject("_incoming/AAAA", photo(1))
	r.journal(uploaded(photo(1), time.Now()), "_incoming/AAAA")
	eventually(t, func() error {
		if n := s.metric("darkroom_ingest_journal_entries"); n != 1 {
			return fmt.Errorf("%v entries wait", n)
		}
		return nil
	})
	if events := s.published(); len(events) > 0 {
		t.Errorf("a new entry was taken over: %v", events)
	}
	s.stop()

	r.cfg.SweepAfter = 2 * time.Second
	s = r.start()
	s.settled()
	if events := s.published(); len(events) != 1 {
		t.Errorf("published %v", events)
	}
	if n := s.metric(`darkroom_ingest_events_published_total{by="sweeper"}`); n != 1 {
		t.Errorf("the sweeper says that it published %v", n)
	}
}

func TestAStrangeEntryIsLeftForPeople(t *testing.T) {
	r := newRig(t)
	up := uploaded(photo(1), time.Now())
	_, value, err := up.Encode()
	must(t, err)
	strange := map[string][]byte{
		"_journal/nonsense":      []byte("nonsense"),
		"_journal/x.uploaded.1":  fmt.Appendf(nil, `{"event":%s,"incoming":"_incoming/A"}`, value), // of another id
		"_journal/" + up.ID:      fmt.Appendf(nil, `{"event":%s,"incoming":"default/x"}`, value),   // names no body
		"_journal/x.uploaded.2.": []byte(`{}`),
	}
	for key, data := range strange {
		r.putObject(key, data)
	}
	s := r.start()
	good := s.post(photo(2)).upload(t)
	eventually(t, func() error {
		if left := s.keys("_records/", "default/"); len(left) != len(strange) {
			return fmt.Errorf("left over: %v", left)
		}
		return nil
	})
	if ids := s.eventIDs(); len(ids) != 1 {
		t.Errorf("published %v, want the upload of %s", ids, good.ID)
	}
}

// age makes an object look as if it had been put long ago.
func (r *rig) age(key string, by time.Duration) {
	r.t.Helper()
	at := time.Now().Add(-by)
	must(r.t, os.Chtimes(filepath.Join(objects, r.store.Bucket, key), at, at))
}

func TestLeftoversAreRemoved(t *testing.T) {
	r := newRig(t)
	for key, old := range map[string]time.Duration{
		"_incoming/NEW": 0, "_incoming/OLD": 23 * time.Hour, "_incoming/TOOOLD": 25 * time.Hour,
		"_leases/" + someID: time.Minute, "_leases/f" + someID[1:]: 2 * time.Hour,
	} {
		r.putObject(key, []byte("{}"))
		r.age(key, old)
	}
	r.start()
	want := []string{"_incoming/NEW", "_incoming/OLD", "_leases/" + someID}
	eventually(t, func() error {
		if got := r.keys(); !slices.Equal(got, want) {
			return fmt.Errorf("there are %v, want %v", got, want)
		}
		return nil
	})
}

// TestPartsOfBodiesAreRemoved has the parts of a body of unknown length whose process came no further.
func TestPartsOfBodiesAreRemoved(t *testing.T) {
	r := newRig(t)
	body, client := io.Pipe()
	cut, ended := errors.New("cut"), make(chan error, 1)
	go func() { ended <- r.blobs.PutStream(context.Background(), "_incoming/CUT", body, -1) }()
	_, err := client.Write(make([]byte, 6<<20)) // more than a part
	must(t, err)
	parts := func(pattern string) []string {
		found, err := filepath.Glob(filepath.Join(objects, r.store.Bucket, ".sgwtmp/multipart", pattern))
		must(t, err)
		return found
	}
	eventually(t, func() error {
		if len(parts("*/*/1")) == 0 {
			return errors.New("the first part is not there")
		}
		return nil
	})
	at := time.Now().Add(-25 * time.Hour)
	must(t, os.Chtimes(parts("*/*")[0], at, at))
	r.start()
	eventually(t, func() error {
		if left := parts("*/*"); len(left) > 0 {
			return fmt.Errorf("left over: %v", left)
		}
		return nil
	})
	must(t, client.CloseWithError(cut))
	if err := <-ended; !errors.Is(err, cut) {
		t.Errorf("the upload ended with %v", err)
	}
}

// TestBodiesThatAnEntryNamesStay has more entries than are tried while Kafka is away, of uploads that are not in their
// place yet.
func TestBodiesThatAnEntryNamesStay(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	b := r.withBroker(t)
	b.stop()
	const n = 40
	for i := range n {
		up := uploaded(photo(i), time.Now())
		up.Image.ImageID = fmt.Sprintf("%032x", i)
		incoming := fmt.Sprintf("_incoming/B%d", i)
		r.putObject(incoming, photo(i))
		r.age(incoming, 48*time.Hour)
		r.journal(event.NewUploaded(up.Image), incoming)
	}
	const nameless = "_incoming/NAMELESS"
	r.putObject(nameless, photo(0))
	r.age(nameless, 48*time.Hour)
	s := r.start()
	eventually(t, func() error {
		if slices.Contains(r.keys(), nameless) {
			return fmt.Errorf("%s is there", nameless)
		}
		return nil
	})
	b.start()
	s.settled()
	if ids := s.eventIDs(); len(ids) != n {
		t.Errorf("%d of %d events were published", len(ids), n)
	}
}

func TestARecordThatCannotBeReadIsNoAbsence(t *testing.T) {
	r := newRig(t)
	s := r.start()
	img := s.post(photo(1)).upload(t)
	s.settled()
	r.putObject("_records/"+img.ID, []byte("nonsense"))
	for method, path := range map[string]string{"GET": "/v1/images/" + img.ID, "DELETE": "/v1/images/" + img.ID} {
		if a := s.send(method, path, nil); a.status != 500 || a.problem() != "internal" {
			t.Errorf("%s %s: %s", method, path, a)
		}
	}
	if a := s.post(photo(1)); a.status != 500 || a.problem() != "internal" {
		t.Errorf("the same upload: %s", a)
	}
	s.settled()
}

// TestAnEntryOfACorruptRecordHoldsUpNoOther has one image whose record cannot be read, and others that can be finished.
func TestAnEntryOfACorruptRecordHoldsUpNoOther(t *testing.T) {
	r := newRig(t)
	stuck := uploaded(photo(0), time.Now())
	r.putObject("_records/"+stuck.Image.ImageID, []byte("nonsense"))
	r.putObject("_incoming/STUCK", photo(0))
	r.journal(stuck, "_incoming/STUCK")
	const n = 20
	for i := range n {
		up := uploaded(photo(i+1), time.Now())
		up.Image.ImageID = fmt.Sprintf("f%031x", i)
		incoming := fmt.Sprintf("_incoming/B%d", i)
		r.putObject(incoming, photo(i+1))
		r.journal(event.NewUploaded(up.Image), incoming)
	}
	s := r.start()
	eventually(t, func() error {
		if ids := s.eventIDs(); len(ids) != n {
			return fmt.Errorf("%d of %d events were published", len(ids), n)
		}
		return nil
	})
	eventually(t, func() error {
		left := r.keys("_records/", "default/")
		if !slices.Equal(left, []string{"_incoming/STUCK", "_journal/" + stuck.ID}) {
			return fmt.Errorf("left over: %v", left)
		}
		return nil
	})
}
