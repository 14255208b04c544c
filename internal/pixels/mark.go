package pixels

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// mark is what of the EXIF data may be kept in a derivative: who made the image and whose it is.
type mark struct{ artist, copyright string }

// markedFormats are the formats that a mark can be put into.
var markedFormats = []Format{JPEG, PNG, WebP}

func (f Facts) mark() mark { return mark{f.Artist, f.Copyright} }

// into returns the file with the mark; the file itself if there is nothing to say.
func (m mark) into(f Format, file []byte) ([]byte, error) {
	if m == (mark{}) {
		return file, nil
	}
	var marked []byte
	var err error
	switch exif := m.exif(); f {
	case JPEG:
		marked, err = exifIntoJPEG(file, exif)
	case PNG:
		marked, err = exifIntoPNG(file, exif)
	case WebP:
		marked, err = exifIntoWebP(file, exif)
	default:
		err = errors.New("the format has no room for it")
	}
	if err != nil {
		return nil, fmt.Errorf("put copyright into %s: %w", f, err)
	}
	return marked, nil
}

// exif returns a TIFF structure with one directory of the two ASCII tags (TIFF 6.0, section 2).
func (m mark) exif() []byte {
	type entry struct {
		tag   uint16
		value string
	}
	var entries []entry // by rising tag
	if m.artist != "" {
		entries = append(entries, entry{0x013b, m.artist + "\x00"})
	}
	if m.copyright != "" {
		entries = append(entries, entry{0x8298, m.copyright + "\x00"})
	}
	le := binary.LittleEndian
	b := append([]byte("II*\x00"), 8, 0, 0, 0)
	b = le.AppendUint16(b, uint16(len(entries)))
	values := len(b) + 12*len(entries) + 4
	var after []byte
	for _, e := range entries {
		b = le.AppendUint16(b, e.tag)
		b = le.AppendUint16(b, 2) // ASCII
		b = le.AppendUint32(b, uint32(len(e.value)))
		if len(e.value) <= 4 {
			b = append(b, (e.value + "\x00\x00\x00")[:4]...)
			continue
		}
		b = le.AppendUint32(b, uint32(values+len(after)))
		after = append(after, e.value...)
		if len(after)%2 == 1 {
			after = append(after, 0) // values begin at even offsets
		}
	}
	return append(append(b, 0, 0, 0, 0), after...) // no further directory
}

// exifIntoJPEG puts an APP1 segment after the start of the image and its JFIF segment (EXIF 2.32, section 4.5.4).
func exifIntoJPEG(file, exif []byte) ([]byte, error) {
	if !bytes.HasPrefix(file, []byte{0xff, 0xd8}) {
		return nil, errors.New("it does not begin like one")
	}
	at := 2
	if len(file) > 6 && file[2] == 0xff && file[3] == 0xe0 {
		at += 2 + int(binary.BigEndian.Uint16(file[4:]))
	}
	if at > len(file) {
		return nil, errors.New("its first segment is longer than the file")
	}
	const id = "Exif\x00\x00"
	segment := []byte{0xff, 0xe1}
	segment = binary.BigEndian.AppendUint16(segment, uint16(2+len(id)+len(exif)))
	segment = append(append(segment, id...), exif...)
	return bytes.Join([][]byte{file[:at], segment, file[at:]}, nil), nil
}

// exifIntoPNG puts an eXIf chunk after the header (PNG, third edition, section 11.3.4.5).
func exifIntoPNG(file, exif []byte) ([]byte, error) {
	const header = len(pngSignature) + 4 + 4 + 13 + 4
	if len(file) < header || string(file[:len(pngSignature)]) != pngSignature {
		return nil, errors.New("it does not begin like one")
	}
	chunk := binary.BigEndian.AppendUint32(nil, uint32(len(exif)))
	chunk = append(append(chunk, "eXIf"...), exif...)
	chunk = binary.BigEndian.AppendUint32(chunk, crc32.ChecksumIEEE(chunk[4:]))
	return bytes.Join([][]byte{file[:header], chunk, file[header:]}, nil), nil
}

// exifIntoWebP appends an EXIF chunk, which the extended format must announce (RFC 9649, section 2.7).
func exifIntoWebP(file, exif []byte) ([]byte, error) {
	const (
		fileHeader, chunkHeader = 12, 8
		flagEXIF, flagAlpha     = 1 << 3, 1 << 4
	)
	if len(file) < fileHeader+chunkHeader+10 || string(file[:4]) != "RIFF" || string(file[8:12]) != "WEBP" {
		return nil, errors.New("it does not begin like one")
	}
	body := file[fileHeader:]
	payload := body[chunkHeader:]
	extended := append([]byte("VP8X"), 10, 0, 0, 0)
	switch string(body[:4]) {
	case "VP8X":
		extended = append(extended, payload[:10]...)
		body = body[chunkHeader+10:]
	case "VP8 ": // RFC 6386, section 9.1: a frame tag of three bytes, a start code of three, then the size
		width, height := binary.LittleEndian.Uint16(payload[6:])&0x3fff, binary.LittleEndian.Uint16(payload[8:])&0x3fff
		extended = append(extended, canvas(0, int(width), int(height))...)
	case "VP8L": // RFC 9649, section 3.4: a signature byte, 14 bits each of width and height less one, a bit for alpha
		bits := binary.LittleEndian.Uint32(payload[1:])
		extended = append(extended, canvas(byte(bits>>28&1)*flagAlpha, int(bits&0x3fff)+1, int(bits>>14&0x3fff)+1)...)
	default:
		return nil, fmt.Errorf("its first chunk is %q", body[:4])
	}
	extended[chunkHeader] |= flagEXIF
	chunk := append([]byte("EXIF"), 0, 0, 0, 0)
	binary.LittleEndian.PutUint32(chunk[4:], uint32(len(exif)))
	chunk = append(chunk, exif...)
	if len(exif)%2 == 1 {
		chunk = append(chunk, 0)
	}
	marked := bytes.Join([][]byte{file[:fileHeader], extended, body, chunk}, nil)
	binary.LittleEndian.PutUint32(marked[4:], uint32(len(marked)-8))
	return marked, nil
}

// canvas is the payload of a VP8X chunk.
func canvas(flags byte, width, height int) []byte {
	w, h := width-1, height-1
	return []byte{flags, 0, 0, 0, byte(w), byte(w >> 8), byte(w >> 16), byte(h), byte(h >> 8), byte(h >> 16)}
}
