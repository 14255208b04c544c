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
	if err := sized("AVIF", c.Width, c.Height, facts); err != nil {
		return nil, err
	}
	m, err := avif.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	return fromImage(m, facts)
}

func encodeAVIF(f *frame, quality int, effort pixels.Effort) ([]byte, error) {
	q := min(max(quality, 1), 100)
	o := avif.Options{Quality: q, QualityAlpha: q, Speed: avifSpeeds[cmp.Or(effort, pixels.Normal)], ChromaSubsampling: image.YCbCrSubsampleRatio420}
	var b bytes.Buffer
	err := avif.Encode(&b, f.nrgba(), o)
	return b.Bytes(), err
}
