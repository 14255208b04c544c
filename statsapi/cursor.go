package statsapi

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// place is where a page ended: the row after which the next begins. Rows are ordered by uploaded_at and id, descending.
type place struct {
	uploadedAt int64
	id         string
}

const (
	cursorForm   = 1
	cursorDigest = 8    // bytes
	maxCursor    = 4096 // characters
)

// errCursor marks a cursor that is none of ours or belongs to other filters.
var errCursor = errors.New("not a cursor of these filters")

// encode makes a cursor that holds only for the same filters:
//
//	cursor = base64url( form | the filters' digest | uploaded_at, big endian | id )
func (p place) encode(filters string) string {
	b := append([]byte{cursorForm}, digest(filters)...)
	b = binary.BigEndian.AppendUint64(b, uint64(p.uploadedAt))
	return base64.RawURLEncoding.EncodeToString(append(b, p.id...))
}

func decodeCursor(cursor, filters string) (place, error) {
	if len(cursor) > maxCursor || strings.ContainsAny(cursor, "\r\n") { // which the decoder passes over
		return place{}, fmt.Errorf("decode cursor: %w", errCursor)
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || len(b) < 1+cursorDigest+8 || b[0] != cursorForm {
		return place{}, fmt.Errorf("decode cursor: %w", errCursor)
	}
	if string(b[1:1+cursorDigest]) != string(digest(filters)) {
		return place{}, fmt.Errorf("decode cursor: %w", errCursor)
	}
	b = b[1+cursorDigest:]
	p := place{uploadedAt: int64(binary.BigEndian.Uint64(b)), id: string(b[8:])}
	if !isText(p.id) {
		return place{}, fmt.Errorf("decode cursor: %w", errCursor)
	}
	return p, nil
}

func digest(filters string) []byte {
	sum := sha256.Sum256([]byte(filters))
	return sum[:cursorDigest]
}
