package goengine_test

import (
	"bytes"
	"image"
	"image/jpeg"
	"os"
	"testing"

	"golang.org/x/image/draw"

	"darkroom/internal/pixels"
	"darkroom/internal/pixels/goengine"
)

// photo20MP is a photograph, enlarged to 5472×3648 pixels with some grain, as a JPEG.
func photo20MP(b *testing.B) []byte {
	b.Helper()
	if file := os.Getenv("DARKROOM_BENCH_PHOTO"); file != "" {
		data, err := os.ReadFile(file)
		if err != nil {
			b.Fatal(err)
		}
		return data
	}
	data, err := os.ReadFile("../../../testdata/photos/picosdeeuropa.jpg")
	if err != nil {
		b.Fatal(err)
	}
	small, err := jpeg.Decode(bytes.NewReader(data))
	if err != nil {
		b.Fatal(err)
	}
	large := image.NewRGBA(image.Rect(0, 0, 5472, 3648))
	draw.CatmullRom.Scale(large, large.Rect, small, small.Bounds(), draw.Src, nil)
	seed := uint32(1)
	for i := range large.Pix {
		seed = seed*1664525 + 1013904223
		large.Pix[i] = byte(min(max(int(large.Pix[i])+int(seed>>29)-4, 0), 255))
	}
	var file bytes.Buffer
	if err := jpeg.Encode(&file, large, &jpeg.Options{Quality: 88}); err != nil {
		b.Fatal(err)
	}
	return file.Bytes()
}

var pyramidWidths = []int{1600, 800, 400, 200, 100}

func BenchmarkPyramid20MP(b *testing.B) {
	data := photo20MP(b)
	facts, err := pixels.Probe(bytes.NewReader(data), pixels.Limits{})
	if err != nil {
		b.Fatal(err)
	}
	size := func(w int) image.Point { return image.Pt(w, int((facts.Height*int64(w)+facts.Width/2)/facts.Width)) }
	e := goengine.New()
	b.Run("decode", func(b *testing.B) {
		for b.Loop() {
			p, err := e.Decode(data, facts, pixels.DecodeOptions{AtLeast: size(1600)})
			if err != nil {
				b.Fatal(err)
			}
			p.Close()
		}
	})
	source, err := e.Decode(data, facts, pixels.DecodeOptions{AtLeast: size(1600)})
	if err != nil {
		b.Fatal(err)
	}
	var sizes []pixels.Picture
	b.Run("resize", func(b *testing.B) {
		for b.Loop() {
			sizes = sizes[:0]
			from := source
			for _, w := range pyramidWidths {
				p, err := from.Resize(image.Rectangle{Max: from.Size()}, size(w))
				if err != nil {
					b.Fatal(err)
				}
				sizes, from = append(sizes, p), p
			}
		}
	})
	for _, f := range []pixels.Format{pixels.JPEG, pixels.WebP, pixels.AVIF} {
		b.Run("encode-"+string(f), func(b *testing.B) {
			for b.Loop() {
				for _, p := range sizes {
					if _, err := p.Encode(pixels.EncodeOptions{Format: f, Quality: 80}); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
	b.Run("all", func(b *testing.B) {
		for b.Loop() {
			from, err := e.Decode(data, facts, pixels.DecodeOptions{AtLeast: size(1600)})
			if err != nil {
				b.Fatal(err)
			}
			for _, w := range pyramidWidths {
				p, err := from.Resize(image.Rectangle{Max: from.Size()}, size(w))
				if err != nil {
					b.Fatal(err)
				}
				if _, err := p.Encode(pixels.EncodeOptions{Format: pixels.JPEG, Quality: 80}); err != nil {
					b.Fatal(err)
				}
				from = p
			}
		}
	})
}
