package pixels_test

import (
	"encoding/binary"
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
		{"A\tB", "C\r\nD", "AB CD"},
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

// TestEXIFWorkIsBounded has 60 pointers to one long directory before the time, which is then not reached.
func TestEXIFWorkIsBounded(t *testing.T) {
	const at, entries = 1000, 100
	pointers := make([]uint32, 60)
	for i := range pointers {
		pointers[i] = at
	}
	block := exifOf(le, []tag{{tagMake, "ACME\x00"}, {0x14a, pointers}}, tag{tagTaken, "2018:07:14 18:21:05\x00"})
	block = append(block, make([]byte, at-len(block))...)
	// Each entry claims more values than imagemeta reads, so that it does not count the tag.
	block = le.AppendUint16(block, entries)
	for range entries {
		block = le.AppendUint32(le.AppendUint16(le.AppendUint16(block, 0x9999), 4), 1<<20)
		block = le.AppendUint32(block, 0)
	}
	image := jpegOf(t, picture(20, 11))
	if f := described(t, image, block); f.Camera != "ACME" || f.TakenAt != "" {
		t.Errorf("after too much work: %+v", f)
	}
	le.PutUint16(block[at:], 1)
	if f := described(t, image, block); f.TakenAt == "" {
		t.Errorf("after little work: %+v", f)
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
