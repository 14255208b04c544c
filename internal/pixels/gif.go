package pixels

import "encoding/binary"

// The block introducers of GIF (GIF89a specification, appendix A).
const (
	gifExtension = 0x21
	gifImage     = 0x2c
	gifTrailer   = 0x3b
)

// gif walks the blocks to the trailer and counts the images. Browsers show a GIF whose trailer is missing; here it is
// truncated, since nothing else tells an animation that was cut between two frames.
func (p *probe) gif() error {
	var h [13]byte
	if err := p.fill(h[:]); err != nil {
		return err
	}
	if err := p.size(int64(binary.LittleEndian.Uint16(h[6:])), int64(binary.LittleEndian.Uint16(h[8:]))); err != nil {
		return err
	}
	if err := p.skip(gifTableLen(h[10])); err != nil {
		return err
	}
	var images int64
	for {
		c, err := p.byte()
		if err != nil {
			return err
		}
		switch c {
		case gifTrailer:
			if images == 0 {
				return malformed("the GIF ends without an image")
			}
			return nil
		case gifExtension:
			if err := p.skip(1); err != nil { // the extension's label
				return err
			}
			err = p.gifSubBlocks()
		case gifImage:
			images++
			if err := p.frames(images); err != nil {
				return err
			}
			err = p.gifImage()
		default:
			return malformed("the GIF has an unknown block %#02x", c)
		}
		if err != nil {
			return err
		}
	}
}

// gifImage reads an image: descriptor, colour table, data. Its place may lie outside the screen, as browsers allow, but
// it may not be larger than the limit.
func (p *probe) gifImage() error {
	var d [9]byte
	if err := p.fill(d[:]); err != nil {
		return err
	}
	width, height := int64(binary.LittleEndian.Uint16(d[4:])), int64(binary.LittleEndian.Uint16(d[6:]))
	if err := checkSize(width, height, p.lim); err != nil {
		return err
	}
	if err := p.skip(gifTableLen(d[8])); err != nil {
		return err
	}
	codeSize, err := p.byte()
	if err != nil {
		return err
	}
	if codeSize < 1 || codeSize > 11 { // codes have up to 12 bits
		return malformed("the GIF has an LZW code size of %d", codeSize)
	}
	return p.gifSubBlocks()
}

// gifTableLen is the length of the colour table that the packed field of a descriptor announces.
func gifTableLen(packed byte) int64 {
	if packed&0x80 == 0 {
		return 0
	}
	return 3 << (packed&7 + 1)
}

func (p *probe) gifSubBlocks() error {
	for {
		n, err := p.byte()
		if err != nil || n == 0 {
			return err
		}
		if err := p.skip(int64(n)); err != nil {
			return err
		}
	}
}
