// Package pixels turns the bytes of an image into facts: format, width, height, frames, orientation, camera and the
// time it was taken.
//
// Probe walks the structure of the container in one forward pass and decodes no pixel, so that a hostile file cannot
// make it allocate what its header claims. Its guarantees, for any input:
//   - it holds at most Limits.MaxMetadata bytes of the file, two boxes of at most 1 MiB each of an AVIF or HEIC, and a
//     few fixed buffers, whatever the length of the file; a TIFF, whose directories may lie anywhere, is kept in a
//     temporary file of at most Limits.MaxSpool bytes meanwhile, unless it is read from a bytes.Reader;
//   - the dimensions are checked against the limits as soon as they were read, before anything that follows them;
//   - it does not panic, and its work grows with the length of the file only;
//   - an image that was cut short is an error, even where browsers would show what is there; only a bare JPEG XL
//     codestream does not say where it ends.
//
// It does not find corruption inside compressed pixels, except in PNG, whose chunks carry checksums.
package pixels

import (
	"bytes"
	"errors"
	"io"
)

// Limits bounds what is accepted. A field that is zero or less stands for its value in DefaultLimits.
type Limits struct {
	MaxPixels   int64 // width × height of a frame, and of the canvas
	MaxFrames   int64 // frames of an animation, pages of a TIFF
	MaxMetadata int64 // bytes of EXIF kept in memory; a longer block is passed over
	MaxSpool    int64 // bytes of a TIFF, kept in a temporary file while its directories are read
	MaxSide     int64 // width, and height, of a frame and of the canvas
	MaxVolume   int64 // frames × width × height of an animation of which all frames are decoded; Probe does not mind
}

// DefaultLimits are the limits that Probe uses where it is given none.
var DefaultLimits = Limits{
	MaxPixels:   100_000_000,
	MaxFrames:   10_000,
	MaxMetadata: 256 << 10,
	MaxSpool:    1 << 30,
	MaxSide:     100_000,
	MaxVolume:   500_000_000,
}

// Facts is what Probe found. Width and Height are those of the stored pixels, before Orientation is applied.
type Facts struct {
	Format      Format
	Width       int64
	Height      int64
	Frames      int64  // 1 for a still image; frames of an animation, pages of a TIFF
	Orientation int64  // as EXIF defines it, 1 to 8; 1, upright, where the image does not say
	Camera      string // EXIF make and model, valid UTF-8 of at most 128 bytes; empty where the image does not say
	Artist      string // EXIF, valid UTF-8 of at most 256 bytes, as is Copyright; empty where the image does not say
	Copyright   string
	TakenAt     string // EXIF DateTimeOriginal as 2006-01-02T15:04:05, followed by an offset such as +02:00 if known
}

// probe is one run of Probe.
type probe struct {
	*stream
	memory *io.SectionReader // the whole stream, if it is in memory
	lim    Limits
	facts  Facts
}

// Probe reads r to its end and returns the facts of the image. Bytes that follow the image are tolerated and read.
//
// An error with a code (see CodeOf) is about the image, which will never do; r was then read to where that showed, and
// no further. Any other error is that of the reader itself, as it came, or of the temporary file of a TIFF: the image
// may be good, try again. Broken EXIF is no error; the facts lack what it would have said.
func Probe(r io.Reader, lim Limits) (Facts, error) {
	var memory *io.SectionReader
	if b, ok := r.(*bytes.Reader); ok {
		memory = io.NewSectionReader(b, b.Size()-int64(b.Len()), int64(b.Len()))
	}
	s := newStream(r)
	head, err := s.peek(SniffLen)
	if err != nil {
		return Facts{}, err
	}
	format, ok := Sniff(head)
	if !ok {
		return Facts{}, &Error{Code: CodeUnknownFormat, Err: errors.New("the first bytes are of no known image format")}
	}
	p := &probe{stream: s, memory: memory, lim: lim.orDefault(), facts: Facts{Format: format, Frames: 1, Orientation: 1}}
	if err := p.walk(); err != nil {
		return Facts{}, err
	}
	if err := p.drain(); err != nil {
		return Facts{}, err
	}
	return p.facts, nil
}

func (p *probe) walk() error {
	switch p.facts.Format {
	case JPEG:
		return p.jpeg()
	case PNG:
		return p.png()
	case GIF:
		return p.gif()
	case WebP:
		return p.webp()
	case BMP:
		return p.bmp()
	case TIFF:
		return p.tiff()
	case AVIF, HEIC:
		return p.bmff()
	default:
		return p.jxl()
	}
}

// size takes the dimensions of the image, which must be within the limits.
func (p *probe) size(width, height int64) error {
	if err := checkSize(width, height, p.lim); err != nil {
		return err
	}
	p.facts.Width, p.facts.Height = width, height
	return nil
}

// frames takes the number of frames, which must be within the limits.
func (p *probe) frames(n int64) error {
	if n > p.lim.MaxFrames {
		return fail(CodeTooManyFrames, "the image has more frames than the limit of %s", grouped(p.lim.MaxFrames))
	}
	p.facts.Frames = n
	return nil
}

func (l Limits) orDefault() Limits {
	or := func(v, def int64) int64 {
		if v <= 0 {
			return def
		}
		return v
	}
	return Limits{
		MaxPixels:   or(l.MaxPixels, DefaultLimits.MaxPixels),
		MaxFrames:   or(l.MaxFrames, DefaultLimits.MaxFrames),
		MaxMetadata: or(l.MaxMetadata, DefaultLimits.MaxMetadata),
		MaxSpool:    or(l.MaxSpool, DefaultLimits.MaxSpool),
		MaxSide:     or(l.MaxSide, DefaultLimits.MaxSide),
		MaxVolume:   or(l.MaxVolume, DefaultLimits.MaxVolume),
	}
}
