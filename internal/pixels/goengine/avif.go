package goengine

import (
	"bytes"
	"cmp"
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
func avifProfile(data []byte) (profile []byte) {
	const version = 4 // and flags, which precede the boxes in meta
	meta := firstBox(data, "meta")
	if len(meta) < version {
		return nil
	}
	_ = pixels.EachBox(firstBox(firstBox(meta[version:], "iprp"), "ipco"), func(kind string, b []byte) error {
		if profile == nil && kind == "colr" && len(b) >= 4 && (string(b[:4]) == "prof" || string(b[:4]) == "rICC") {
			profile = b[4:]
		}
		return nil
	})
	return profile
}

// firstBox returns what is in the first box of a kind; nil if there is none. Boxes that do not fit are Probe's to refuse.
func firstBox(b []byte, kind string) (body []byte) {
	_ = pixels.EachBox(b, func(k string, in []byte) error {
		if body == nil && k == kind {
			body = in
		}
		return nil
	})
	return body
}

func encodeAVIF(f *frame, quality int, effort pixels.Effort) ([]byte, error) {
	q := min(max(quality, 1), 100)
	o := avif.Options{Quality: q, QualityAlpha: q, Speed: avifSpeeds[cmp.Or(effort, pixels.Normal)], ChromaSubsampling: image.YCbCrSubsampleRatio420}
	var b bytes.Buffer
	err := avif.Encode(&b, f.nrgba(), o)
	return b.Bytes(), err
}
