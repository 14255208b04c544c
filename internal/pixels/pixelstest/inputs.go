package pixelstest

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
)

// photo is a photograph of testdata.
func photo(t testing.TB, name string) []byte {
	t.Helper()
	_, here, _, _ := runtime.Caller(0)
	b, err := os.ReadFile(filepath.Join(filepath.Dir(here), "../../../testdata/photos", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// scene is a picture without a symmetry: slopes, waves and a corner of one colour, all of it smooth, and so little
// changed by the compression.
func scene(w, h int) *image.NRGBA {
	p := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			u, v := float64(x)/float64(w), float64(y)/float64(h)
			c := color.NRGBA{
				clamp(40 + 180*u), clamp(200 - 150*v), clamp(128 + 90*math.Sin(5*u+3*v*v)), 255,
			}
			if u < 0.3 && v < 0.2 {
				c = color.NRGBA{230, 60, 40, 255}
			}
			p.SetNRGBA(x, y, c)
		}
	}
	return p
}

// veiled is a scene whose alpha falls from left to right, with holes of a loud colour that must not bleed out of them.
func veiled(w, h int) *image.NRGBA {
	p := scene(w, h)
	for y := range h {
		for x := range w {
			c := p.NRGBAAt(x, y)
			if c.A = clamp(255 * (1.2 - 1.4*float64(x)/float64(w))); c.A == 0 || x/7%3 == 2 {
				c = color.NRGBA{255, 0, 255, 0}
			}
			p.SetNRGBA(x, y, c)
		}
	}
	return p
}

func jpegOf(t testing.TB, p image.Image, quality int) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, p, &jpeg.Options{Quality: quality}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func pngOf(t testing.TB, p image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, p); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

var palette = color.Palette{
	color.NRGBA{250, 20, 30, 255}, color.NRGBA{20, 240, 40, 255}, color.NRGBA{30, 40, 230, 255}, color.NRGBA{240, 230, 220, 255},
	color.NRGBA{0, 0, 0, 0},
}

// quadrants has the first four colours of the palette in its quarters, the second beginning further on by shift pixels.
func quadrants(w, h, shift int) *image.Paletted {
	p := image.NewPaletted(image.Rect(0, 0, w, h), palette)
	for y := range h {
		for x := range w {
			i := uint8(0)
			if x >= w/2+shift {
				i++
			}
			if y >= h/2 {
				i += 2
			}
			p.SetColorIndex(x, y, i)
		}
	}
	return p
}

// animation is a GIF of three frames, of which the second changes a part only.
func animation(t testing.TB, w, h int) (file []byte, frames []*image.NRGBA) {
	t.Helper()
	first, third := quadrants(w, h, 0), quadrants(w, h, w/4)
	part := image.NewPaletted(image.Rect(w/2, 0, w, h/2), palette)
	for i := range part.Pix {
		part.Pix[i] = 3
	}
	second := quadrants(w, h, 0)
	for y := range h / 2 {
		for x := w / 2; x < w; x++ {
			second.SetColorIndex(x, y, 3)
		}
	}
	var b bytes.Buffer
	err := gif.EncodeAll(&b, &gif.GIF{Image: []*image.Paletted{first, part, third}, Delay: []int{10, 20, 30}, LoopCount: 0})
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), []*image.NRGBA{nrgba(first), nrgba(second), nrgba(third)}
}

// withSegments puts segments after a JPEG's first two bytes.
func withSegments(file []byte, segments ...[]byte) []byte {
	return slices.Concat(file[:2], slices.Concat(segments...), file[2:])
}

func segment(marker byte, content ...byte) []byte {
	b := binary.BigEndian.AppendUint16([]byte{0xff, marker}, uint16(len(content)+2))
	return append(b, content...)
}

func exifSegment(tiff []byte) []byte {
	return segment(0xe1, append([]byte("Exif\x00\x00"), tiff...)...)
}

func profileSegment(profile []byte) []byte {
	return segment(0xe2, append([]byte("ICC_PROFILE\x00\x01\x01"), profile...)...)
}

// exifTIFF is EXIF with an orientation, a camera and a place.
func exifTIFF(orientation int) []byte {
	le := binary.LittleEndian
	b := []byte("II*\x00\x08\x00\x00\x00")
	entry := func(tag, typ uint16, count, value uint32) {
		b = le.AppendUint32(le.AppendUint32(le.AppendUint16(le.AppendUint16(b, tag), typ), count), value)
	}
	b = le.AppendUint16(b, 3)
	entry(0x010f, 2, uint32(len(secret)+1), 50)
	entry(0x0112, 3, 1, uint32(orientation))
	entry(0x8825, 4, 1, uint32(50+len(secret)+1))
	b = le.AppendUint32(b, 0)
	b = append(append(b, secret...), 0)
	b = le.AppendUint16(b, 1)
	entry(1, 2, 2, 'N')
	return le.AppendUint32(b, 0)
}

// secret stands in all metadata of the inputs.
const secret = "Secretographer 3000"

// chunk is a chunk of a PNG.
func chunk(kind string, content []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(content)))
	b = append(append(b, kind...), content...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[4:]))
}

// withChunks puts chunks after a PNG's header.
func withChunks(file []byte, chunks ...[]byte) []byte {
	const header = 8 + 25
	return slices.Concat(file[:header], slices.Concat(chunks...), file[header:])
}

func profileChunk(profile []byte) []byte {
	var b bytes.Buffer
	b.WriteString("Wide\x00\x00")
	z := zlib.NewWriter(&b)
	_, _ = z.Write(profile) // a buffer takes everything
	_ = z.Close()
	return chunk("iCCP", b.Bytes())
}

// withEXIF appends a chunk EXIF to a WebP of the extended format.
func withEXIF(file, tiff []byte) []byte {
	const flags, flagEXIF = 20, 0x08
	out := append(bytes.Clone(file), "EXIF"...)
	out = append(binary.LittleEndian.AppendUint32(out, uint32(len(tiff))), tiff...)
	if len(tiff)%2 == 1 {
		out = append(out, 0)
	}
	out[flags] |= flagEXIF
	binary.LittleEndian.PutUint32(out[4:], uint32(len(out)-8))
	return out
}

// pngOfType writes a PNG of 8 bits a sample and of a colour type that the standard library does not write.
func pngOfType(colourType byte, samples []byte, width int, chunks ...[]byte) []byte {
	stride := width * map[byte]int{0: 1, 2: 3, 4: 2, 6: 4}[colourType]
	var b bytes.Buffer
	z := zlib.NewWriter(&b)
	for row := range slices.Chunk(samples, stride) {
		_, _ = z.Write(append([]byte{0}, row...)) // without a filter; a buffer takes everything
	}
	_ = z.Close()
	header := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, uint32(width)), uint32(len(samples)/stride))
	return slices.Concat([]byte("\x89PNG\r\n\x1a\n"), chunk("IHDR", append(header, 8, colourType, 0, 0, 0)),
		slices.Concat(chunks...), chunk("IDAT", b.Bytes()), chunk("IEND", nil))
}
