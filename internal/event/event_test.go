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
		Filename:   rapid.String().Draw(t, "filename"),
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

func TestARejectionHoldsTheWholeRecord(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := event.Rejection{
			Stage: "analyze", Class: event.Permanent, Code: "malformed", Detail: rapid.String().Draw(t, "detail"),
			Attempts: 1, Software: "v1", Topic: event.TopicImages, Partition: 3,
			Offset: rapid.Int64Min(0).Draw(t, "offset"), Timestamp: time.UnixMilli(1).UTC(),
			Key: []byte("k"), Value: rapid.SliceOfN(rapid.Byte(), 1, 64).Draw(t, "value"),
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

func ExampleNewUploaded() {
	e := event.NewUploaded(event.Image{ImageID: "4f1c", Tenant: "default", UploadedAt: time.UnixMicro(1_767_268_800_000_000)})
	fmt.Println(e.Type, e.ID)
	// Output: darkroom.image.uploaded.v1 4f1c.uploaded.1767268800000000
}
