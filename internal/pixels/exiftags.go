package pixels

import (
	"encoding/binary"
	"io"
)

// exifSource is a block of EXIF or a TIFF.
type exifSource interface {
	io.ReaderAt
	Size() int64
}

// The tags of interest: of the first directory, and of that for EXIF, which the first points to.
const (
	exifMake           = 0x010f
	exifModel          = 0x0110
	exifOrientation    = 0x0112
	exifArtist         = 0x013b
	exifCopyright      = 0x8298
	exifPointer        = 0x8769
	exifTimeOriginal   = 0x9003
	exifOffsetOriginal = 0x9011
)

// The types of their values (TIFF 6.0; EXIF 3.0 for UTF-8). A reader passes over others.
const (
	exifByte  = 1
	exifASCII = 2
	exifShort = 3
	exifLong  = 4
	exifUTF8  = 129
)

const (
	maxExifEntries = 1000 // of a directory, more than any has
	maxExifText    = 1024 // bytes of a text that are read
)

// exifTags are the values of the tags of interest: the first of each that can be read.
type exifTags struct {
	src     exifSource
	order   binary.ByteOrder
	texts   map[uint16]string
	numbers map[uint16]uint32
}

// readExifTags reads two directories and, of their entries, what is sound: a field that is broken or of a type that is
// not expected says nothing about the others.
func readExifTags(src exifSource) *exifTags {
	t := &exifTags{src: src, texts: make(map[uint16]string), numbers: make(map[uint16]uint32)}
	var head [8]byte
	if !t.read(head[:], 0) {
		return t
	}
	switch string(head[:2]) {
	case "II":
		t.order = binary.LittleEndian
	case "MM":
		t.order = binary.BigEndian
	default:
		return t
	}
	t.directory(t.order.Uint32(head[4:]), func(tag uint16) bool { return tag < exifTimeOriginal })
	if at, ok := t.numbers[exifPointer]; ok {
		t.directory(at, func(tag uint16) bool { return tag >= exifTimeOriginal })
	}
	return t
}

// read fills b, or reports that the block has less.
func (t *exifTags) read(b []byte, at int64) bool {
	n, _ := t.src.ReadAt(b, at) // at the end of the block with io.EOF
	return n == len(b)
}

// directory reads the entries of a directory that it has.
func (t *exifTags) directory(at uint32, has func(tag uint16) bool) {
	var b [2]byte
	if at < 8 || !t.read(b[:], int64(at)) { // 8 is the length of the header
		return
	}
	first := int64(at) + 2
	n := min(int64(t.order.Uint16(b[:])), maxExifEntries, (t.src.Size()-first)/12)
	entries := make([]byte, 12*n)
	if !t.read(entries, first) {
		return
	}
	for e := entries; len(e) > 0; e = e[12:] {
		if tag := t.order.Uint16(e); has(tag) {
			t.entry(tag, t.order.Uint16(e[2:]), int64(t.order.Uint32(e[4:])), e[8:12])
		}
	}
}

// entry takes the value of an entry, which is inline where it fits.
func (t *exifTags) entry(tag, typ uint16, count int64, inline []byte) {
	switch tag {
	case exifOrientation, exifPointer:
		if _, found := t.numbers[tag]; found || count != 1 {
			return
		}
		switch typ {
		case exifByte:
			t.numbers[tag] = uint32(inline[0])
		case exifShort:
			t.numbers[tag] = uint32(t.order.Uint16(inline))
		case exifLong:
			t.numbers[tag] = t.order.Uint32(inline)
		}
	case exifMake, exifModel, exifArtist, exifCopyright, exifTimeOriginal, exifOffsetOriginal:
		if _, found := t.texts[tag]; found || typ != exifASCII && typ != exifUTF8 {
			return
		}
		b := inline[:min(count, int64(len(inline)))]
		if count > int64(len(inline)) {
			at := int64(t.order.Uint32(inline))
			if at+count > t.src.Size() {
				return
			}
			b = make([]byte, min(count, maxExifText+1)) // one more, to see whether a character is cut
			if !t.read(b, at) {
				return
			}
		}
		t.texts[tag] = cut(string(b), maxExifText)
	}
}
