package pixels

import (
	"bytes"
	"encoding/binary"
)

const webpAnimated = 0x02 // flag of VP8X

// riffChunk is the header of a chunk whose content is to be read next: length bytes and, after them, pad bytes.
type riffChunk struct {
	kind        string
	length, pad int64
}

// webpWalk is what has been seen of an extended WebP (RFC 9649).
type webpWalk struct {
	*probe
	animated, pictured, described bool
	images                        int64
}

// webp walks the chunks of the RIFF container. What follows the container is not looked at.
func (p *probe) webp() error {
	var h [12]byte
	if err := p.fill(h[:]); err != nil {
		return err
	}
	left := int64(binary.LittleEndian.Uint32(h[4:])) - 4
	c, err := p.riffChunk(&left)
	if err != nil {
		return err
	}
	w := webpWalk{probe: p}
	switch c.kind {
	case "VP8X":
		err = w.extended(c)
	case "VP8 ", "VP8L":
		w.pictured = true
		var width, height int64
		if width, height, err = p.webpImage(&c); err == nil {
			if err = p.size(width, height); err == nil {
				err = p.skip(c.length + c.pad)
			}
		}
	default:
		return malformed("the WebP begins with a chunk %q", c.kind)
	}
	if err != nil {
		return err
	}
	for left >= 8 {
		if c, err = p.riffChunk(&left); err != nil {
			return err
		}
		if err = w.chunk(c); err != nil {
			return err
		}
	}
	if !w.pictured && w.images == 0 {
		return malformed("the WebP ends without an image")
	}
	return p.skip(left)
}

// extended reads VP8X.
func (w *webpWalk) extended(c riffChunk) error {
	var b [10]byte
	if c.length < int64(len(b)) {
		return malformed("the WebP's header has %d bytes", c.length)
	}
	if err := w.fill(b[:]); err != nil {
		return err
	}
	w.animated = b[0]&webpAnimated != 0
	if err := w.size(uint24(b[4:])+1, uint24(b[7:])+1); err != nil {
		return err
	}
	return w.skip(c.length - int64(len(b)) + c.pad)
}

// chunk reads one of the chunks after the first.
func (w *webpWalk) chunk(c riffChunk) error {
	switch {
	case c.kind == "ANMF" && w.animated:
		w.images++
		if err := w.frames(w.images); err != nil {
			return err
		}
		return w.frame(c)
	case (c.kind == "VP8 " || c.kind == "VP8L") && !w.animated && !w.pictured:
		w.pictured = true
		return w.picture(c, w.facts.Width, w.facts.Height)
	case c.kind == "EXIF" && !w.described && c.length <= w.lim.MaxMetadata:
		w.described = true
		b := make([]byte, c.length)
		if err := w.fill(b); err != nil {
			return err
		}
		// Some writers keep the prefix that the block has in a JPEG.
		w.exif(bytes.NewReader(bytes.TrimPrefix(b, exifPrefix)))
		return w.skip(c.pad)
	}
	return w.skip(c.length + c.pad)
}

// frame reads a frame of an animation: its place, then chunks of which one must be its image.
func (w *webpWalk) frame(c riffChunk) error {
	var b [16]byte
	if c.length < int64(len(b)) {
		return malformed("a frame of the WebP has %d bytes", c.length)
	}
	if err := w.fill(b[:]); err != nil {
		return err
	}
	x, y, width, height := 2*uint24(b[:]), 2*uint24(b[3:]), uint24(b[6:])+1, uint24(b[9:])+1
	if x+width > w.facts.Width || y+height > w.facts.Height {
		return malformed("a frame of the WebP lies outside its canvas")
	}
	left, found := c.length-int64(len(b)), false
	for left >= 8 {
		sub, err := w.riffChunk(&left)
		if err != nil {
			return err
		}
		if (sub.kind == "VP8 " || sub.kind == "VP8L") && !found {
			found = true
			err = w.picture(sub, width, height)
		} else {
			err = w.skip(sub.length + sub.pad)
		}
		if err != nil {
			return err
		}
	}
	if !found {
		return malformed("a frame of the WebP has no image")
	}
	return w.skip(left + c.pad)
}

// picture reads an image, which must have the given dimensions.
func (w *webpWalk) picture(c riffChunk, width, height int64) error {
	iw, ih, err := w.webpImage(&c)
	if err != nil {
		return err
	}
	if iw != width || ih != height {
		return malformed("the WebP has an image of %d×%d pixels in a frame of %d×%d", iw, ih, width, height)
	}
	return w.skip(c.length + c.pad)
}

// webpImage reads the dimensions at the start of a VP8 (RFC 6386, 9.1) or VP8L (RFC 9649, 3.4) image, and takes the
// bytes that it has read from the chunk's length.
func (p *probe) webpImage(c *riffChunk) (width, height int64, err error) {
	var b [10]byte
	n := int64(10)
	if c.kind == "VP8L" {
		n = 5
	}
	if c.length < n {
		return 0, 0, malformed("the WebP has an image of %d bytes", c.length)
	}
	if err := p.fill(b[:n]); err != nil {
		return 0, 0, err
	}
	c.length -= n
	if c.kind == "VP8L" {
		v := binary.LittleEndian.Uint32(b[1:])
		if b[0] != 0x2f || v>>29 != 0 {
			return 0, 0, malformed("the WebP's lossless image has no valid header")
		}
		return int64(v&0x3fff) + 1, int64(v>>14&0x3fff) + 1, nil
	}
	if b[0]&1 != 0 || string(b[3:6]) != "\x9d\x01\x2a" {
		return 0, 0, malformed("the WebP's image is no key frame")
	}
	return int64(binary.LittleEndian.Uint16(b[6:]) & 0x3fff), int64(binary.LittleEndian.Uint16(b[8:]) & 0x3fff), nil
}

// riffChunk reads the header of the next chunk and takes the whole chunk from left, the bytes its container has left.
func (p *probe) riffChunk(left *int64) (riffChunk, error) {
	if *left < 8 {
		return riffChunk{}, malformed("the WebP's container has no room for its chunks")
	}
	var h [8]byte
	if err := p.fill(h[:]); err != nil {
		return riffChunk{}, err
	}
	c := riffChunk{kind: string(h[:4]), length: int64(binary.LittleEndian.Uint32(h[4:]))}
	if *left -= 8; c.length > *left {
		return riffChunk{}, malformed("the WebP's chunk %q is longer than its container", c.kind)
	}
	*left -= c.length
	if c.length%2 == 1 && *left > 0 { // some writers leave out the last chunk's padding
		c.pad = 1
		*left--
	}
	return c, nil
}

func uint24(b []byte) int64 { return int64(b[0]) | int64(b[1])<<8 | int64(b[2])<<16 }
