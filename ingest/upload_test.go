package ingest_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"darkroom/internal/event"
)

func TestAnUploadIsStoredAndPublished(t *testing.T) {
	s := newRig(t).start()
	body := photo(1)
	before := time.Now().Truncate(time.Microsecond)
	a := s.post(body, "Content-Type", "image/jpeg", "Content-Disposition", `attachment; filename="sunset.jpg"`)
	got := a.upload(t)
	sum := sha256.Sum256(body)
	if got.SHA256 != hex.EncodeToString(sum[:]) || got.Bytes != int64(len(body)) || got.State != "stored" ||
		got.UploadedAt.Before(before) || got.UploadedAt.After(time.Now()) {
		t.Errorf("answered %s", a)
	}
	if a.header.Get("Location") != "/v1/images/"+got.ID || a.replayed() {
		t.Errorf("headers %v", a.header)
	}
	s.settled()
	events := s.published()
	want := event.Image{
		ImageID: got.ID, Tenant: "default", SHA256: got.SHA256, Bytes: got.Bytes,
		MediaType: "image/jpeg", Filename: "sunset.jpg", UploadedAt: got.UploadedAt,
	}
	if len(events) != 1 || events[0] != event.NewUploaded(want) {
		t.Errorf("published %+v, want the upload of %+v", events, want)
	}
	data, _, err := s.blobs.Get(t.Context(), "default/"+got.SHA256)
	if err != nil || !bytes.Equal(data, body) {
		t.Errorf("the blob has %d bytes, %v", len(data), err)
	}
}

func TestBytesAreTheKeyWhereNoneIsGiven(t *testing.T) {
	s := newRig(t).start()
	first := s.post(photo(1)).upload(t)
	again := s.post(photo(1), "Content-Type", "application/octet-stream")
	if again.upload(t) != first || !again.replayed() {
		t.Errorf("again: %s, %v", again, again.header)
	}
	other := s.post(photo(2)).upload(t)
	if other.ID == first.ID {
		t.Error("two images have one id")
	}
	s.settled()
	if ids := s.eventIDs(); len(ids) != 2 {
		t.Errorf("published %v", ids)
	}
	if n := s.metric(`darkroom_ingest_uploads_total{result="created"}`); n != 2 {
		t.Errorf("%v uploads were created", n)
	}
	if n := s.metric(`darkroom_ingest_uploads_total{result="replayed"}`); n != 1 {
		t.Errorf("%v uploads were replayed", n)
	}
	if n := s.metric(`darkroom_ingest_stored_bytes_total`); n != float64(first.Bytes+other.Bytes) {
		t.Errorf("%v bytes were stored", n)
	}
}

func TestAnIdempotencyKeyMakesOneImage(t *testing.T) {
	s := newRig(t).start()
	key := "holiday/1,%2F;\"x\""
	first := s.post(photo(1), "Idempotency-Key", key).upload(t)
	again := s.post(photo(1), "Idempotency-Key", key)
	if again.upload(t) != first || !again.replayed() {
		t.Errorf("again: %s, %v", again, again.header)
	}
	if a := s.post(photo(2), "Idempotency-Key", key); a.status != 422 || a.problem() != "idempotency-mismatch" {
		t.Errorf("other bytes: %s", a)
	}
	twin := s.post(photo(1), "Idempotency-Key", "holiday/2")
	if twin.upload(t).ID == first.ID || twin.replayed() {
		t.Errorf("another key: %s", twin)
	}
	if keyless := s.post(photo(1)); keyless.upload(t).ID == first.ID || keyless.replayed() {
		t.Errorf("no key: %s", keyless)
	}
	s.settled()
	if blobs := s.keys("_"); len(blobs) != 1 {
		t.Errorf("the same bytes are at %v", blobs)
	}
	if events := s.published(); len(events) != 3 {
		t.Errorf("published %d events for 3 images", len(events))
	}
}

func TestNothingIsSharedBetweenTenants(t *testing.T) {
	s := newRig(t).start()
	mine := s.post(photo(1)).upload(t)
	theirs := s.post(photo(1), "Darkroom-Tenant", "other")
	if theirs.replayed() || theirs.upload(t).ID == mine.ID {
		t.Errorf("another tenant's upload: %s", theirs)
	}
	keyed := s.post(photo(2), "Idempotency-Key", "k").upload(t)
	if a := s.post(photo(3), "Idempotency-Key", "k", "Darkroom-Tenant", "other"); a.upload(t).ID == keyed.ID {
		t.Errorf("another tenant's key: %s", a)
	}
	for _, path := range []string{"/v1/images/" + mine.ID, "/v1/images/" + mine.ID + "/content"} {
		if a := s.get(path, "Darkroom-Tenant", "other"); a.status != 404 || a.problem() != "not-found" {
			t.Errorf("another tenant's GET %s: %s", path, a)
		}
	}
	if a := s.send("DELETE", "/v1/images/"+mine.ID, nil, "Darkroom-Tenant", "other"); a.status != 404 {
		t.Errorf("another tenant's DELETE: %s", a)
	}
	if a := s.get("/v1/images/"+mine.ID, "Darkroom-Tenant", "default"); a.status != 200 {
		t.Errorf("the owner's GET: %s", a)
	}
	if blobs := s.keys("_"); len(blobs) != 4 {
		t.Errorf("blobs: %v", blobs)
	}
}

func TestBadUploadsAreRefusedAndLeaveNothing(t *testing.T) {
	r := newRig(t)
	r.cfg.MaxBytes = 10_000
	s := r.start()
	png := []byte("\x89PNG\r\n\x1a\n0000000000000")
	long := make([]byte, 256)
	for i := range long {
		long[i] = 'k'
	}
	for _, c := range []struct {
		name    string
		body    []byte
		status  int
		slug    string
		headers []string
	}{
		{"empty", nil, 400, "empty-body", nil},
		{"empty with a type", nil, 400, "empty-body", []string{"Content-Type", "image/jpeg"}},
		{"text", []byte("hello, this is no image"), 415, "not-an-image", nil},
		{"text that says it is a JPEG", []byte("hello"), 415, "not-an-image", []string{"Content-Type", "image/jpeg"}},
		{"HTML", []byte("<html><script>"), 415, "not-an-image", []string{"Content-Type", "text/html"}},
		{"one byte", []byte{0xff}, 415, "not-an-image", nil},
		{"PNG as JPEG", png, 415, "media-type-mismatch", []string{"Content-Type", "image/jpeg"}},
		{"PNG as text", png, 415, "media-type-mismatch", []string{"Content-Type", "text/plain; charset=utf-8"}},
		{"PNG as an unknown image", png, 415, "media-type-mismatch", []string{"Content-Type", "image/x-nothing"}},
		{"too large", big(1, 10_001), 413, "too-large", nil},
		{"no tenant's name", photo(1), 400, "invalid-tenant", []string{"Darkroom-Tenant", "../other"}},
		{"empty tenant", photo(1), 400, "invalid-tenant", []string{"Darkroom-Tenant", ""}},
		{"underscore tenant", photo(1), 400, "invalid-tenant", []string{"Darkroom-Tenant", "_journal"}},
		{"empty key", photo(1), 400, "invalid-parameter", []string{"Idempotency-Key", ""}},
		{"key with a space", photo(1), 400, "invalid-parameter", []string{"Idempotency-Key", "a b"}},
		{"long key", photo(1), 400, "invalid-parameter", []string{"Idempotency-Key", string(long)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := s.metric(fmt.Sprintf("darkroom_ingest_uploads_total{result=%q}", c.slug))
			if a := s.post(c.body, c.headers...); a.status != c.status || a.problem() != c.slug {
				t.Errorf("%s: want %d %s", a, c.status, c.slug)
			}
			if n := s.metric(fmt.Sprintf("darkroom_ingest_uploads_total{result=%q}", c.slug)); n != max(0, before)+1 {
				t.Errorf("%v such uploads counted after %v", n, before)
			}
			// The same upload in chunks, whose length nobody knows before the end.
			a := s.send("POST", "/v1/images", onlyReader{bytes.NewReader(c.body)}, c.headers...)
			if a.status != c.status || a.problem() != c.slug {
				t.Errorf("in chunks: %s: want %d %s", a, c.status, c.slug)
			}
		})
	}
	req, err := http.NewRequest(http.MethodPost, s.url+"/v1/images", bytes.NewReader(photo(1)))
	must(t, err)
	req.Header["Darkroom-Tenant"] = []string{"a", "b"}
	if a, err := s.do(req); err != nil || a.status != 400 || a.problem() != "invalid-parameter" {
		t.Errorf("two tenants: %s %v", a, err)
	}
	if keys := s.keys(); len(keys) > 0 {
		t.Errorf("kept: %v", keys)
	}
	if events := s.published(); len(events) > 0 {
		t.Errorf("published: %v", events)
	}
}

func TestTheGreatestImageIsTaken(t *testing.T) {
	r := newRig(t)
	r.cfg.MaxBytes = 10_000
	s := r.start()
	if a := s.post(big(1, 10_000)); a.status != 201 {
		t.Errorf("as large as allowed: %s", a)
	}
	a := s.send("POST", "/v1/images", onlyReader{bytes.NewReader(big(2, 10_000))})
	if a.status != 201 {
		t.Errorf("as large as allowed, in chunks: %s", a)
	}
	if a := s.post(form(part{file: true, name: "a.jpg", data: big(3, 10_000)}), formType...); a.status != 201 {
		t.Errorf("as large as allowed, in a form: %s", a)
	}
	if a := s.post(form(part{file: true, name: "a.jpg", data: big(3, 10_001)}), formType...); a.problem() != "too-large" {
		t.Errorf("larger, in a form: %s", a)
	}
	s.settled()
}

func TestDeclaredTypes(t *testing.T) {
	s := newRig(t).start()
	for i, mediaType := range []string{
		"image/jpeg", "IMAGE/JPEG", "image/jpg", "image/pjpeg", "application/octet-stream", "image/jpeg; q=1", "",
	} {
		if a := s.post(photo(i), "Content-Type", mediaType); a.status != 201 {
			t.Errorf("a JPEG as %q: %s", mediaType, a)
		}
	}
}

func TestDeletionAndReturn(t *testing.T) {
	s := newRig(t).start()
	for _, key := range [][]string{nil, {"Idempotency-Key", "k"}} {
		first := s.post(photo(1), key...).upload(t)
		path := "/v1/images/" + first.ID
		type deletion struct {
			ID, State string
			DeletedAt time.Time `json:"deleted_at"`
		}
		a := s.send("DELETE", path, nil)
		gone := decode[deletion](t, a)
		if a.status != 202 || gone.ID != first.ID || gone.State != "deleted" || !gone.DeletedAt.After(first.UploadedAt) {
			t.Fatalf("DELETE: %s", a)
		}
		if again := s.send("DELETE", path, nil); again.status != 202 || decode[deletion](t, again) != gone {
			t.Errorf("DELETE again: %s", again)
		}
		for _, p := range []string{path, path + "/content"} {
			if a := s.get(p); a.status != 410 || a.problem() != "image-deleted" {
				t.Errorf("GET %s: %s", p, a)
			}
		}
		if a := s.send("HEAD", path+"/content", nil); a.status != 410 {
			t.Errorf("HEAD: %s", a)
		}
		if key != nil {
			if a := s.post(photo(2), key...); a.problem() != "idempotency-mismatch" {
				t.Errorf("other bytes under the deleted image's key: %s", a)
			}
		}
		back := s.post(photo(1), key...)
		if b := back.upload(t); b.ID != first.ID || back.replayed() || !b.UploadedAt.After(gone.DeletedAt) {
			t.Errorf("uploaded again: %s", back)
		}
		if a := s.get(path + "/content"); a.status != 200 {
			t.Errorf("GET after the return: %s", a)
		}
	}
	s.settled()
	var kinds []string
	var last time.Time
	for _, e := range s.published() {
		if e.Image.ImageID == s.post(photo(1)).upload(t).ID {
			kinds = append(kinds, e.Type)
			if !e.Time.After(last) {
				t.Errorf("event %s is not later than the one before", e.ID)
			}
			last = e.Time
		}
	}
	want := []string{event.TypeUploaded, event.TypeDeleted, event.TypeUploaded}
	if fmt.Sprint(kinds) != fmt.Sprint(want) {
		t.Errorf("published %v, want %v", kinds, want)
	}
}

func TestUnknownImages(t *testing.T) {
	s := newRig(t).start()
	const unknown = "0123456789abcdef0123456789abcdef"
	for _, id := range []string{unknown, strings.ToUpper(unknown), "x", "..", "%2e%2e%2f"} {
		for _, c := range [][2]string{{"GET", ""}, {"GET", "/content"}, {"HEAD", "/content"}, {"DELETE", ""}} {
			a := s.send(c[0], "/v1/images/"+id+c[1], nil)
			if a.status != 404 || c[0] != "HEAD" && a.problem() != "not-found" {
				t.Errorf("%s %s: %s", c[0], id+c[1], a)
			}
		}
	}
	if a := s.send("PUT", "/v1/images", nil); a.status != 405 || a.problem() != "method-not-allowed" {
		t.Errorf("PUT: %s", a)
	}
}
