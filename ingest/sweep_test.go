package ingest_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
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

func TestLeftoversAreRemoved(t *testing.T) {
	r := newRig(t)
	for i := range 3 {
		r.putObject(fmt.Sprintf("_incoming/OLD%d", i), photo(i))
	}
	r.putObject("_leases/"+someID, []byte(`{"owner":"x","until":"2020-01-01T00:00:00Z"}`))
	s := r.start()
	s.post(photo(9)).upload(t)
	s.stop() // Run has been through all that it does at its start
	if old := s.keys("_records/", "default/", "_leases/"); len(old) != 3 {
		t.Errorf("of the bodies that are not old there are %v", old)
	}
	r.cfg.LeftoverAfter = time.Nanosecond
	r.start()
	eventually(t, func() error {
		if old := r.keys("_records/", "default/", "_leases/"); len(old) != 0 {
			return fmt.Errorf("of the old bodies there are %v", old)
		}
		return nil
	})
}
