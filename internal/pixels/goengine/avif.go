package goengine

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"image"
	_ "unsafe" // for go:linkname

	"github.com/gen2brain/avif"

	"darkroom/internal/pixels"
)

// See webpDynamic.
//
//go:linkname avifDynamic github.com/gen2brain/avif.dynamic
var avifDynamic bool

func init() { avifDynamic = false }

// avifSpeeds are libavif's, from 10 down to 0: faster than its default of 6, since a WebAssembly runtime does the work.
// It has nothing faster than 9.
var avifSpeeds = map[pixels.Effort]int{pixels.Low: 9, pixels.Normal: 9, pixels.High: 6}

// decodeAVIF decodes the first frame.
func decodeAVIF(data []byte, facts pixels.Facts) (*frame, error) {
	c, err := avif.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	if facts.Width < int64(c.Width) || facts.Height < int64(c.Height) {
		return nil, unsupported("AVIF of which a part only is shown is not supported")
	}
	if err := sized("AVIF", c.Width, c.Height, facts); err != nil {
		return nil, err
	}
	m, err := avif.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	f, err := fromImage(m, facts)
	if err != nil {
		return nil, err
	}
	f.profile = parseProfile(avifProfile(data))
	return f, nil
}

// avifProfile returns the ICC profile among the properties of an AVIF's items (ISO/IEC 14496-12, 12.1.5), the first if
// there are several; nil if there is none. The items that make up the picture share theirs.
func avifProfile(data []byte) []byte {
	const version = 4 // and flags, which precede the boxes in meta
	meta := bmffBox(data, "meta")
	if len(meta) < version {
		return nil
	}
	for rest := bmffBox(bmffBox(meta[version:], "iprp"), "ipco"); len(rest) >= 8; {
		kind, body, next := bmffNext(rest)
		if kind == "colr" && len(body) >= 4 && (string(body[:4]) == "prof" || string(body[:4]) == "rICC") {
			return body[4:]
		}
		rest = next
	}
	return nil
}

// bmffBox returns what is in the first box of a kind; nil if there is none.
func bmffBox(b []byte, kind string) []byte {
	for len(b) >= 8 {
		k, body, next := bmffNext(b)
		if k == kind {
			return body
		}
		b = next
	}
	return nil
}

// bmffNext takes the first box off b, which has at least its header. What does not fit ends with b.
func bmffNext(b []byte) (kind string, body, rest []byte) {
	head, size := uint64(8), uint64(binary.BigEndian.Uint32(b))
	if size == 1 && len(b) >= 16 {
		head, size = 16, binary.BigEndian.Uint64(b[8:])
	}
	if size < head || size > uint64(len(b)) { // zero is to the end
		size = uint64(len(b))
	}
	return string(b[4:8]), b[head:size], b[size:]
}

func encodeAVIF(f *frame, quality int, effort pixels.Effort) ([]byte, error) {
	q := min(max(quality, 1), 100)
	o := avif.Options{Quality: q, QualityAlpha: q, Speed: avifSpeeds[cmp.Or(effort, pixels.Normal)], ChromaSubsampling: image.YCbCrSubsampleRatio420}
	var b bytes.Buffer
	err := avif.Encode(&b, f.nrgba(), o)
	return b.Bytes(), err
}
