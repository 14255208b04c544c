package goengine

import (
	"bytes"
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

// avifSpeed is libavif's trade of time for bytes: faster than its default, since a WebAssembly runtime does the work.
const avifSpeed = 9

// decodeAVIF decodes the first frame.
func decodeAVIF(data []byte, facts pixels.Facts) (*frame, error) {
	c, err := avif.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	if err := sized("AVIF", c.Width, c.Height, facts); err != nil {
		return nil, err
	}
	m, err := avif.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	return fromImage(m, facts)
}

func encodeAVIF(f *frame, quality int) ([]byte, error) {
	q := min(max(quality, 1), 100)
	o := avif.Options{Quality: q, QualityAlpha: q, Speed: avifSpeed, ChromaSubsampling: image.YCbCrSubsampleRatio420}
	var b bytes.Buffer
	err := avif.Encode(&b, f.nrgba(), o)
	return b.Bytes(), err
}
