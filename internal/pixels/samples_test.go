package pixels_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color/palette" //nolint:misspell // its name
	"image/gif"
	"image/jpeg"
	"image/png"
	"maps"
	"slices"
	"strings"
	"testing"

	"golang.org/x/image/bmp"
	"golang.org/x/image/tiff"

	"darkroom/internal/pixels"
)

var (
	le = binary.LittleEndian
	be = binary.BigEndian
)

// picture has some content, so that its encodings are not trivial.
func picture(width, height int) *image.Paletted {
	m := image.NewPaletted(image.Rect(0, 0, width, height), palette.Plan9)
	for i := range m.Pix {
		m.Pix[i] = byte(i * i / 7)
	}
	return m
}

func encoded(t testing.TB, encode func(*bytes.Buffer) error) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := encode(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func jpegOf(t testing.TB, m image.Image) []byte {
	return encoded(t, func(b *bytes.Buffer) error { return jpeg.Encode(b, m, nil) })
}

func pngOf(t testing.TB, m image.Image) []byte {
	return encoded(t, func(b *bytes.Buffer) error { return png.Encode(b, m) })
}

func gifOf(t testing.TB, frames int) []byte {
	g := &gif.GIF{}
	for range frames {
		g.Image, g.Delay = append(g.Image, picture(20, 11)), append(g.Delay, 5)
	}
	return encoded(t, func(b *bytes.Buffer) error { return gif.EncodeAll(b, g) })
}

func bmpOf(t testing.TB, m image.Image) []byte {
	return encoded(t, func(b *bytes.Buffer) error { return bmp.Encode(b, m) })
}

func tiffOf(t testing.TB, m image.Image, c tiff.CompressionType) []byte {
	return encoded(t, func(b *bytes.Buffer) error { return tiff.Encode(b, m, &tiff.Options{Compression: c}) })
}

// tag is an entry of a TIFF directory: value is a string, or a number of 16 or 32 bits, or several of 32 bits.
type tag struct {
	id    uint16
	value any
}

// directory writes a directory that begins at base, followed by the values that do not fit into its entries.
func directory(order binary.AppendByteOrder, base, next uint32, tags ...tag) []byte {
	d := order.AppendUint16(nil, uint16(len(tags)))
	beyond := base + uint32(2+12*len(tags)+4)
	var values []byte
	for _, t := range tags {
		var typ uint16
		var count int
		var v []byte
		switch x := t.value.(type) {
		case string:
			typ, count, v = 2, len(x), []byte(x)
		case uint16:
			typ, count, v = 3, 1, order.AppendUint16(nil, x)
		case uint32:
			typ, count, v = 4, 1, order.AppendUint32(nil, x)
		case []uint32:
			typ, count = 4, len(x)
			for _, n := range x {
				v = order.AppendUint32(v, n)
			}
		}
		d = order.AppendUint16(d, t.id)
		d = order.AppendUint16(d, typ)
		d = order.AppendUint32(d, uint32(count))
		if len(v) > 4 {
			d = order.AppendUint32(d, beyond)
			beyond += uint32(len(v))
			values = append(values, v...)
		} else {
			d = append(d, append(v, 0, 0, 0, 0)[:4]...)
		}
	}
	return append(order.AppendUint32(d, next), values...)
}

func tiffHeader(order binary.AppendByteOrder) []byte {
	mark := "II"
	if order.AppendUint16(nil, 1)[0] == 0 {
		mark = "MM"
	}
	return order.AppendUint32(order.AppendUint16([]byte(mark), 42), 8)
}

// exifOf is a block of EXIF with these tags in its main directory and in its Exif directory.
func exifOf(order binary.AppendByteOrder, main []tag, exif ...tag) []byte {
	const pointer = 0x8769
	size := len(directory(order, 8, 0, append(slices.Clone(main), tag{pointer, uint32(0)})...))
	b := tiffHeader(order)
	b = append(b, directory(order, 8, 0, append(slices.Clone(main), tag{pointer, uint32(8 + size)})...)...)
	return append(b, directory(order, uint32(len(b)), 0, exif...)...)
}

const (
	tagMake, tagModel, tagOrientation = 0x10f, 0x110, 0x112
	tagTaken, tagOffset               = 0x9003, 0x9011
)

var sampleExif = exifOf(be,
	[]tag{{tagMake, "Canon\x00"}, {tagModel, "Canon EOS 5D\x00"}, {tagOrientation, uint16(6)}},
	tag{tagTaken, "2018:07:14 18:21:05\x00"}, tag{tagOffset, "+02:00\x00"})

// jpegSegment is a marker with its content.
func jpegSegment(marker byte, content []byte) []byte {
	return append(be.AppendUint16([]byte{0xff, marker}, uint16(len(content)+2)), content...)
}

// jpegWith inserts a segment after a JPEG's start.
func jpegWith(b []byte, marker byte, content []byte) []byte {
	return slices.Insert(slices.Clone(b), 2, jpegSegment(marker, content)...)
}

func jpegExif(b, exif []byte) []byte {
	return jpegWith(b, 0xe1, append([]byte("Exif\x00\x00"), exif...))
}

func pngChunk(kind string, content []byte) []byte {
	b := append(be.AppendUint32(nil, uint32(len(content))), kind...)
	b = append(b, content...)
	return be.AppendUint32(b, crc32.ChecksumIEEE(b[4:]))
}

const afterIHDR = 8 + 8 + 13 + 4

func pngWith(b []byte, kind string, content []byte) []byte {
	return slices.Insert(slices.Clone(b), afterIHDR, pngChunk(kind, content)...)
}

func pngHeader(width, height uint32) []byte {
	content := append(be.AppendUint32(be.AppendUint32(nil, width), height), 8, 2, 0, 0, 0)
	return append([]byte("\x89PNG\r\n\x1a\n"), pngChunk("IHDR", content)...)
}

// animatedPNG has two frames besides.
func animatedPNG(t testing.TB) []byte {
	b := pngOf(t, picture(9, 5))
	end := len(b) - 12
	b = slices.Insert(b, end, slices.Concat(pngChunk("fcTL", make([]byte, 26)), pngChunk("fdAT", []byte("pixels")))...)
	return pngWith(b, "acTL", be.AppendUint32(be.AppendUint32(nil, 2), 0))
}

func riffChunk(kind string, content ...[]byte) []byte {
	c := slices.Concat(content...)
	b := append(le.AppendUint32([]byte(kind), uint32(len(c))), c...)
	if len(c)%2 == 1 {
		b = append(b, 0)
	}
	return b
}

func webpOf(chunks ...[]byte) []byte {
	return riffChunk("RIFF", []byte("WEBP"), slices.Concat(chunks...))
}

func uint24(n int) []byte { return []byte{byte(n), byte(n >> 8), byte(n >> 16)} }

func vp8(width, height int) []byte {
	b := le.AppendUint16([]byte{0x10, 0, 0, 0x9d, 0x01, 0x2a}, uint16(width))
	return riffChunk("VP8 ", le.AppendUint16(b, uint16(height)), []byte("some pixels"))
}

func vp8l(width, height int) []byte {
	return riffChunk("VP8L", le.AppendUint32([]byte{0x2f}, uint32(width-1|(height-1)<<14)), []byte("some pixels"))
}

func vp8x(flags byte, width, height int) []byte {
	return riffChunk("VP8X", []byte{flags, 0, 0, 0}, uint24(width-1), uint24(height-1))
}

func anmf(width, height int, image []byte) []byte {
	return riffChunk("ANMF", make([]byte, 6), uint24(width-1), uint24(height-1), make([]byte, 4), image)
}

func bmpHeader(width, height int32, depth uint16, compression, stored uint32) []byte {
	b := append([]byte("BM"), make([]byte, 8)...)
	b = le.AppendUint32(le.AppendUint32(b, 14+40), 40)
	b = le.AppendUint32(le.AppendUint32(b, uint32(width)), uint32(height))
	b = le.AppendUint16(le.AppendUint16(b, 1), depth)
	b = le.AppendUint32(le.AppendUint32(b, compression), stored)
	return append(b, make([]byte, 16)...)
}

// coreBMP has the header of OS/2 1 and 24 bits a pixel.
func coreBMP(width, height uint16) []byte {
	b := append([]byte("BM"), make([]byte, 8)...)
	b = le.AppendUint32(le.AppendUint32(b, 14+12), 12)
	b = le.AppendUint16(le.AppendUint16(b, width), height)
	b = le.AppendUint16(le.AppendUint16(b, 1), 24)
	return append(b, make([]byte, (int(width)*24+31)/32*4*int(height))...)
}

// page has the tags of a page of grey pixels in one strip.
func page(subfile, width, height, at uint32, more ...tag) []tag {
	return append([]tag{
		{254, subfile}, {256, width}, {257, height}, {258, uint16(8)}, {273, at}, {279, width * height},
	}, more...)
}

// pagedTIFF has three directories: a page with EXIF, its thumbnail, another page. The pixels lie before them.
func pagedTIFF(order binary.AppendByteOrder) []byte {
	b := append(tiffHeader(order), make([]byte, 12*7)...)
	order.(binary.ByteOrder).PutUint32(b[4:], uint32(len(b)))
	add := func(last bool, tags []tag) {
		at := uint32(len(b))
		next := at + uint32(len(directory(order, at, 0, tags...)))
		if last {
			next = 0
		}
		b = append(b, directory(order, at, next, tags...)...)
	}
	// Tags of the first page in ascending order, with its Exif directory between.
	add(false, []tag{
		{256, uint32(12)}, {257, uint32(7)}, {tagMake, "ACME\x00"}, {tagModel, "Box\x00"}, {273, []uint32{8, 50}},
		{tagOrientation, uint16(3)}, {279, []uint32{42, 42}}, {0x8769, uint32(0)},
	})
	add(false, page(1, 3, 2, 8))
	add(true, page(2, 4, 4, 8))
	return b
}

// samples are small files with their facts.
func samples(t testing.TB) map[string]sample {
	m := picture(20, 11)
	grey := image.NewGray(m.Rect)
	rgba := image.NewRGBA(m.Rect)
	rgba.Pix[7] = 9
	plain := func(f pixels.Format) pixels.Facts {
		return pixels.Facts{Format: f, Width: 20, Height: 11, Frames: 1, Orientation: 1}
	}
	canon := func(f pixels.Format) pixels.Facts {
		x := plain(f)
		x.Orientation, x.Camera, x.TakenAt = 6, "Canon EOS 5D", "2018-07-14T18:21:05+02:00"
		return x
	}
	frames := func(x pixels.Facts, n int64) pixels.Facts {
		x.Frames = n
		return x
	}
	paged := pixels.Facts{Format: pixels.TIFF, Width: 12, Height: 7, Frames: 2, Orientation: 3, Camera: "ACME Box"}
	xmp := []byte("http://ns.adobe.com/xap/1.0/\x00<x/>")
	topDown := append(bmpHeader(20, -11, 24, 0, 0), make([]byte, 3*20*11)...)
	all := map[string]sample{
		"jpeg":          {jpegOf(t, m), plain(pixels.JPEG)},
		"jpeg grey":     {jpegOf(t, grey), plain(pixels.JPEG)},
		"jpeg exif":     {jpegExif(jpegOf(t, m), sampleExif), canon(pixels.JPEG)},
		"jpeg xmp exif": {jpegWith(jpegExif(jpegOf(t, m), sampleExif), 0xe1, xmp), canon(pixels.JPEG)},
		"png palette":   {pngOf(t, m), plain(pixels.PNG)},
		"png grey":      {pngOf(t, grey), plain(pixels.PNG)},
		"png exif":      {pngWith(pngOf(t, rgba), "eXIf", sampleExif), canon(pixels.PNG)},
		"png animated":  {animatedPNG(t), pixels.Facts{Format: pixels.PNG, Width: 9, Height: 5, Frames: 2, Orientation: 1}},
		"gif":           {gifOf(t, 1), plain(pixels.GIF)},
		"gif animated":  {gifOf(t, 3), frames(plain(pixels.GIF), 3)},
		"gif 87a":       {[]byte(strings.Replace(string(gifOf(t, 1)), "GIF89a", "GIF87a", 1)), plain(pixels.GIF)},
		"bmp palette":   {bmpOf(t, m), plain(pixels.BMP)},
		"bmp rgba":      {bmpOf(t, rgba), plain(pixels.BMP)},
		"bmp top down":  {topDown, plain(pixels.BMP)},
		"bmp core":      {coreBMP(20, 11), plain(pixels.BMP)},
		"bmp rle":       {append(bmpHeader(20, 11, 8, 1, 9), "012345678"...), plain(pixels.BMP)},
		"tiff":          {tiffOf(t, m, tiff.Uncompressed), plain(pixels.TIFF)},
		"tiff deflate":  {tiffOf(t, rgba, tiff.Deflate), plain(pixels.TIFF)},
		"tiff pages":    {pagedTIFF(le), paged},
		"tiff pages be": {pagedTIFF(be), paged},
		"webp":          {webpOf(vp8(20, 11)), plain(pixels.WebP)},
		"webp lossless": {webpOf(vp8l(20, 11)), plain(pixels.WebP)},
		"webp exif": {
			webpOf(vp8x(0x08, 20, 11), riffChunk("ICCP", []byte("odd")), vp8(20, 11), riffChunk("EXIF", sampleExif)),
			canon(pixels.WebP),
		},
		"webp exif prefixed": {
			webpOf(vp8x(0x08, 20, 11), vp8l(20, 11), riffChunk("EXIF", []byte("Exif\x00\x00"), sampleExif)),
			canon(pixels.WebP),
		},
		"webp animated": {
			webpOf(vp8x(0x02, 20, 11), riffChunk("ANIM", make([]byte, 6)), anmf(20, 11, vp8(20, 11)),
				anmf(8, 4, slices.Concat(riffChunk("ALPH", []byte("abc")), vp8(8, 4)))),
			frames(plain(pixels.WebP), 2),
		},
	}
	maps.Copy(all, boxedSamples())
	return all
}

type sample struct {
	data  []byte
	facts pixels.Facts
}
