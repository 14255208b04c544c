package pixels_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"image"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	_ "golang.org/x/image/webp" // the standard formats, BMP and TIFF are registered by the encoders of samples

	"darkroom/internal/pixels"
)

const photos = "../../testdata/photos"

// probe is Probe with the default limits over bytes.
func probe(b []byte) (pixels.Facts, error) { return pixels.Probe(bytes.NewReader(b), pixels.Limits{}) }

// oracle compares with what the decoders say.
func oracle(t *testing.T, b []byte, got pixels.Facts) {
	t.Helper()
	c, format, err := image.DecodeConfig(bytes.NewReader(b))
	if err != nil {
		t.Fatalf("oracle: %v", err)
	}
	if string(got.Format) != format || got.Width != int64(c.Width) || got.Height != int64(c.Height) {
		t.Errorf("%+v, but the decoder says %s %d×%d", got, format, c.Width, c.Height)
	}
}

func TestPhotographs(t *testing.T) {
	want := map[string]pixels.Facts{
		"aitzgorri.jpg": {Format: "jpeg", Width: 1024, Height: 682, Frames: 1, Orientation: 1},
		"friends.jpg": {
			Format: "jpeg", Width: 1024, Height: 682, Frames: 1, Orientation: 6, Camera: "Canon EOS 5D",
			TakenAt: "2018-07-14T18:21:05",
		},
		"life.webp": {Format: "webp", Width: 800, Height: 533, Frames: 1, Orientation: 1},
		"picosdeeuropa.jpg": {
			Format: "jpeg", Width: 1024, Height: 768, Frames: 1, Orientation: 1, Camera: "NIKON D80",
			TakenAt: "2018-05-29T11:02:47+02:00",
		},
		"seeding.jpg":      {Format: "jpeg", Width: 1024, Height: 576, Frames: 1, Orientation: 1},
		"sunset.jpg":       {Format: "jpeg", Width: 1024, Height: 683, Frames: 1, Orientation: 1},
		"sunset-again.jpg": {Format: "jpeg", Width: 1024, Height: 683, Frames: 1, Orientation: 1},
		"wine.png":         {Format: "png", Width: 267, Height: 400, Frames: 1, Orientation: 1},
	}
	entries, err := os.ReadDir(photos)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(photos, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		facts, isImage := want[e.Name()]
		if _, sniffed := pixels.Sniff(b); sniffed != isImage {
			t.Errorf("%s: taken for an image: %v", e.Name(), sniffed)
		}
		if !isImage {
			continue
		}
		delete(want, e.Name())
		got, err := probe(b)
		if err != nil || got != facts {
			t.Errorf("%s: %+v, %v", e.Name(), got, err)
			continue
		}
		oracle(t, b, got)
	}
	if len(want) > 0 {
		t.Errorf("photographs that are not there: %v", want)
	}
}

func TestSamples(t *testing.T) {
	// The decoders do not know these, and some samples have no real pixels or a form that the decoders refuse.
	alone := []string{"bmp core", "bmp rle", "png animated", "tiff pages", "tiff pages be"}
	for name, s := range samples(t) {
		t.Run(name, func(t *testing.T) {
			got, err := probe(s.data)
			if err != nil || got != s.facts {
				t.Fatalf("%+v, %v; want %+v", got, err, s.facts)
			}
			if f, ok := pixels.Sniff(s.data); !ok || f != s.facts.Format {
				t.Errorf("sniffed %q", f)
			}
			_, boxed := boxedSamples()[name]
			if !slices.Contains(alone, name) && !boxed {
				oracle(t, s.data, got)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	plainJPEG, plainPNG, plainGIF := jpegOf(t, picture(20, 11)), pngOf(t, picture(20, 11)), gifOf(t, 1)
	sof := bytes.Index(plainJPEG, []byte{0xff, 0xc0})
	edit := func(b []byte, at int, with ...byte) []byte {
		b = slices.Clone(b)
		copy(b[at:], with)
		return b
	}
	cases := []struct {
		name, code string
		data       []byte
	}{
		{"nothing", "unknown-format", nil},
		{"text", "unknown-format", []byte("BMW is no bitmap, whatever its first letters say")},
		{"bigtiff", "unsupported-format", []byte("II+\x00\x08\x00\x00\x00")},

		{"jpeg without a frame header", "malformed", slices.Concat(plainJPEG[:sof], plainJPEG[sof+19:])},
		{"jpeg with two frame headers", "malformed", slices.Insert(slices.Clone(plainJPEG), sof, plainJPEG[sof:sof+19]...)},
		{"jpeg without a scan", "malformed", append(plainJPEG[:sof+19:sof+19], 0xff, 0xd9)},
		{"jpeg in a jpeg", "malformed", slices.Concat(plainJPEG[:sof], plainJPEG)},
		{"jpeg of height 0", "bad-dimensions", edit(plainJPEG, sof+5, 0, 0)},
		{"jpeg segment of length 1", "malformed", edit(plainJPEG, sof+2, 0, 1)},
		{"jpeg of 9 components", "malformed", edit(plainJPEG, sof+9, 9)},
		{"jpeg, hierarchical", "unsupported-format", edit(plainJPEG, sof+1, 0xc5)},
		{"jpeg of 65535×65535", "too-many-pixels", edit(plainJPEG, sof+5, 0xff, 0xff, 0xff, 0xff)},

		{"png, header damaged", "malformed", edit(plainPNG, 8+8+3, 9)},
		{"png, data damaged", "malformed", edit(plainPNG, bytes.Index(plainPNG, []byte("IDAT"))+6, 1, 2, 3)},
		{"png, end damaged", "malformed", edit(plainPNG, len(plainPNG)-1, 0)},
		{"png without data", "malformed", append(pngHeader(3, 3), pngChunk("IEND", nil)...)},
		{"png without a palette", "malformed", bytes.Replace(plainPNG, plainPNG[33:33+12+256*3], nil, 1)},
		{"png of width 0", "bad-dimensions", pngHeader(0, 3)},
		{"png with an unknown critical chunk", "malformed", pngWith(plainPNG, "KEEP", nil)},
		{"png with a chunk that is no name", "malformed", pngWith(plainPNG, "a b!", nil)},
		{"png of 2 billion frames", "too-many-frames", pngWith(plainPNG, "acTL", []byte{0x7f, 0, 0, 0, 0, 0, 0, 0})},
		{"png with data in two places", "malformed", slices.Insert(slices.Clone(plainPNG), len(plainPNG)-12,
			slices.Concat(pngChunk("tEXt", nil), pngChunk("IDAT", nil))...)},

		{"gif of width 0", "bad-dimensions", edit(plainGIF, 6, 0, 0)},
		{"gif without an image", "malformed", []byte("GIF89a\x01\x00\x01\x00\x00\x00\x00;")},
		{"gif with an unknown block", "malformed", []byte("GIF89a\x01\x00\x01\x00\x00\x00\x00?")},
		{"gif without its trailer", "truncated", plainGIF[:len(plainGIF)-1]},
		{"gif with a frame of 65535×65535", "too-many-pixels",
			[]byte("GIF89a\x01\x00\x01\x00\x00\x00\x00,\x00\x00\x00\x00\xff\xff\xff\xff\x00")},

		{"webp that begins with EXIF", "malformed", webpOf(riffChunk("EXIF", sampleExif), vp8(3, 3))},
		{"webp with a chunk beyond its end", "malformed", edit(webpOf(vp8(3, 3)), 16, 0xff, 0xff)},
		{"webp without an image", "malformed", webpOf(vp8x(0, 3, 3))},
		{"webp without a frame", "malformed", webpOf(vp8x(2, 3, 3), vp8(3, 3))},
		{"webp with a frame outside", "malformed", webpOf(vp8x(2, 3, 3), anmf(4, 3, vp8(4, 3)))},
		{"webp with an empty frame", "malformed", webpOf(vp8x(2, 3, 3), anmf(3, 3, nil))},
		{"webp with a wrong size", "malformed", webpOf(vp8x(0, 3, 3), vp8(4, 3))},
		{"webp that is no key frame", "malformed", edit(webpOf(vp8(3, 3)), 20, 1)},
		{"webp, lossless with a wrong mark", "malformed", edit(webpOf(vp8l(3, 3)), 20, 1)},
		{"webp of 16 million squared", "too-many-pixels", webpOf(vp8x(0, 1<<24, 1<<24), vp8(3, 3))},
		{"webp of width 0", "bad-dimensions", webpOf(vp8(0, 3))},

		{"bmp of negative width", "bad-dimensions", bmpHeader(-3, 3, 24, 0, 0)},
		{"bmp of height 0", "bad-dimensions", bmpHeader(3, 0, 24, 0, 0)},
		{"bmp of 23 bits", "malformed", bmpHeader(3, 3, 23, 0, 0)},
		{"bmp, compressed without a length", "malformed", bmpHeader(3, 3, 8, 1, 0)},
		{"bmp with a JPEG inside", "unsupported-format", bmpHeader(3, 3, 0, 4, 9)},
		{"bmp with pixels in its header", "malformed", edit(bmpHeader(3, 3, 24, 0, 0), 10, 20)},
		{"bmp of the lowest height", "too-many-pixels", bmpHeader(3, -1<<31, 24, 0, 0)},

		{"tiff without a directory", "malformed", []byte("II*\x00\x00\x00\x00\x00")},
		{"tiff with an empty directory", "malformed", []byte("MM\x00*\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00")},
		{"tiff with its directory outside", "truncated", []byte("II*\x00\xff\x00\x00\x00")},
		{"tiff in a circle", "malformed", append(tiffHeader(le), directory(le, 8, 8, page(0, 1, 1, 8)...)...)},
		{"tiff without pixels", "malformed", append(tiffHeader(le),
			directory(le, 8, 0, tag{256, uint32(3)}, tag{257, uint32(3)})...)},
		{"tiff with pixels outside", "truncated", append(tiffHeader(le), directory(le, 8, 0, page(0, 90, 90, 8)...)...)},
		{"tiff whose area has 64 bits", "too-many-pixels", append(tiffHeader(le),
			directory(le, 8, 0, page(0, 1<<32-1, 1<<32-1, 8)...)...)},
		{"tiff of width 0", "bad-dimensions", append(tiffHeader(le), directory(le, 8, 0, page(0, 0, 1, 8)...)...)},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := probe(c.data)
			if code := pixels.CodeOf(err); code != c.code {
				t.Errorf("code %q, want %q: %v", code, c.code, err)
			}
			if got != (pixels.Facts{}) {
				t.Errorf("facts of a refused image: %+v", got)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	all := samples(t)
	for _, c := range []struct {
		sample, code string
		lim          pixels.Limits
	}{
		{"png palette", "", pixels.Limits{MaxPixels: 220}},
		{"png palette", "too-many-pixels", pixels.Limits{MaxPixels: 219}},
		{"png palette", "", pixels.Limits{MaxSide: 20}},
		{"png palette", "too-many-pixels", pixels.Limits{MaxSide: 19}},
		{"gif animated", "", pixels.Limits{MaxFrames: 3}},
		{"gif animated", "too-many-frames", pixels.Limits{MaxFrames: 2}},
		{"webp animated", "", pixels.Limits{MaxFrames: 2}},
		{"webp animated", "too-many-frames", pixels.Limits{MaxFrames: 1}},
		{"png animated", "too-many-frames", pixels.Limits{MaxFrames: 1}},
		{"tiff pages", "", pixels.Limits{MaxFrames: 2}},
		{"tiff pages", "too-many-frames", pixels.Limits{MaxFrames: 1}},
		{"tiff pages", "too-large", pixels.Limits{MaxSpool: int64(len(all["tiff pages"].data)) - 1}},
		{"tiff pages", "", pixels.Limits{MaxSpool: int64(len(all["tiff pages"].data))}},
	} {
		_, err := pixels.Probe(bytes.NewReader(all[c.sample].data), c.lim)
		if code := pixels.CodeOf(err); code != c.code {
			t.Errorf("%s within %+v: code %q, want %q", c.sample, c.lim, code, c.code)
		}
	}
	// Without a limit on pixels, the length of a row and of all rows still has one.
	huge := bmpHeader(1<<31-1, 1<<31-1, 32, 0, 0)
	_, err := pixels.Probe(bytes.NewReader(huge), pixels.Limits{MaxPixels: math.MaxInt64, MaxSide: math.MaxInt64})
	if pixels.CodeOf(err) != pixels.CodeMalformed {
		t.Errorf("a BMP of 2⁶⁷ bytes: %v", err)
	}
	// A longer block of EXIF than allowed is passed over.
	for _, name := range []string{"jpeg exif", "png exif", "webp exif"} {
		got, err := pixels.Probe(bytes.NewReader(all[name].data), pixels.Limits{MaxMetadata: 20})
		if err != nil || got.Camera != "" || got.Orientation != 1 || got.Width != 20 {
			t.Errorf("%s with little metadata: %+v, %v", name, got, err)
		}
	}
}

func TestMessagesAreForPeople(t *testing.T) {
	_, err := probe(bmpHeader(3_000_000, 2_000_000, 24, 0, 0))
	if want := "3,000,000×2,000,000 pixels are more than the limit of 100,000,000"; err == nil || err.Error() != want {
		t.Errorf("message %q, want %q", err, want)
	}
	wrapped := fmt.Errorf("examine image: %w", err)
	if pixels.CodeOf(wrapped) != pixels.CodeTooManyPixels {
		t.Errorf("code %q of a wrapped error", pixels.CodeOf(wrapped))
	}
	if pixels.CodeOf(nil) != "" || pixels.CodeOf(io.ErrUnexpectedEOF) != "" {
		t.Error("an error that is not about the image has a code")
	}
}

func TestWhatFollowsTheImageIsRead(t *testing.T) {
	for name, s := range samples(t) {
		if s.facts.Format == pixels.TIFF { // has no end of its own
			continue
		}
		rest := strings.NewReader("a motion photo's video \xff\xd8\xff")
		got, err := pixels.Probe(io.MultiReader(bytes.NewReader(s.data), rest), pixels.Limits{})
		if err != nil || got != s.facts || rest.Len() != 0 {
			t.Errorf("%s: %+v, %v, %d bytes left", name, got, err, rest.Len())
		}
	}
}

func TestJPEGFormsThatDecodersAccept(t *testing.T) {
	b := jpegOf(t, picture(20, 11))
	eoi := len(b) - 2
	sos := bytes.Index(b, []byte{0xff, 0xda})
	for name, data := range map[string][]byte{
		"fill bytes":           slices.Insert(slices.Clone(b), sos, 0xff, 0xff, 0xff),
		"stray bytes":          slices.Insert(slices.Clone(b), sos, 1, 2, 3),
		"restart markers":      slices.Insert(slices.Clone(b), eoi, 0xff, 0xd0, 1, 0xff, 0xd7, 2),
		"a stuffed zero":       slices.Insert(slices.Clone(b), eoi, 0xff, 0x00, 0xff, 0x00),
		"a second scan":        slices.Insert(slices.Clone(b), eoi, b[sos:eoi]...),
		"a comment of markers": jpegWith(b, 0xfe, []byte{0xff, 0xd9, 0xff, 0xd8}),
	} {
		got, err := probe(data)
		if err != nil || got.Width != 20 || got.Height != 11 || got.Frames != 1 {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestBrokenAnimationChunkLeavesAStillImage(t *testing.T) {
	b := pngOf(t, picture(20, 11))
	damaged := pngWith(b, "acTL", []byte{0, 0, 0, 9, 0, 0, 0, 0})
	damaged[afterIHDR+8+3]++ // the count, without its checksum
	for name, data := range map[string][]byte{
		"no frames": pngWith(b, "acTL", make([]byte, 8)), "short": pngWith(b, "acTL", nil), "damaged": damaged,
	} {
		if got, err := probe(data); err != nil || got.Frames != 1 {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// TestTIFFWorkIsBounded has directories whose arrays are shared, which a file that is no attack never does.
func TestTIFFWorkIsBounded(t *testing.T) {
	const shared, entries = 8, 3000
	b := append(tiffHeader(le), make([]byte, 4*entries)...)
	le.PutUint32(b[4:], uint32(len(b)))
	for i := range 20 {
		at := uint32(len(b))
		tags := []tag{{256, uint32(1)}, {257, uint32(1)}, {273, uint32(shared)}, {279, uint32(shared)}}
		next := at + uint32(len(directory(le, at, 0, tags...)))
		if i == 19 {
			next = 0
		}
		d := directory(le, at, next, tags...)
		for _, n := range []int{2, 3} { // the arrays' counts
			binary.LittleEndian.PutUint32(d[2+12*n+4:], entries)
		}
		b = append(b, d...)
	}
	if _, err := probe(b); pixels.CodeOf(err) != pixels.CodeMalformed {
		t.Errorf("20 pages share an array: %v", err)
	}
}
