package ingest

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"darkroom/internal/event"
)

// maxEvents is how many of an image's last events its record names.
const maxEvents = 32

// record is an image's record, with what events do to it.
type record event.Record

// errCorrupt says that S3 holds something else than was put there. Nobody can do anything but look at it.
var errCorrupt = errors.New("not what was stored")

// verdict says what an event does to a record.
type verdict int

const (
	happens    verdict = iota // the event changes the record
	happened                  // the event is in the record
	superseded                // another event came before it, so that this one never happens
)

func (r record) exists() bool  { return r.Image.ImageID != "" }
func (r record) deleted() bool { return !r.DeletedAt.IsZero() }
func (r record) stored() bool  { return r.exists() && !r.deleted() }

// at is the time of the last event.
func (r record) at() time.Time {
	if r.deleted() {
		return r.DeletedAt
	}
	return r.Image.UploadedAt
}

// next is a time for the image's next event: now, but later than the last event, whatever the clocks say.
func (r record) next(now time.Time) time.Time {
	now = now.UTC().Truncate(time.Microsecond)
	if earliest := r.at().Add(time.Microsecond); now.Before(earliest) {
		return earliest
	}
	return now
}

// take says what an event does to the record, and returns the record with it if it happens. An image is uploaded when
// it is not there, and deleted when it is. The answer depends on the two alone, so that any instance may give it again.
func (r record) take(e event.Event) (record, verdict) {
	if slices.Contains(r.Events, e.ID) {
		return r, happened
	}
	if r.exists() && !e.Time.After(r.at()) {
		return r, r.old(e)
	}
	events := append(slices.Clone(r.Events), e.ID)
	events = events[max(0, len(events)-maxEvents):]
	free := !r.exists() || r.deleted() && r.Image.SHA256 == e.Image.SHA256
	switch {
	case e.Type == event.TypeUploaded && free:
		return record{Image: e.Image, Events: events}, happens
	case e.Type == event.TypeDeleted && r.stored():
		return record{Image: r.Image, DeletedAt: e.Time, Events: events}, happens
	}
	return r, superseded
}

// old is the verdict on an event that is older than the last one and is not among those that the record names. If it is
// older than all of them it may have been dropped from a full list: to publish it again harms less than to lose it.
func (r record) old(e event.Event) verdict {
	if len(r.Events) == maxEvents && e.Time.Before(timeOfID(r.Events[0])) {
		return happened
	}
	return superseded
}

func (r record) encode() ([]byte, error) {
	data, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode record of %s: %w", r.Image.ImageID, err)
	}
	return data, nil
}

func decodeRecord(id string, data []byte) (record, error) {
	r, err := event.DecodeRecord(id, data)
	if err != nil {
		return record{}, fmt.Errorf("%w: %w", errCorrupt, err)
	}
	return record(r), nil
}
