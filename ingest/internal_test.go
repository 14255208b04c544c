package ingest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"

	"darkroom/internal/event"
)

const (
	testID  = "00112233445566778899aabbccddeeff"
	testSHA = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func testImage(at int) event.Image {
	return event.Image{
		ImageID: testID, Tenant: "default", SHA256: testSHA, Bytes: 5, UploadedAt: epoch.Add(time.Duration(at) * time.Second),
	}
}

func testEvent(at int, deletion bool) event.Event {
	if deletion {
		return event.NewDeleted(testImage(0), epoch.Add(time.Duration(at)*time.Second))
	}
	return event.NewUploaded(testImage(at))
}

// TestARecordGrowsOnlyForward takes any events in any order, some of them again.
func TestARecordGrowsOnlyForward(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r record
		applied := map[string]bool{}
		for range rapid.IntRange(1, 30).Draw(t, "events") {
			e := testEvent(rapid.IntRange(0, 40).Draw(t, "at"), rapid.Bool().Draw(t, "deletion"))
			next, is := r.take(e)
			switch is {
			case happens:
				grew := next.at().After(r.at()) && next.at().Equal(e.Time) && !applied[e.ID]
				if !grew || next.deleted() != (e.Type == event.TypeDeleted) || next.stored() == r.stored() {
					t.Fatalf("%s made %+v of %+v", e.ID, next, r)
				}
				applied[e.ID] = true
			case happened:
				if !applied[e.ID] {
					t.Fatalf("%s is said to have happened to %+v", e.ID, r)
				}
			case superseded:
				if applied[e.ID] {
					t.Fatalf("%s happened and is said to be superseded in %+v", e.ID, r)
				}
			}
			if _, again := next.take(e); is == happens && again != happened || is != happens && again != is {
				t.Fatalf("%s: first %v, then %v", e.ID, is, again)
			}
			if later := next.next(epoch); !later.After(next.at()) {
				t.Fatalf("the next event would be at %v, after one at %v", later, next.at())
			}
			r = next
		}
	})
}

func TestARecordsListOfEventsIsBounded(t *testing.T) {
	var r record
	first := testEvent(0, false)
	for i := range 3 * maxEvents {
		var is verdict
		if r, is = r.take(testEvent(i, i%2 == 1)); is != happens {
			t.Fatalf("event %d: %v", i, is)
		}
	}
	if len(r.Events) != maxEvents {
		t.Errorf("the record names %d events", len(r.Events))
	}
	if _, is := r.take(first); is != happened {
		t.Errorf("the first event, which is not named any more: %v", is)
	}
}

func TestIDsDoNotCollideByTheirParts(t *testing.T) {
	seen := map[string][3]string{}
	for _, parts := range [][3]string{
		{"a", byKey, "b"}, {"a", byContent, "b"}, {"ab", byKey, ""}, {"a", byKey, "bc"}, {"ak", "ey", "b"}, {"", byKey, "ab"},
	} {
		id := imageID(parts[0], parts[1], parts[2])
		if !validID(id) {
			t.Errorf("%v: %q is no id", parts, id)
		}
		if other, there := seen[id]; there {
			t.Errorf("%v and %v have one id", parts, other)
		}
		seen[id] = parts
	}
	// Ids are for ever: a change here would make new images of old uploads.
	if id := imageID("default", byContent, testSHA); id != "77b1d26d5bc2f47571fa2741e456ccae" {
		t.Errorf("the id of a known image is %s", id)
	}
}

func FuzzForm(f *testing.F) {
	const boundary = "B"
	f.Add([]byte("--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nimage\r\n--B--\r\n"))
	f.Add([]byte("--B\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\ntext\r\n--B\r\n" +
		"Content-Disposition: form-data; name=\"file\"\r\nContent-Type: image/jpeg\r\n\r\n\xff\xd8\xff\r\n--B--"))
	f.Add([]byte("--B\r\n\r\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		const limit = 1000
		fm := newForm(bytes.NewReader(body), boundary)
		part, err := fm.file(limit)
		if err == nil {
			var data []byte
			if data, err = io.ReadAll(part); err == nil {
				if !bytes.Contains(body, data) && !bytes.Contains(bytes.ToLower(body), []byte("quoted-printable")) {
					t.Fatalf("%q is not in %q", data, body)
				}
				if err = fm.end(); err == nil && !bytes.Contains(body, []byte("--"+boundary+"--")) {
					t.Fatalf("%q is said to be complete", body)
				}
			}
			if part.label != label(part.label) {
				t.Fatalf("the label %q", part.label)
			}
		}
		var refused *refusal
		if err != nil && !errors.As(err, &refused) {
			t.Fatalf("%v is no refusal", err)
		}
	})
}

func FuzzLabel(f *testing.F) {
	long := strings.Repeat("ü ", 200)
	for _, s := range []string{"a.jpg", "../../etc/passwd", `C:\x`, "a\x00b\u202e", "\xff", long, ". ", "/..\u200b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		l := label(name)
		bad := strings.ContainsFunc(l, func(r rune) bool { return unicode.IsControl(r) || r == '/' || r == '\\' })
		if bad || !utf8.ValidString(l) || len(l) > maxLabel || l == "." || l == ".." || label(l) != l {
			t.Fatalf("%q has become %q", name, l)
		}
		kind, params, err := mime.ParseMediaType(contentDisposition(l))
		if err != nil || kind != "inline" || params["filename"] != l {
			t.Fatalf("%q is given as %s: %v", l, contentDisposition(l), err)
		}
	})
}

func FuzzDisposition(f *testing.F) {
	f.Add(`form-data; name="file"; filename="a.jpg"`)
	f.Add(`attachment; filename*=utf-8''%2e%2e%2fa`)
	f.Add(`inline; filename=a; filename*0="x"; filename*1="/y"`)
	f.Fuzz(func(t *testing.T, header string) {
		if _, file, isFile := dispositionOf(header); file != label(file) || file != "" && !isFile {
			t.Fatalf("%q gives the label %q", header, file)
		}
	})
}

func FuzzDecodeRecord(f *testing.F) {
	r, _ := record{}.take(testEvent(1, false))
	f.Add(seed(f, r.encode))
	r, _ = r.take(testEvent(2, true))
	f.Add(seed(f, r.encode))
	f.Add([]byte(`{"image":{"image_id":"` + testID + `"},"events":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := decodeRecord(testID, data)
		if err != nil {
			return
		}
		if !r.exists() || r.stored() == r.deleted() || r.Image.ImageID != testID {
			t.Fatalf("%q was read as %+v", data, r)
		}
		again, err := r.encode()
		if err != nil {
			return // a time that JSON does not know
		}
		if twice, err := decodeRecord(testID, again); err != nil || !sameJSON(t, r, twice) {
			t.Fatalf("%+v has become %+v, %v", r, twice, err)
		}
	})
}

func FuzzDecodeEntry(f *testing.F) {
	up, del := entry{Event: testEvent(1, false), Incoming: prefixIncoming + "A"}, entry{Event: testEvent(2, true)}
	f.Add(up.key(), seed(f, up.encode))
	f.Add(del.key(), seed(f, del.encode))
	f.Add("_journal/x", []byte(`{"event":{},"incoming":"default/x"}`))
	f.Fuzz(func(t *testing.T, key string, data []byte) {
		e, err := decodeEntry(key, data)
		if err != nil {
			return
		}
		if e.key() != key || imageOfKey(key) == "" || e.Incoming != "" && !strings.HasPrefix(e.Incoming, prefixIncoming) {
			t.Fatalf("%s was read as %+v", key, e)
		}
		again, err := e.encode()
		if err != nil {
			return
		}
		if twice, err := decodeEntry(key, again); err != nil || !sameJSON(t, e, twice) {
			t.Fatalf("%+v has become %+v, %v", e, twice, err)
		}
	})
}

func seed(f *testing.F, encode func() ([]byte, error)) []byte {
	f.Helper()
	data, err := encode()
	if err != nil {
		f.Fatal(err)
	}
	return data
}

func sameJSON(t *testing.T, a, b any) bool {
	t.Helper()
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

func FuzzParseRange(f *testing.F) {
	for _, s := range []string{"0-1", "-5", "5-", "-0", "0-1,2-3", "9223372036854775807-", "x"} {
		f.Add("bytes="+s, int64(10))
	}
	f.Fuzz(func(t *testing.T, header string, size int64) {
		if size <= 0 {
			return
		}
		part, whole, err := parseRange(header, size)
		if err == nil && (part.from < 0 || part.to > size || part.from >= part.to || whole && part != span{0, size}) {
			t.Fatalf("%q of %d bytes is %+v, %v", header, size, part, whole)
		}
	})
}

func FuzzETags(f *testing.F) {
	f.Add(`"a", W/"b"`, `"b"`)
	f.Fuzz(func(t *testing.T, list, etag string) {
		if matches(list, etag, false) && !matches(list, etag, true) {
			t.Fatalf("%q holds %q strongly, but not weakly", list, etag)
		}
	})
}
