package event

import (
	"encoding/json"
	"fmt"
	"time"
)

// RecordPrefix begins the keys in the bucket at which the upload service keeps a Record of each image, by its id.
const RecordPrefix = "_records/"

// Record is what is known of one image: the sum of the events that happened to it. The zero record is that of an image
// that never was.
type Record struct {
	Image     Image     `json:"image"`
	DeletedAt time.Time `json:"deleted_at,omitzero"`
	Events    []string  `json:"events"` // the ids of those that happened, the last ones, in order
}

// DecodeRecord reads the record of the image id.
func DecodeRecord(id string, data []byte) (Record, error) {
	var r Record
	if err := json.Unmarshal(data, &r); err != nil {
		return Record{}, fmt.Errorf("decode record of %s: %w", id, err)
	}
	if r.Image.ImageID != id || !ValidTenant(r.Image.Tenant) || len(r.Image.SHA256) != 64 || r.Image.Bytes <= 0 ||
		r.Image.UploadedAt.IsZero() || len(r.Events) == 0 {
		return Record{}, fmt.Errorf("decode record of %s: it is no record of this image", id)
	}
	return r, nil
}
