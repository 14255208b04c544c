package event_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"darkroom/internal/event"
)

func image(t *rapid.T) event.Image {
	return event.Image{
		ImageID:    rapid.StringMatching(`[0-9a-f]{32}`).Draw(t, "id"),
		Tenant:     rapid.StringMatching(`[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?`).Draw(t, "tenant"),
		SHA256:     rapid.StringMatching(`[0-9a-f]{64}`).Draw(t, "sha256"),
		Bytes:      rapid.Int64Range(1, 1<<40).Draw(t, "bytes"),
		MediaType:  rapid.SampledFrom([]string{"", "image/jpeg"}).Draw(t, "media type"),
		Filename:   rapid.StringN(-1, -1, 1<<10).Draw(t, "filename"),
		UploadedAt: time.UnixMicro(rapid.Int64Range(0, 1<<52).Draw(t, "uploaded at")).UTC(),
	}
}

func TestAnEventComesBackAsItWas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := event.NewUploaded(image(t))
		if rapid.Bool().Draw(t, "deleted") {
			e = event.NewDeleted(e.Image, e.Image.UploadedAt.Add(time.Microsecond))
		}
		key, value, err := e.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := event.Decode(value)
		if err != nil {
			t.Fatal(err)
		}
		if got != e || string(key) != e.Image.ImageID {
			t.Fatalf("got %+v with key %s, want %+v", got, key, e)
		}
	})
}

func TestAnIDNamesOneEvent(t *testing.T) {
	i := event.Image{ImageID: "a", UploadedAt: time.UnixMicro(7)}
	up, again := event.NewUploaded(i), event.NewUploaded(i)
	if up.ID != again.ID {
		t.Errorf("the same upload has the ids %s and %s", up.ID, again.ID)
	}
	i.UploadedAt = i.UploadedAt.Add(time.Microsecond)
	for _, other := range []event.Event{event.NewUploaded(i), event.NewDeleted(i, time.UnixMicro(7))} {
		if other.ID == up.ID {
			t.Errorf("%s at %v has the id of another event, %s", other.Type, other.Time, up.ID)
		}
	}
}

func TestDecodeSaysWhatIsWrong(t *testing.T) {
	e := event.NewUploaded(event.Image{
		ImageID: "i", Tenant: "t", SHA256: strings.Repeat("a", 64), Bytes: 1, UploadedAt: time.UnixMicro(1),
	})
	_, good, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ old, new, want string }{
		{`{`, `[`, "decode event"},
		{`"specversion":"1.0"`, `"specversion":"0.3"`, `specversion is "0.3"`},
		{event.TypeUploaded, "other", `unknown type "other"`},
		{`"image_id":"i"`, `"image_id":""`, "no image_id"},
		{`"tenant":"t"`, `"tenant":"../etc"`, "no valid tenant"},
		{`"sha256":"a`, `"sha256":"A`, "no valid sha256"},
		{`"bytes":1`, `"bytes":0`, "bytes is not positive"},
		{`"bytes":1`, `"bytes":"many"`, "data"},
		{`"time":"1970`, `"time":"1969`, "no usable time"},
	} {
		value := strings.Replace(string(good), c.old, c.new, 1)
		if value == string(good) {
			t.Fatalf("%s is not in %s", c.old, good)
		}
		if _, err := event.Decode([]byte(value)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s for %s: error %v, want one with %q", c.new, c.old, err, c.want)
		}
	}
}

// TestWhatIsDecodedFitsARow has what a producer other than ours may write: a row takes 64 KiB, and what does not fit
// fails the pipeline for ever.
func TestWhatIsDecodedFitsARow(t *testing.T) {
	good := func() event.Event {
		return event.NewUploaded(event.Image{
			ImageID: "i", Tenant: "t", SHA256: strings.Repeat("a", 64), Bytes: 1, UploadedAt: time.UnixMicro(1),
		})
	}
	for name, field := range map[string]func(*event.Event) *string{
		"id":         func(e *event.Event) *string { return &e.ID },
		"image_id":   func(e *event.Event) *string { return &e.Image.ImageID },
		"filename":   func(e *event.Event) *string { return &e.Image.Filename },
		"media_type": func(e *event.Event) *string { return &e.Image.MediaType },
	} {
		for length, fits := range map[int]bool{1 << 10: true, 1<<10 + 1: false, 70_000: false} {
			e := good()
			*field(&e) = strings.Repeat("x", length)
			_, value, err := e.Encode()
			if err != nil {
				t.Fatal(err)
			}
			_, err = event.Decode(value)
			if fits && err != nil {
				t.Errorf("%s of %d bytes: %v", name, length, err)
			}
			want := fmt.Sprintf("%s has %d bytes, more than 1024", name, length)
			if !fits && (err == nil || !strings.Contains(err.Error(), want) || len(err.Error()) > 2000) {
				t.Errorf("%s of %d bytes: %.200v, want %s", name, length, err, want)
			}
		}
	}
}

func TestARejectionHoldsTheWholeRecord(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := event.Rejection{
			Stage: "analyze", Class: event.Permanent, Code: "malformed", Detail: rapid.String().Draw(t, "detail"),
			Attempts: 1, Software: "v1", Topic: event.TopicImages, Partition: 3,
			Offset: rapid.Int64Min(0).Draw(t, "offset"), Timestamp: time.UnixMilli(1).UTC(),
			Key: []byte("k"), Value: rapid.SliceOfN(rapid.Byte(), 1, 64).Draw(t, "value"),
			Replays: rapid.Int64Range(0, event.MaxReplays).Draw(t, "replays"), Truncated: rapid.Bool().Draw(t, "truncated"),
			ID: rapid.StringMatching("[0-9a-f]{32}").Draw(t, "id"),
		}
		_, value, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := event.DecodeRejection(value)
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(got) != fmt.Sprint(r) {
			t.Fatalf("got %+v, want %+v", got, r)
		}
	})
}

func TestALetterHasTheIDOfItsFirstRecordAndStage(t *testing.T) {
	id := func(r event.Rejection) string {
		t.Helper()
		_, value, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if r, err = event.DecodeRejection(value); err != nil {
			t.Fatal(err)
		}
		return r.ID
	}
	first := event.Rejection{Stage: "analyze", Topic: event.TopicImages, Offset: 1}
	repeat, other, replay := first, first, first
	repeat.Code, repeat.Attempts = "other", 2
	other.Stage = "decode"
	replay.ID, replay.Offset, replay.Replays = id(first), 7, 1
	if id(repeat) != id(first) || id(replay) != id(first) || id(other) == id(first) {
		t.Errorf("ids: %s, of a repeat %s, a replay %s, another stage %s", id(first), id(repeat), id(replay), id(other))
	}
}

func TestANoteComesBackAsItWas(t *testing.T) {
	want := event.Replayed{ID: strings.Repeat("0a", 16), Replays: 3}
	value, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := event.DecodeReplayed(value); err != nil || got != want {
		t.Fatalf("got %+v, %v", got, err)
	}
	if typ, err := event.TypeOf(value); err != nil || typ != event.TypeReplayed {
		t.Errorf("its type is %q, %v", typ, err)
	}
	if _, err := event.DecodeRejection(value); err == nil {
		t.Error("a note is read as a letter")
	}
	for _, c := range []struct{ old, new, want string }{
		{want.ID, "0A", "no id of a letter"},
		{`"replays":3`, `"replays":0`, "no possible number"},
		{`"replays":3`, `"replays":1001`, "no possible number"},
		{event.TypeReplayed, event.TypeRejected, "type is"},
	} {
		bad := strings.Replace(string(value), c.old, c.new, 1)
		if _, err := event.DecodeReplayed([]byte(bad)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", bad, err, c.want)
		}
	}
}

func TestParseReplay(t *testing.T) {
	id := strings.Repeat("0a", 16)
	for replay, want := range map[string]int64{
		"1": 1, "1000": 1000, "0": 0, "-1": 0, "1001": 0, "": 0, "1.5": 0, "99999999999999999999": 0,
	} {
		if n, err := event.ParseReplay(id, replay); n != want || (err == nil) != (want > 0) {
			t.Errorf("%q: %d, %v", replay, n, err)
		}
	}
	for _, letter := range []string{"", "0a", strings.Repeat("0A", 16), strings.Repeat("xy", 16)} {
		if n, err := event.ParseReplay(letter, "1"); n != 0 || err == nil {
			t.Errorf("letter %q: %d, %v", letter, n, err)
		}
	}
}

func TestValidTenant(t *testing.T) {
	for s, want := range map[string]bool{
		"default": true, "a": true, "a-1": true, strings.Repeat("a", 63): true,
		"": false, "_journal": false, "A": false, "-a": false, "a-": false, "a/b": false, "..": false, "a b": false,
		strings.Repeat("a", 64): false, "é": false,
	} {
		if event.ValidTenant(s) != want {
			t.Errorf("ValidTenant(%q) is %v", s, !want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	_, value, _ := event.NewUploaded(event.Image{
		ImageID: "i", Tenant: "t", SHA256: strings.Repeat("a", 64), Bytes: 1, UploadedAt: time.UnixMicro(1),
	}).Encode()
	f.Add(value)
	f.Add([]byte(`{"specversion":"1.0","type":"darkroom.image.deleted.v1","data":null}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		e, err := event.Decode(value)
		if err != nil {
			return
		}
		// What is accepted can be written again and stays the same.
		_, again, err := e.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := event.Decode(again); err != nil || got != e {
			t.Fatalf("%+v became %+v: %v", e, got, err)
		}
	})
}

func FuzzDecodeRejection(f *testing.F) {
	_, value, _ := event.Rejection{Stage: "decode", Topic: event.TopicImages}.Encode()
	f.Add(value)
	f.Fuzz(func(_ *testing.T, value []byte) { _, _ = event.DecodeRejection(value) })
}

func FuzzDecodeReplayed(f *testing.F) {
	value, _ := event.Replayed{ID: strings.Repeat("0a", 16), Replays: 1}.Encode()
	f.Add(value)
	f.Fuzz(func(t *testing.T, value []byte) {
		r, err := event.DecodeReplayed(value)
		if err != nil {
			return
		}
		again, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := event.DecodeReplayed(again); err != nil || got != r {
			t.Fatalf("%+v became %+v: %v", r, got, err)
		}
	})
}

func FuzzParseReplay(f *testing.F) {
	f.Add(strings.Repeat("0a", 16), "1")
	f.Fuzz(func(t *testing.T, letter, replay string) {
		if n, err := event.ParseReplay(letter, replay); err == nil && (n < 1 || n > event.MaxReplays) {
			t.Fatalf("%d", n)
		}
	})
}

func ExampleNewUploaded() {
	e := event.NewUploaded(event.Image{ImageID: "4f1c", Tenant: "default", UploadedAt: time.UnixMicro(1_767_268_800_000_000)})
	fmt.Println(e.Type, e.ID)
	// Output: darkroom.image.uploaded.v1 4f1c.uploaded.1767268800000000
}
