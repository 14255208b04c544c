package event

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Class says whether a rejected record may succeed when it is tried again.
type Class string

// The classes of rejections.
const (
	Permanent Class = "permanent" // the record itself is at fault
	Retryable Class = "retryable" // something that the record needed was at fault
)

// The codes that more than one stage has; the others are the stages' own, or those of pixels.
const (
	CodeBlobMissing = "blob-missing"
	CodeChecksum    = "checksum-mismatch"
)

// Rejection is a dead letter: a record that could not be processed, why, and all that replaying it takes. The letters
// of one id fold to the one of the most replays, whatever their order.
type Rejection struct {
	// ID is the event's. Empty, it is made from the record's place and the stage, so that a repeat is recognised; a
	// replay that is refused again gives that of its first letter.
	ID string `json:"-"`

	Stage    string `json:"stage"` // the transform that refused it
	Class    Class  `json:"class"`
	Code     string `json:"code"`   // a stable word, such as "malformed-event"
	Detail   string `json:"detail"` // for a person
	Attempts int    `json:"attempts"`
	Software string `json:"software"`          // version of Darkroom
	Replays  int64  `json:"replays,omitempty"` // which replay of the first record this was; 0 for that record itself

	// The record. Replaying it produces Value with Key and Timestamp to Topic, with the headers of a Replay.
	Topic     string    `json:"topic"`
	Partition int32     `json:"partition"`
	Offset    int64     `json:"offset"`
	Timestamp time.Time `json:"timestamp"`
	Key       []byte    `json:"key"`
	Value     []byte    `json:"value"`
	Truncated bool      `json:"truncated,omitempty"` // Value, or Key too, was too large for a letter: read it at the record's place
}

// Encode returns the dead letter's key and value on images.rejected.
func (r Rejection) Encode() (key, value []byte, err error) {
	data, err := json.Marshal(r)
	if err != nil {
		return nil, nil, fmt.Errorf("encode rejection: %w", err)
	}
	id := r.ID
	if id == "" {
		id = LetterID(fmt.Sprintf("%s/%d/%d/%s", r.Topic, r.Partition, r.Offset, r.Stage))
	}
	value, err = json.Marshal(envelope{
		SpecVersion: specVersion, ID: id, Source: "/darkroom/pipelines", Type: TypeRejected,
		Subject: string(r.Key), Time: r.Timestamp.UTC(), DataContentType: "application/json", Data: data,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("encode rejection: %w", err)
	}
	return r.Key, value, nil
}

// DecodeRejection reads a dead letter.
func DecodeRejection(value []byte) (Rejection, error) {
	var r Rejection
	id, err := decodeData(value, TypeRejected, &r)
	if err == nil && (r.Topic == "" || r.Replays < 0 || r.Replays > MaxReplays) {
		err = errors.New("no topic, or no possible number of replays")
	}
	if err != nil {
		return Rejection{}, fmt.Errorf("decode rejection: %w", err)
	}
	r.ID = id
	return r, nil
}

// decodeData reads the data of an event of images.rejected, and returns its id.
func decodeData(value []byte, typ string, data any) (id string, err error) {
	var env envelope
	if err := json.Unmarshal(value, &env); err != nil {
		return "", err
	}
	if env.Type != typ {
		return "", fmt.Errorf("type is %q", env.Type)
	}
	if !validLetter(env.ID) {
		return "", fmt.Errorf("%.100q is no id of a letter", env.ID)
	}
	if err := json.Unmarshal(env.Data, data); err != nil {
		return "", fmt.Errorf("data: %w", err)
	}
	return env.ID, nil
}
