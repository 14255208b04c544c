package pixels

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
)

// The tags of TIFF 6.0 that matter here.
const (
	tiffSubfileType     = 254
	tiffWidth           = 256
	tiffHeight          = 257
	tiffStripOffsets    = 273
	tiffStripByteCounts = 279
	tiffTileOffsets     = 324
	tiffTileByteCounts  = 325
	tiffFirstPrivate    = 32768
)

const (
	tiffShort = 3
	tiffLong  = 4
)

// tiffNoPage are the bits of tiffSubfileType of a reduced version of another page and of a transparency mask.
const tiffNoPage = 1 | 4

// tiffTypeLen has the bytes of a value of each type, by its number. Types that are not there are not checked.
var tiffTypeLen = [...]int64{1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}

// tiff copies the stream to a temporary file, since directories may lie anywhere, and then walks the directories. What is
// in memory stays there.
// Frames are the pages: the directories that are no thumbnail or mask of another. BigTIFF is not supported.
func (p *probe) tiff() error {
	head, err := p.peek(8)
	if err != nil {
		return err
	}
	if len(head) < 8 {
		return truncated()
	}
	var order binary.ByteOrder = binary.LittleEndian
	if head[0] == 'M' {
		order = binary.BigEndian
	}
	if order.Uint16(head[2:]) != 42 {
		return fail(CodeUnsupportedFormat, "BigTIFF is not supported")
	}
	first := int64(order.Uint32(head[4:]))
	file := p.memory
	if file == nil {
		spooled, size, err := p.spool()
		if err != nil {
			return err
		}
		defer func() { _ = spooled.Close() }() // nothing in it is kept
		file = io.NewSectionReader(spooled, 0, size)
	}
	size := file.Size()
	if size > p.lim.MaxSpool {
		return fail(CodeTooLarge, "the TIFF has more bytes than the limit of %s", grouped(p.lim.MaxSpool))
	}
	t := tiffWalk{
		probe: p, file: file, order: order, size: size, left: size,
		entries: bufio.NewReader(nil), offsets: bufio.NewReader(nil), counts: bufio.NewReader(nil),
	}
	if err := t.pages(first); err != nil {
		return err
	}
	p.exif(file)
	return nil
}

// spool copies the stream, or one byte more of it than the limit, to a temporary file.
func (p *probe) spool() (*os.File, int64, error) {
	file, err := os.CreateTemp("", "darkroom-*.tiff")
	if err != nil {
		return nil, 0, fmt.Errorf("spool TIFF: %w", err)
	}
	// Without a name the file goes with the process, however that ends.
	if err := os.Remove(file.Name()); err != nil {
		return nil, 0, errors.Join(fmt.Errorf("spool TIFF: %w", err), file.Close())
	}
	size, err := io.Copy(file, io.LimitReader(p.br, min(p.lim.MaxSpool, math.MaxInt64-1)+1))
	if err != nil {
		_ = file.Close()
		return nil, 0, err // as it came
	}
	return file, size, nil
}

type tiffWalk struct {
	*probe
	file                     io.ReaderAt
	order                    binary.ByteOrder
	size                     int64 // of the file
	left                     int64 // bytes of directories and arrays that may still be read; a file holds each once
	entries, offsets, counts *bufio.Reader
}

// tiffEntry is an entry of a directory. Its value is inline where it fits.
type tiffEntry struct {
	typ    uint16
	count  int64
	inline [4]byte
}

func (t *tiffWalk) pages(at int64) error {
	var pages int64
	for first := true; at != 0; first = false {
		entries, next, err := t.directory(at)
		if err != nil {
			return err
		}
		kind := t.scalar(entries[tiffSubfileType])
		width, height := t.scalar(entries[tiffWidth]), t.scalar(entries[tiffHeight])
		if err := checkSize(width, height, t.lim); err != nil {
			return err
		}
		if first {
			t.facts.Width, t.facts.Height = width, height
		}
		if err := t.data(entries); err != nil {
			return err
		}
		if first || kind&tiffNoPage == 0 {
			pages++
		}
		if err := t.frames(pages); err != nil {
			return err
		}
		at = next
	}
	if pages == 0 {
		return malformed("the TIFF has no directory")
	}
	return nil
}

// directory reads the directory at an offset. It returns the entries of interest and the next directory's offset.
func (t *tiffWalk) directory(at int64) (map[uint16]tiffEntry, int64, error) {
	if err := t.claim(at, 2); err != nil {
		return nil, 0, err
	}
	var b [12]byte
	if err := t.readAt(b[:2], at); err != nil {
		return nil, 0, err
	}
	n := int64(t.order.Uint16(b[:]))
	if n == 0 {
		return nil, 0, malformed("the TIFF has an empty directory")
	}
	if err := t.claim(at+2, 12*n+4); err != nil {
		return nil, 0, err
	}
	t.entries.Reset(io.NewSectionReader(t.file, at+2, 12*n+4))
	found := make(map[uint16]tiffEntry)
	for range n {
		if _, err := io.ReadFull(t.entries, b[:]); err != nil {
			return nil, 0, fmt.Errorf("read TIFF directory: %w", err)
		}
		tag := t.order.Uint16(b[:])
		e := tiffEntry{typ: t.order.Uint16(b[2:]), count: int64(t.order.Uint32(b[4:])), inline: [4]byte(b[8:])}
		// Private tags may point nowhere: many programs copy them without what they point to.
		if tag < tiffFirstPrivate && !t.inside(e) {
			return nil, 0, truncated()
		}
		switch tag {
		case tiffSubfileType, tiffWidth, tiffHeight,
			tiffStripOffsets, tiffStripByteCounts, tiffTileOffsets, tiffTileByteCounts:
			found[tag] = e
		}
	}
	if _, err := io.ReadFull(t.entries, b[:4]); err != nil {
		return nil, 0, fmt.Errorf("read TIFF directory: %w", err)
	}
	return found, int64(t.order.Uint32(b[:])), nil
}

// data checks that every strip or tile of a page lies inside the file.
func (t *tiffWalk) data(entries map[uint16]tiffEntry) error {
	o, c := entries[tiffStripOffsets], entries[tiffStripByteCounts]
	if o.count == 0 {
		o, c = entries[tiffTileOffsets], entries[tiffTileByteCounts]
	}
	if o.count == 0 || o.count != c.count {
		return malformed("a page of the TIFF has %s offsets and %s lengths of its pixels", grouped(o.count), grouped(c.count))
	}
	nextOffset, err := t.array(o, t.offsets)
	if err != nil {
		return err
	}
	nextCount, err := t.array(c, t.counts)
	if err != nil {
		return err
	}
	for range o.count {
		offset, err := nextOffset()
		if err != nil {
			return err
		}
		count, err := nextCount()
		if err != nil {
			return err
		}
		if offset+count > t.size {
			return truncated()
		}
	}
	return nil
}

// array returns a function that reads the values of an entry one by one.
func (t *tiffWalk) array(e tiffEntry, r *bufio.Reader) (func() (int64, error), error) {
	if e.typ != tiffShort && e.typ != tiffLong {
		return nil, malformed("the TIFF has offsets of type %d", e.typ)
	}
	width := tiffTypeLen[e.typ]
	if n := width * e.count; n <= int64(len(e.inline)) {
		r.Reset(bytes.NewReader(e.inline[:n]))
	} else {
		at := int64(t.order.Uint32(e.inline[:]))
		if err := t.claim(at, n); err != nil {
			return nil, err
		}
		r.Reset(io.NewSectionReader(t.file, at, n))
	}
	var b [4]byte
	return func() (int64, error) {
		if _, err := io.ReadFull(r, b[:width]); err != nil {
			return 0, fmt.Errorf("read TIFF offsets: %w", err)
		}
		if width == 2 {
			return int64(t.order.Uint16(b[:])), nil
		}
		return int64(t.order.Uint32(b[:])), nil
	}, nil
}

// scalar returns the value of an entry of one number; zero for any other.
func (t *tiffWalk) scalar(e tiffEntry) int64 {
	switch {
	case e.count != 1:
		return 0
	case e.typ == tiffShort:
		return int64(t.order.Uint16(e.inline[:]))
	case e.typ == tiffLong:
		return int64(t.order.Uint32(e.inline[:]))
	}
	return 0
}

// inside tells whether the value of an entry lies inside the file.
func (t *tiffWalk) inside(e tiffEntry) bool {
	if int(e.typ) >= len(tiffTypeLen) {
		return true
	}
	n := tiffTypeLen[e.typ] * e.count
	return n <= int64(len(e.inline)) || int64(t.order.Uint32(e.inline[:]))+n <= t.size
}

// claim is called before n bytes at an offset are read. The sum of all claims is bounded by the length of the file, so
// that directories in a circle, or many that share one long array, cannot multiply the work.
func (t *tiffWalk) claim(at, n int64) error {
	if at+n > t.size {
		return truncated()
	}
	if t.left -= n; t.left < 0 {
		return malformed("the TIFF's directories overlap")
	}
	return nil
}

func (t *tiffWalk) readAt(b []byte, at int64) error {
	if _, err := t.file.ReadAt(b, at); err != nil {
		return fmt.Errorf("read TIFF directory: %w", err)
	}
	return nil
}
