package event

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
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

// Rejection is a dead letter: a record that could not be processed, why, and all that replaying it takes.
type Rejection struct {
	Stage    string `json:"stage"` // the transform that refused it
	Class    Class  `json:"class"`
	Code     string `json:"code"`   // a stable word, such as "malformed-event"
	Detail   string `json:"detail"` // for a person
	Attempts int    `json:"attempts"`
	Software string `json:"software"` // version of Darkroom

	// The record: produce Value with Key to Topic to replay it.
	Topic     string    `json:"topic"`
	Partition int32     `json:"partition"`
	Offset    int64     `json:"offset"`
	Timestamp time.Time `json:"timestamp"`
	Key       []byte    `json:"key"`
	Value     []byte    `json:"value"`
	Truncated bool      `json:"truncated,omitempty"` // Value, or Key too, was left out, since the letter would be too large
}

// Encode returns the dead letter's key and value on images.rejected. Its id is a function of the record's place and the
// stage, so that a repeat is recognised.
func (r Rejection) Encode() (key, value []byte, err error) {
	data, err := json.Marshal(r)
	if err != nil {
		return nil, nil, fmt.Errorf("encode rejection: %w", err)
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s/%d/%d/%s", r.Topic, r.Partition, r.Offset, r.Stage))
	value, err = json.Marshal(envelope{
		SpecVersion: specVersion, ID: hex.EncodeToString(sum[:16]), Source: "/darkroom/pipelines", Type: TypeRejected,
		Subject: string(r.Key), Time: r.Timestamp.UTC(), DataContentType: "application/json", Data: data,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("encode rejection: %w", err)
	}
	return r.Key, value, nil
}

// DecodeRejection reads a dead letter.
func DecodeRejection(value []byte) (Rejection, error) {
	var env envelope
	if err := json.Unmarshal(value, &env); err != nil {
		return Rejection{}, fmt.Errorf("decode rejection: %w", err)
	}
	if env.Type != TypeRejected {
		return Rejection{}, fmt.Errorf("decode rejection: type is %q", env.Type)
	}
	var r Rejection
	if err := json.Unmarshal(env.Data, &r); err != nil {
		return Rejection{}, fmt.Errorf("decode rejection: data: %w", err)
	}
	return r, nil
}
