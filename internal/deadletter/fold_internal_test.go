package deadletter

import (
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"darkroom/internal/event"
)

// TestTheFoldDependsOnNoOrder holds it against the rule: the letter of the most replays, and the greatest note.
func TestTheFoldDependsOnNoOrder(t *testing.T) {
	type record struct {
		note bool
		n    int64
	}
	id := strings.Repeat("0a", 16)
	rapid.Check(t, func(t *rapid.T) {
		records := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) record {
			return record{rapid.Bool().Draw(t, "note"), rapid.Int64Range(1, 4).Draw(t, "n")}
		}), 1, 8).Draw(t, "records")
		f := newFold()
		letter, note := int64(0), int64(0)
		for _, r := range records {
			var value []byte
			var err error
			if r.note {
				note = max(note, r.n)
				value, err = event.Replayed{ID: id, Replays: r.n}.Encode()
			} else {
				letter = max(letter, r.n)
				_, value, err = event.Rejection{ID: id, Topic: "t", Replays: r.n}.Encode()
			}
			if err != nil {
				t.Fatal(err)
			}
			f.add(place{}, value)
		}
		var got, want []any
		for _, l := range f.all() {
			got = append(got, l.State, l.Replays)
		}
		switch {
		case letter == 0:
		case note > letter:
			want = []any{Replayed, note}
		default:
			want = []any{Waiting, letter}
		}
		if !reflect.DeepEqual(got, want) || len(f.bad) > 0 {
			t.Fatalf("got %v and %v, want %v", got, f.bad, want)
		}
	})
}

func FuzzFold(f *testing.F) {
	_, letter, _ := event.Rejection{Topic: "t", Value: []byte("{}")}.Encode()
	note, _ := event.Replayed{ID: strings.Repeat("0a", 16), Replays: 1}.Encode()
	f.Add(letter)
	f.Add(note)
	f.Fuzz(func(t *testing.T, value []byte) {
		f := newFold()
		f.add(place{}, value)
		if len(f.letters)+len(f.bad) != 1 || len(f.all()) > 1 {
			t.Fatalf("%d letters and %d others of one record", len(f.letters), len(f.bad))
		}
	})
}
