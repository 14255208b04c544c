package ingest

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"darkroom/internal/event"
)

// The prefixes of our own keys. No tenant's name begins with an underscore.
const (
	prefixIncoming = "_incoming/"
	prefixJournal  = "_journal/"
	prefixRecords  = event.RecordPrefix
	prefixLeases   = "_leases/"
)

// entry is an entry of the journal: an event that Kafka has not acknowledged. That it is there means that the image's
// bytes are complete and in S3, either in their place or at Incoming, so that anybody can finish what it stands for.
type entry struct {
	Event    event.Event
	Incoming string // the key of the bytes as they came; empty for an event without bytes of its own
}

// entryJSON is the entry as it is stored: with the event as it will be published.
type entryJSON struct {
	Event    json.RawMessage `json:"event"`
	Incoming string          `json:"incoming,omitempty"`
}

// key is where the entry is kept. Keys of one image lie together.
func (e entry) key() string { return prefixJournal + e.Event.ID }

// keys is what the entry needs no longer once its event is published or given up.
func (e entry) keys() []string {
	if e.Incoming == "" {
		return []string{e.key()}
	}
	return []string{e.key(), e.Incoming}
}

func (e entry) encode() ([]byte, error) {
	_, value, err := e.Event.Encode()
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(entryJSON{Event: value, Incoming: e.Incoming})
	if err != nil {
		return nil, fmt.Errorf("encode journal entry %s: %w", e.Event.ID, err)
	}
	return data, nil
}

// decodeEntry reads the entry at key.
func decodeEntry(key string, data []byte) (entry, error) {
	var j entryJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return entry{}, fmt.Errorf("decode %s: %w", key, err)
	}
	ev, err := event.Decode(j.Event)
	if err != nil {
		return entry{}, fmt.Errorf("decode %s: %w", key, err)
	}
	e := entry{Event: ev, Incoming: j.Incoming}
	if e.key() != key || !validID(ev.Image.ImageID) {
		return entry{}, fmt.Errorf("decode %s: it holds the event %s", key, ev.ID)
	}
	if (ev.Type == event.TypeUploaded) != strings.HasPrefix(j.Incoming, prefixIncoming) {
		return entry{}, fmt.Errorf("decode %s: %w", key, errors.New("it does not say where the bytes are"))
	}
	return e, nil
}

// imageOfKey is the id of the image that a journal key belongs to.
func imageOfKey(key string) string {
	id, _, _ := strings.Cut(strings.TrimPrefix(key, prefixJournal), ".")
	return id
}

// timeOfID is the time of the event with this id, which is its last part; the zero time if there is none.
func timeOfID(id string) time.Time {
	micros, err := strconv.ParseInt(id[strings.LastIndexByte(id, '.')+1:], 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMicro(micros).UTC()
}
