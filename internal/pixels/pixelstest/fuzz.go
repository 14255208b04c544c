package pixelstest

import (
	"bytes"
	"image"
	"testing"

	"darkroom/internal/pixels"
)

// fuzzLimits keep what the fuzzer comes up with small enough for many tries a second.
var fuzzLimits = pixels.Limits{MaxPixels: 1 << 16, MaxFrames: 8}

// Fuzz decodes, resizes and encodes what the fuzzer makes of a small file of each format that the engine decodes, and of
// further files. Whatever it is, an error must have a code.
func Fuzz(f *testing.F, e pixels.Engine, more ...[]byte) {
	s := suite{e}
	for _, data := range append(s.seeds(f), more...) {
		f.Add(data, uint16(10), true)
	}
	f.Fuzz(func(t *testing.T, data []byte, least uint16, all bool) {
		facts, err := pixels.Probe(bytes.NewReader(data), fuzzLimits)
		if err != nil {
			return
		}
		opts := pixels.DecodeOptions{AtLeast: image.Pt(int(least), int(least)), AllFrames: all}
		if err := s.derive(data, facts, opts); err != nil && pixels.CodeOf(err) == "" {
			t.Errorf("an error without a code: %v", err)
		}
	})
}

// seeds are small files, still and animated.
func (s suite) seeds(f *testing.F) (files [][]byte) {
	for format, data := range map[pixels.Format][]byte{
		pixels.HEIC: heicFile, pixels.AVIF: avifFile, pixels.JXL: jxlFile, pixels.TIFF: tiffFile,
	} {
		if s.decodes(format) {
			files = append(files, data)
		}
	}
	turned := withSegments(jpegOf(f, scene(24, 18), 80), exifSegment(exifTIFF(6)), profileSegment(p3Profile()))
	animated, _ := animation(f, 24, 18)
	p := s.open(f, animated, pixels.DecodeOptions{AllFrames: true})
	for _, format := range s.Info().Encodes {
		opts := pixels.EncodeOptions{Format: format, Quality: 80}
		files = append(files, encode(f, p, opts))
		opts.Animate = true
		files = append(files, encode(f, p, opts))
	}
	return append(files, turned, animated)
}

// derive decodes an image and makes a small one of it in each format that is soon encoded.
func (s suite) derive(data []byte, facts pixels.Facts, opts pixels.DecodeOptions) error {
	p, err := s.Decode(data, facts, opts)
	if err != nil {
		return err
	}
	defer p.Close()
	q, err := p.Resize(all(p), image.Pt(7, 5))
	if err != nil {
		return err
	}
	defer q.Close()
	for _, format := range []pixels.Format{pixels.JPEG, pixels.PNG, pixels.GIF} {
		if !s.encodes(format) {
			continue
		}
		if _, err := q.Encode(pixels.EncodeOptions{Format: format, Quality: 80, Animate: true}); err != nil {
			return err
		}
	}
	return nil
}
