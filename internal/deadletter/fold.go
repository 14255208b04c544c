// Package deadletter reads the topic of dead letters, and replays them.
//
// What the topic holds of one letter folds to the letter of the most replays and the greatest note of one, so neither
// order nor repeats matter. A letter waits until there is a note that it has been replayed, and again when its replay
// comes back as a letter.
package deadletter

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"darkroom/internal/event"
)

// State says whether a letter is still to be replayed.
type State string

// The states of a letter.
const (
	Waiting  State = "waiting"
	Replayed State = "replayed"
)

// Letter is a dead letter without the record's value, which Topic.Read gives.
type Letter struct {
	event.Rejection // with its number of replays so far
	Tenant          string
	State           State
	HasValue        bool

	place     place
	recordKey []byte // the record's key, from Topic.Read: Key is empty where it was too large for the letter
}

// Place is where the topic of dead letters holds it.
func (l Letter) Place() (partition int32, offset int64) { return l.place.partition, l.place.offset }

// place is a letter's own, on the topic of dead letters.
type place struct {
	partition int32
	offset    int64
}

// Undecodable is a record of the topic of dead letters that is neither letter nor note.
type Undecodable struct {
	Partition int32
	Offset    int64
	Err       error
}

// fold keeps what is known of each letter.
type fold struct {
	letters map[string]*folded
	bad     []Undecodable
}

type folded struct {
	letter *Letter // nil while only notes of it came
	noted  int64   // the greatest number of replays in a note
}

func newFold() *fold { return &fold{letters: map[string]*folded{}} }

// add takes in a record of the topic.
func (f *fold) add(at place, value []byte) {
	if err := f.take(at, value); err != nil {
		f.bad = append(f.bad, Undecodable{at.partition, at.offset, err})
	}
}

func (f *fold) take(at place, value []byte) error {
	typ, err := event.TypeOf(value)
	if err != nil {
		return err
	}
	if typ == event.TypeReplayed {
		note, err := event.DecodeReplayed(value)
		if err != nil {
			return err
		}
		of := f.of(note.ID)
		of.noted = max(of.noted, note.Replays)
		return nil
	}
	r, err := event.DecodeRejection(value)
	if err != nil {
		return err
	}
	of := f.of(r.ID)
	if of.letter != nil && of.letter.Replays > r.Replays {
		return nil
	}
	of.letter = &Letter{Rejection: r, Tenant: tenantOf(r.Value), HasValue: len(r.Value) > 0, place: at}
	of.letter.Value = nil // the memory is bounded by the letters, not by what they hold
	return nil
}

func (f *fold) of(id string) *folded {
	of, ok := f.letters[id]
	if !ok {
		of = &folded{}
		f.letters[id] = of
	}
	return of
}

// all returns the letters, the oldest record first.
func (f *fold) all() []Letter {
	letters := make([]Letter, 0, len(f.letters))
	for _, of := range f.letters {
		if of.letter == nil {
			continue // the topic no longer holds it
		}
		l := *of.letter
		l.State = Waiting
		if of.noted > l.Replays {
			l.State, l.Replays = Replayed, of.noted
		}
		letters = append(letters, l)
	}
	slices.SortFunc(letters, func(a, b Letter) int {
		return cmp.Or(a.Timestamp.Compare(b.Timestamp), strings.Compare(a.ID, b.ID))
	})
	return letters
}

// tenantOf is the tenant that a record names, also one that is no whole event; empty if it names none.
func tenantOf(value []byte) string {
	var e struct{ Data struct{ Tenant string } }
	_ = json.Unmarshal(value, &e) // a record that cannot be read names none
	return e.Data.Tenant
}

// Filter chooses letters. A zero field chooses all.
type Filter struct {
	Stage, Code, Class, Tenant, Image string
	Since, Until                      time.Time // of the record's timestamp: from Since on, before Until
	Replayed                          bool      // also letters that are not waiting
}

// Empty reports whether the filter chooses every letter that waits.
func (f Filter) Empty() bool { return f == Filter{} }

func (f Filter) matches(l Letter) bool {
	is := func(want, got string) bool { return want == "" || want == got }
	return is(f.Stage, l.Stage) && is(f.Code, l.Code) && is(f.Class, string(l.Class)) && is(f.Tenant, l.Tenant) &&
		is(f.Image, string(l.Key)) && (f.Since.IsZero() || !l.Timestamp.Before(f.Since)) &&
		(f.Until.IsZero() || l.Timestamp.Before(f.Until)) && (f.Replayed || l.State == Waiting)
}

// Of returns the letters that the filter chooses, at most limit if that is positive.
func (f Filter) Of(letters []Letter, limit int) []Letter {
	var chosen []Letter
	for _, l := range letters {
		if limit > 0 && len(chosen) == limit {
			break
		}
		if f.matches(l) {
			chosen = append(chosen, l)
		}
	}
	return chosen
}

// The reasons for which Find finds no letter.
var (
	ErrUnknown   = errors.New("no letter has this id")
	ErrAmbiguous = errors.New("more than one letter's id begins like this")
)

// Find returns the one letter whose id begins with the prefix.
func Find(letters []Letter, prefix string) (Letter, error) {
	var found []Letter
	for _, l := range letters {
		if strings.HasPrefix(l.ID, prefix) {
			found = append(found, l)
		}
	}
	switch {
	case len(found) == 0 || prefix == "":
		return Letter{}, fmt.Errorf("%q: %w", prefix, ErrUnknown)
	case len(found) > 1:
		return Letter{}, fmt.Errorf("%q: %w: %s, %s", prefix, ErrAmbiguous, found[0].ID, found[1].ID)
	}
	return found[0], nil
}
