package pixels

import (
	"bytes"
	"encoding/binary"
)

// The markers of JPEG (ITU-T T.81, table B.1) that matter here, without their 0xff.
const (
	jpegSOI  = 0xd8
	jpegEOI  = 0xd9
	jpegSOS  = 0xda
	jpegDHP  = 0xde
	jpegAPP1 = 0xe1
	jpegTEM  = 0x01
)

var exifPrefix = []byte("Exif\x00\x00")

// jpeg walks the markers through every scan to the end of the image. What follows it, such as the other pictures of a
// multi-picture file or the video of a motion photo, is not looked at.
func (p *probe) jpeg() error {
	if err := p.skip(2); err != nil {
		return err
	}
	var sized, scanned, described bool
	for {
		m, err := p.jpegMarker()
		if err != nil {
			return err
		}
		switch {
		case m == jpegEOI:
			if !scanned {
				return malformed("the JPEG ends without a scan")
			}
			return nil
		case m == jpegTEM || m >= 0xd0 && m <= 0xd7: // restart markers and TEM stand alone
			continue
		case m == jpegSOI:
			return malformed("the JPEG starts anew before its end")
		case m == jpegSOS && !sized:
			return malformed("a scan precedes the JPEG's frame header")
		case m == jpegSOS:
			scanned = true
			err = p.jpegSkip()
		case jpegFrameHeader(m) && sized:
			return malformed("the JPEG has two frame headers")
		case jpegFrameHeader(m):
			sized = true
			err = p.jpegFrame(m)
		case m == jpegAPP1 && !described:
			described, err = p.jpegAPP1()
		default:
			err = p.jpegSkip()
		}
		if err != nil {
			return err
		}
	}
}

// jpegMarker reads to the next marker. Between markers it passes over entropy-coded data with its stuffed zeros, over
// fill bytes, and over stray bytes between segments, as libjpeg does.
func (p *probe) jpegMarker() (byte, error) {
	for {
		if err := p.skipThrough(0xff); err != nil {
			return 0, err
		}
		m := byte(0xff)
		for m == 0xff {
			var err error
			if m, err = p.byte(); err != nil {
				return 0, err
			}
		}
		if m != 0 {
			return m, nil
		}
	}
}

// jpegFrameHeader tells the markers that carry dimensions: SOF0 to SOF15 and DHP, without DHT, JPG and DAC.
func jpegFrameHeader(m byte) bool {
	return m >= 0xc0 && m <= 0xcf && m != 0xc4 && m != 0xc8 && m != 0xcc || m == jpegDHP
}

func (p *probe) jpegFrame(m byte) error {
	if m == jpegDHP || m&7 >= 5 {
		return fail(CodeUnsupportedFormat, "hierarchical JPEG is not supported")
	}
	n, err := p.jpegSegment()
	if err != nil {
		return err
	}
	var h [6]byte
	if n < int64(len(h)) {
		return malformed("the JPEG's frame header has %d bytes", n)
	}
	if err := p.fill(h[:]); err != nil {
		return err
	}
	components := int64(h[5])
	if components < 1 || components > 4 || n != 6+3*components {
		return malformed("the JPEG's frame header has %d bytes for %d components", n, components)
	}
	// A height of zero, to be told by a later DNL marker, is refused with the other zeros, as common decoders do.
	width, height := int64(binary.BigEndian.Uint16(h[3:])), int64(binary.BigEndian.Uint16(h[1:]))
	if err := p.size(width, height); err != nil {
		return err
	}
	return p.skip(3 * components)
}

// jpegAPP1 takes EXIF and reports whether the segment was EXIF; XMP uses the same marker.
func (p *probe) jpegAPP1() (bool, error) {
	n, err := p.jpegSegment()
	if err != nil {
		return false, err
	}
	if n > p.lim.MaxMetadata {
		return false, p.skip(n)
	}
	b := make([]byte, n)
	if err := p.fill(b); err != nil {
		return false, err
	}
	if !bytes.HasPrefix(b, exifPrefix) {
		return false, nil
	}
	p.exif(bytes.NewReader(b[len(exifPrefix):]))
	return true, nil
}

// jpegSegment reads a segment's length and returns how many bytes follow.
func (p *probe) jpegSegment() (int64, error) {
	var b [2]byte
	if err := p.fill(b[:]); err != nil {
		return 0, err
	}
	n := int64(binary.BigEndian.Uint16(b[:]))
	if n < 2 {
		return 0, malformed("a JPEG segment claims a length of %d", n)
	}
	return n - 2, nil
}

func (p *probe) jpegSkip() error {
	n, err := p.jpegSegment()
	if err != nil {
		return err
	}
	return p.skip(n)
}
