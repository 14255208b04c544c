package ingest

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strings"
)

// What an image's id is made from, beside the tenant.
const (
	byKey     = "key"     // the Idempotency-Key
	byContent = "content" // the SHA-256 of the bytes
)

const idLen = 32 // hexadecimal digits

// imageID is the id of a tenant's image: the first half of the SHA-256 over the parts, each after its length, so that
// no two lists of parts are the same bytes.
func imageID(tenant, kind, name string) string {
	h := sha256.New()
	for _, part := range []string{tenant, kind, name} {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		h.Write([]byte(part))
	}
	return hex.EncodeToString(h.Sum(nil)[:idLen/2])
}

func validID(id string) bool {
	return len(id) == idLen && strings.Trim(id, "0123456789abcdef") == ""
}
