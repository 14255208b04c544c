package pixels_test

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"

	"darkroom/internal/pixels"
)

// described probes a JPEG with a block of EXIF, which must not be refused whatever the block says.
func described(t rapid.TB, image, exif []byte) pixels.Facts {
	t.Helper()
	f, err := probe(jpegExif(image, exif))
	if err != nil {
		t.Fatalf("refused for its EXIF: %v", err)
	}
	if f.Width != 20 || f.Height != 11 || f.Frames != 1 {
		t.Fatalf("EXIF altered %+v", f)
	}
	if f.Orientation < 1 || f.Orientation > 8 {
		t.Fatalf("orientation %d", f.Orientation)
	}
	unprintable := func(r rune) bool { return !unicode.IsPrint(r) }
	if !utf8.ValidString(f.Camera) || len(f.Camera) > 128 || strings.TrimSpace(f.Camera) != f.Camera ||
		strings.ContainsFunc(f.Camera, unprintable) {
		t.Fatalf("camera %q", f.Camera)
	}
	return f
}

func TestCamera(t *testing.T) {
	image := jpegOf(t, picture(20, 11))
	long := strings.Repeat("é", 100)
	for _, c := range []struct{ maker, model, want string }{
		{"Canon\x00", "Canon EOS 5D\x00", "Canon EOS 5D"},
		{"canon", "CANON EOS 5D", "CANON EOS 5D"},
		{"NIKON CORPORATION", "NIKON D80", "NIKON D80"},
		{"SONY  ", "  ILCE-6700\x00\x00", "SONY ILCE-6700"},
		{"samsung", "SAMSUNG-SM-G900A", "SAMSUNG-SM-G900A"},
		{"Apple", "", "Apple"},
		{"", "Pixel 9", "Pixel 9"},
		{"  \x00", "\x00", ""},
		{"A\tB", "C\r\nD", "A B C D"},
		{"Le\xefca", "M", "Le\uFFFDca M"},
		{long, "", long[:128]},
		{"x" + long, "", ("x" + long)[:127]}, // no half of a character
	} {
		for _, order := range []binary.AppendByteOrder{le, be} {
			f := described(t, image, exifOf(order, []tag{{tagMake, c.maker}, {tagModel, c.model}}))
			if f.Camera != c.want {
				t.Errorf("%q and %q give %q, want %q", c.maker, c.model, f.Camera, c.want)
			}
		}
	}
}

func TestTakenAt(t *testing.T) {
	image := jpegOf(t, picture(20, 11))
	for _, c := range []struct{ at, offset, want string }{
		{"2018:07:14 18:21:05\x00", "", "2018-07-14T18:21:05"},
		{"2018:07:14 18:21:05\x00", "-03:30\x00", "2018-07-14T18:21:05-03:30"},
		{"2018:07:14 18:21:05", "   :  ", "2018-07-14T18:21:05"},
		{"2018:07:14 18:21:05", "CEST", "2018-07-14T18:21:05"},
		{"0000:00:00 00:00:00", "+02:00", ""},
		{"    :  :     :  :  ", "", ""},
		{"2018:02:30 18:21:05", "", ""},
		{"yesterday", "", ""},
		{"", "+02:00", ""},
	} {
		f := described(t, image, exifOf(le, nil, tag{tagTaken, c.at}, tag{tagOffset, c.offset}))
		if f.TakenAt != c.want {
			t.Errorf("%q and %q give %q, want %q", c.at, c.offset, f.TakenAt, c.want)
		}
	}
}

func TestOrientation(t *testing.T) {
	image := jpegOf(t, picture(20, 11))
	for o := range uint16(12) {
		want := int64(o)
		if o < 1 || o > 8 {
			want = 1
		}
		if f := described(t, image, exifOf(be, []tag{{tagOrientation, o}})); f.Orientation != want {
			t.Errorf("%d gives %d", o, f.Orientation)
		}
	}
	if f := described(t, image, exifOf(be, []tag{{tagOrientation, "upside down"}})); f.Orientation != 1 {
		t.Errorf("a text gives %d", f.Orientation)
	}
}

// TestEXIFOfTheImageOnly has the tags in directories where they speak of something else.
func TestEXIFOfTheImageOnly(t *testing.T) {
	image := jpegOf(t, picture(20, 11))
	got := described(t, image, exifOf(le, nil, tag{tagMake, "ACME"}, tag{tagOrientation, uint16(6)}))
	if got.Camera != "" || got.Orientation != 1 {
		t.Errorf("taken from another directory: %+v", got)
	}
}

func TestBrokenEXIFKeepsWhatWasReadBefore(t *testing.T) {
	image := jpegOf(t, picture(20, 11))
	main := []tag{{tagMake, "ACME\x00"}, {tagOrientation, uint16(6)}}
	whole := exifOf(le, main, tag{tagTaken, "2018:07:14 18:21:05\x00"})
	f := described(t, image, whole[:len(whole)-5])
	if f.Camera != "ACME" || f.Orientation != 6 || f.TakenAt != "" {
		t.Errorf("a cut block gives %+v", f)
	}
}

// A field that cannot be read, of whatever kind, says nothing about the next.
func TestBrokenFieldsArePassedOver(t *testing.T) {
	image := jpegOf(t, picture(20, 11))
	type field struct {
		typ          uint16
		count, value uint32
	}
	for name, bad := range map[string]field{
		"a type that is not known": {99, 3, 20}, "UTF-8 beyond the block": {129, 40, 9000},
		"beyond the block":           {2, 40, 9000},
		"a length beyond all bounds": {2, 0xffffff, 0x7fffffff}, "no type": {0, 0, 0}, "of no length": {4, 0, 0},
		"the largest": {0xffff, 0xffffffff, 0xffffffff}, "rational beyond the block": {5, 1, 0xfffffff0},
	} {
		for _, order := range []binary.AppendByteOrder{le, be} {
			// An entry before each of those that are wanted, of the same tag.
			main := []tag{
				{tagMake, uint32(0)}, {tagMake, "ACME\x00"}, {tagOrientation, uint32(0)}, {tagOrientation, uint16(6)},
				{0x8298, uint32(0)}, {0x8298, "me\x00"},
			}
			block := exifOf(order, main, tag{tagTaken, uint32(0)}, tag{tagTaken, "2018:07:14 18:21:05\x00"})
			spoil := func(at int) {
				copy(block[at+2:], slices.Concat(
					order.AppendUint16(nil, bad.typ), order.AppendUint32(nil, bad.count), order.AppendUint32(nil, bad.value)))
			}
			for _, entry := range []int{0, 2, 4} {
				spoil(10 + 12*entry)
			}
			spoil(len(block) - len("2018:07:14 18:21:05\x00") - 4 - 2*12)
			want := pixels.Facts{
				Format: pixels.JPEG, Width: 20, Height: 11, Frames: 1, Orientation: 6, Camera: "ACME", Copyright: "me",
				TakenAt: "2018-07-14T18:21:05",
			}
			if f := described(t, image, block); f != want {
				t.Errorf("%s: %+v", name, f)
			}
		}
	}
}

// Numbers may have any of the lengths of TIFF 6.0, and texts be of EXIF 3.0's type.
func TestTypesOfEXIF(t *testing.T) {
	image := jpegOf(t, picture(20, 11))
	for _, order := range []binary.AppendByteOrder{le, be} {
		block := exifOf(order, []tag{{tagMake, "Jörg\x00"}, {tagOrientation, uint32(6)}})
		copy(block[10+2:], order.AppendUint16(nil, 129))
		if f := described(t, image, block); f.Orientation != 6 || f.Camera != "Jörg" {
			t.Errorf("%+v", f)
		}
	}
	block := exifOf(le, []tag{{tagOrientation, uint16(6)}})
	block[10+2] = 1
	if f := described(t, image, block); f.Orientation != 6 {
		t.Errorf("an orientation of one byte: %+v", f)
	}
}

// A text that is too long is cut, before a character that does not fit.
func TestLongTextsAreCut(t *testing.T) {
	image := jpegOf(t, picture(20, 11))
	for _, n := range []int{200, 255, 256, 257, 300, 1022, 1023, 1024, 1025, 5000} {
		text := strings.Repeat("x", n%2) + strings.Repeat("é", n/2)
		f := described(t, image, exifOf(be, []tag{{0x013b, text + "\x00"}, {0x8298, strings.Repeat(" ", 900) + text}}))
		want := text[:min(n, 256-n%2)]
		if f.Artist != want {
			t.Errorf("%d bytes: artist %q, of %d bytes", n, f.Artist, len(f.Artist))
		}
		if !strings.HasPrefix(text, f.Copyright) || len(f.Copyright) < 120 {
			t.Errorf("%d bytes: copyright %q", n, f.Copyright)
		}
	}
}

// TestEXIFWorkIsBounded has directories of all the entries that can be counted, each with a text as long as the block.
func TestEXIFWorkIsBounded(t *testing.T) {
	const entries = 0xffff
	block := append(tiffHeader(le), le.AppendUint16(nil, entries)...)
	for i := range entries {
		block = le.AppendUint16(le.AppendUint16(block, []uint16{tagMake, tagModel, 0x8298, 0x8769}[i%4]), 2)
		block = le.AppendUint32(le.AppendUint32(block, 12*entries), 8)
	}
	image := pngOf(t, picture(20, 11))
	n := allocated(func() {
		f, err := pixels.Probe(bytes.NewReader(pngWith(image, "eXIf", block)), pixels.Limits{MaxMetadata: 1 << 20})
		if err != nil || f.Width != 20 {
			t.Errorf("%+v, %v", f, err)
		}
	})
	if n > uint64(5*len(block)) {
		t.Errorf("allocates %d bytes for a block of %d", n, len(block))
	}
}

func TestAnyEXIFIsTolerated(t *testing.T) {
	image := jpegOf(t, picture(20, 11))
	rapid.Check(t, func(t *rapid.T) {
		exif := exifOf(rapid.SampledFrom([]binary.AppendByteOrder{le, be}).Draw(t, "order"),
			[]tag{
				{tagMake, string(rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "make"))},
				{tagModel, string(rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "model"))},
				{tagOrientation, rapid.Uint16().Draw(t, "orientation")},
				{0x14a, rapid.SliceOfN(rapid.Uint32Range(0, 500), 0, 50).Draw(t, "sub-directories")},
			},
			tag{tagTaken, rapid.String().Draw(t, "taken")}, tag{tagOffset, rapid.String().Draw(t, "offset")})
		for range rapid.IntRange(0, 5).Draw(t, "flips") {
			exif[rapid.IntRange(0, len(exif)-1).Draw(t, "at")] = rapid.Byte().Draw(t, "byte")
		}
		described(t, image, exif)
	})
}
