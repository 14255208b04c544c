package pipelines_test

import (
	"bytes"
	"encoding/binary"
	"image"
	_ "image/jpeg" // the oracle of sizes
	_ "image/png"  // …
	"testing"
)

// decodeConfig is the standard library's view of a photograph.
func decodeConfig(t *testing.T, path string) image.Config {
	t.Helper()
	c, _, err := image.DecodeConfig(bytes.NewReader(readFile(t, path)))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// bombBMP is a small file that claims 3,000,000 × 2,000,000 pixels.
func bombBMP() []byte {
	b := make([]byte, 54, 1024)
	copy(b, "BM")
	binary.LittleEndian.PutUint32(b[2:], 1024)
	binary.LittleEndian.PutUint32(b[10:], 54)
	binary.LittleEndian.PutUint32(b[14:], 40)
	binary.LittleEndian.PutUint32(b[18:], 3_000_000)
	binary.LittleEndian.PutUint32(b[22:], 2_000_000)
	binary.LittleEndian.PutUint16(b[26:], 1)
	binary.LittleEndian.PutUint16(b[28:], 24)
	return b[:1024]
}
