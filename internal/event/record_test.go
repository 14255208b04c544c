package event_test

import (
	"strings"
	"testing"

	"darkroom/internal/event"
)

func TestDecodeRecordRefusesWhatIsNone(t *testing.T) {
	sum := strings.Repeat("0", 64)
	good := `{"image":{"image_id":"a","tenant":"t","sha256":"` + sum + `","bytes":1,"uploaded_at":"2026-01-01T00:00:00Z"},"events":["e"]}`
	if r, err := event.DecodeRecord("a", []byte(good)); err != nil || r.Image.SHA256 != sum || !r.DeletedAt.IsZero() {
		t.Errorf("%+v, %v", r, err)
	}
	for name, c := range map[string]struct{ id, data string }{
		"another image": {"b", good},
		"no JSON":       {"a", "{"},
		"no tenant":     {"a", strings.Replace(good, `"t"`, `"_"`, 1)},
		"no events":     {"a", strings.Replace(good, `["e"]`, `[]`, 1)},
	} {
		if _, err := event.DecodeRecord(c.id, []byte(c.data)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
