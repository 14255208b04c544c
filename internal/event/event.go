// Package event defines what travels on Kafka: CloudEvents 1.0 in structured JSON
// (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md), keyed by image id.
package event

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// The topics.
const (
	TopicImages   = "images.events"
	TopicRejected = "images.rejected"
)

// MaxBytes is the size of the largest event that is looked at. One is well under a kilobyte, and a topic with Kafka's own
// limit takes none that is larger.
const MaxBytes = 1 << 20

// maxText is the most bytes of each text of an event, so that rows of it fit into a table. Ours are much shorter.
const maxText = 1 << 10

// The event types.
const (
	TypeUploaded = "darkroom.image.uploaded.v1"
	TypeDeleted  = "darkroom.image.deleted.v1"
	TypeRejected = "darkroom.image.rejected.v1"
	TypeReplayed = "darkroom.image.replayed.v1"
)

const specVersion = "1.0"

// Image is the data of an uploaded and of a deleted event: what the upload service knows of the image.
type Image struct {
	ImageID    string    `json:"image_id"`
	Tenant     string    `json:"tenant"`
	SHA256     string    `json:"sha256"` // lower-case hex
	Bytes      int64     `json:"bytes"`
	MediaType  string    `json:"media_type,omitempty"`
	Filename   string    `json:"filename,omitempty"`
	UploadedAt time.Time `json:"uploaded_at"`
}

// Event says that an image was uploaded or deleted.
type Event struct {
	ID    string    // a function of the image, the kind and the time, so that a repeat is recognised
	Type  string    // TypeUploaded or TypeDeleted
	Time  time.Time // when it happened, in whole microseconds; also its version
	Image Image
}

// Version orders the events of one image: microseconds since 1970.
func (e Event) Version() int64 { return e.Time.UnixMicro() }

// BlobKey is the key of the image's bytes in the bucket.
func (i Image) BlobKey() string { return i.Tenant + "/" + i.SHA256 }

// NewUploaded is the event of an upload at i.UploadedAt.
func NewUploaded(i Image) Event {
	i.UploadedAt = stamp(i.UploadedAt)
	return newEvent(TypeUploaded, i.UploadedAt, i)
}

// NewDeleted is the event of the image's deletion at t.
func NewDeleted(i Image, t time.Time) Event {
	i.UploadedAt = stamp(i.UploadedAt)
	return newEvent(TypeDeleted, stamp(t), i)
}

func newEvent(typ string, t time.Time, i Image) Event {
	kind := strings.Split(typ, ".")[2]
	return Event{ID: fmt.Sprintf("%s.%s.%d", i.ImageID, kind, t.UnixMicro()), Type: typ, Time: t, Image: i}
}

// stamp cuts a time to what a version can hold.
func stamp(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

// envelope is the CloudEvents JSON form, with the attributes that we set.
type envelope struct {
	SpecVersion     string          `json:"specversion"`
	ID              string          `json:"id"`
	Source          string          `json:"source"`
	Type            string          `json:"type"`
	Subject         string          `json:"subject,omitempty"`
	Time            time.Time       `json:"time"`
	DataContentType string          `json:"datacontenttype,omitempty"`
	Data            json.RawMessage `json:"data"`
}

// Encode returns the event's key and value on Kafka.
func (e Event) Encode() (key, value []byte, err error) {
	data, err := json.Marshal(e.Image)
	if err != nil {
		return nil, nil, fmt.Errorf("encode event %s: %w", e.ID, err)
	}
	value, err = json.Marshal(envelope{
		SpecVersion: specVersion, ID: e.ID, Source: "/darkroom/ingest", Type: e.Type, Subject: e.Image.ImageID,
		Time: e.Time, DataContentType: "application/json", Data: data,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("encode event %s: %w", e.ID, err)
	}
	return []byte(e.Image.ImageID), value, nil
}

// Decode reads an event of images.events. What it refuses can never be read, so the caller sends it to the dead letters.
func Decode(value []byte) (Event, error) {
	var env envelope
	if err := json.Unmarshal(value, &env); err != nil {
		return Event{}, fmt.Errorf("decode event: %w", err)
	}
	if env.SpecVersion != specVersion {
		return Event{}, fmt.Errorf("decode event: specversion is %q, not %q", env.SpecVersion, specVersion)
	}
	if env.Type != TypeUploaded && env.Type != TypeDeleted {
		return Event{}, fmt.Errorf("decode event: unknown type %q", env.Type)
	}
	e := Event{ID: env.ID, Type: env.Type, Time: stamp(env.Time)}
	if err := json.Unmarshal(env.Data, &e.Image); err != nil {
		return Event{}, fmt.Errorf("decode event %s: data: %w", env.ID, err)
	}
	return e, e.check()
}

func (e Event) check() error {
	var errs []error
	require := func(ok bool, what string) {
		if !ok {
			errs = append(errs, errors.New(what))
		}
	}
	require(e.ID != "", "no id")
	require(!e.Time.IsZero() && e.Time.Year() >= 1970 && e.Time.Year() < 2262, "no usable time")
	require(e.Image.ImageID != "", "no image_id")
	require(ValidTenant(e.Image.Tenant), "no valid tenant")
	require(validSHA256(e.Image.SHA256), "no valid sha256")
	require(e.Image.Bytes > 0, "bytes is not positive")
	for _, text := range []struct{ name, value string }{
		{"id", e.ID}, {"image_id", e.Image.ImageID}, {"filename", e.Image.Filename}, {"media_type", e.Image.MediaType},
	} {
		require(len(text.value) <= maxText, fmt.Sprintf("%s has %d bytes, more than %d", text.name, len(text.value), maxText))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("decode event %.*s: %s", maxText, e.ID, strings.ReplaceAll(err.Error(), "\n", ", "))
	}
	return nil
}

// ValidTenant reports whether s may name a tenant: 1 to 63 lower-case letters, digits and inner hyphens, as a DNS label
// (RFC 1123 section 2.1). A key of ours that is not a tenant's begins with an underscore, which this excludes.
func ValidTenant(s string) bool {
	if len(s) == 0 || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

func validSHA256(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}
