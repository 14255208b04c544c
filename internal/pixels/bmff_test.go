package pixels_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"darkroom/internal/pixels"
)

// box is a box of ISO/IEC 14496-12.
func box(kind string, content ...[]byte) []byte {
	c := slices.Concat(content...)
	return append(append(be.AppendUint32(nil, uint32(8+len(c))), kind...), c...)
}

func u16(n int) []byte { return be.AppendUint16(nil, uint16(n)) }
func u32(n int) []byte { return be.AppendUint32(nil, uint32(n)) }

func ispe(width, height int) []byte { return box("ispe", u32(0), u32(width), u32(height)) }

// clap is the part of a picture that is shown, its width and height fractions, in its middle.
func clap(w, wDen, h, hDen int) []byte {
	return box("clap", u32(w), u32(wDen), u32(h), u32(hDen), u32(0), u32(1), u32(0), u32(1))
}

func infe(id int, kind string) []byte {
	return box("infe", []byte{2, 0, 0, 0}, u16(id), u16(0), []byte(kind), []byte{0})
}

// iloc places items 1 and 2.
func iloc(at, length, exifAt, exifLength int) []byte {
	item := func(id, at, length int) []byte {
		return slices.Concat(u16(id), u16(0), u16(1), u32(at), u32(length))
	}
	return box("iloc", u32(0), []byte{0x44, 0}, u16(2), item(1, at, length), item(2, exifAt, exifLength))
}

func meta(at int, properties ...[]byte) []byte {
	var associated []byte
	for i := range properties {
		associated = append(associated, byte(0x80|(i+1)))
	}
	exif := 4 + len(sampleExif)
	return box("meta", u32(0), box("hdlr", u32(0), u32(0), []byte("pict"), make([]byte, 13)),
		box("pitm", u32(0), u16(1)), box("iinf", u32(0), u16(2), infe(1, "av01"), infe(2, "Exif")),
		iloc(at, 11, at+11, exif),
		box("iprp", box("ipco", properties...),
			box("ipma", u32(0), u32(1), u16(1), []byte{byte(len(properties))}, associated)))
}

// freeExtents has n items in its table of places, each with so many extents as can be counted, of no bytes.
func freeExtents(n int) []byte {
	item := slices.Concat(u16(1), u16(0), u16(0xffff))
	return slices.Concat(box("ftyp", []byte("avif"), u32(0), []byte("mif1")), box("meta",
		u32(0), box("pitm", u32(0), u16(1)), box("iprp", box("ipco", ispe(20, 11)), box("ipma", u32(0), u32(1), u16(1), []byte{1, 1})),
		box("iloc", u32(0), u16(0), u16(n), bytes.Repeat(item, n))), mdat)
}

// nested has n boxes in each other where a track has one.
func nested(n int) []byte {
	var b []byte
	for i := range n {
		b = append(be.AppendUint32(b, uint32(8*(n-i))), "mdia"...)
	}
	return slices.Concat(box("ftyp", []byte("avif"), u32(0), []byte("mif1")), box("moov", box("trak", b)))
}

// Neither counts of what takes no bytes nor boxes in boxes make work or memory that the file does not pay for.
func TestWorkOfBoxesIsBounded(t *testing.T) {
	for name, c := range map[string]struct {
		code string
		data []byte
	}{
		"extents of no bytes": {"malformed", freeExtents(10_000)},
		"nested boxes":        {"truncated", nested(120_000)},
	} {
		var err error
		var stack uint64
		n := allocated(func() { stack = stackOf(func() { _, err = probe(c.data) }) })
		if pixels.CodeOf(err) != c.code || n > 4<<20 || stack > 4<<20 {
			t.Errorf("%s: code %q, %d bytes and %d of stack", name, pixels.CodeOf(err), n, stack)
		}
	}
}

// stackOf returns how much larger the stacks are after f ran on one of its own.
func stackOf(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	done, end := make(chan struct{}), make(chan struct{})
	go func() {
		f()
		close(done)
		<-end
	}()
	<-done
	runtime.ReadMemStats(&after)
	close(end)
	return after.StackInuse - min(before.StackInuse, after.StackInuse)
}

var mdat = box("mdat", []byte("some pixels"), u32(0), sampleExif)

// heif is a still image whose pixels follow their description.
func heif(brand string, properties ...[]byte) []byte {
	ftyp := box("ftyp", []byte(brand), u32(0), []byte("mif1"+brand))
	at := len(ftyp) + len(meta(0, properties...)) + 8
	return slices.Concat(ftyp, meta(at, properties...), mdat)
}

// heifLate has its pixels before their description.
func heifLate(brand string, properties ...[]byte) []byte {
	ftyp := box("ftyp", []byte(brand), u32(0), []byte("mif1"+brand))
	return slices.Concat(ftyp, mdat, meta(len(ftyp)+8, properties...))
}

// avis is a sequence of n frames without a still image.
func avis(width, height, n int) []byte {
	ftyp := box("ftyp", []byte("avis"), u32(0), []byte("msf1avis"))
	moov := func(at int) []byte {
		return box("moov", box("mvhd", make([]byte, 100)), box("trak", box("mdia",
			box("hdlr", u32(0), u32(0), []byte("pict"), make([]byte, 13)),
			box("minf", box("stbl",
				box("stsd", u32(0), u32(1), box("av01", make([]byte, 24), u16(width), u16(height), make([]byte, 50))),
				box("stsz", u32(0), u32(3), u32(n)), box("stco", u32(0), u32(1), u32(at)))))))
	}
	at := len(ftyp) + len(moov(0)) + 8
	return slices.Concat(ftyp, moov(at), box("mdat", []byte("some frames")))
}

// bitsOf packs pairs of a number and its length in bits, the lowest bit first.
func bitsOf(pairs ...int) []byte {
	var b []byte
	at := 0
	for i := 0; i < len(pairs); i += 2 {
		for j := range pairs[i+1] {
			if at%8 == 0 {
				b = append(b, 0)
			}
			b[at/8] |= byte(pairs[i]>>j&1) << (at % 8)
			at++
		}
	}
	return b
}

// jxl is a codestream of 20×11 pixels, followed by the bits of its metadata.
func jxl(metadata ...int) []byte {
	size := []int{0, 1, 0, 2, 11 - 1, 9, 0, 3, 0, 2, 20 - 1, 9}
	return slices.Concat([]byte{0xff, 0x0a}, bitsOf(append(size, metadata...)...), []byte("some pixels"))
}

var jxlSignature = []byte("\x00\x00\x00\x0cJXL \r\n\x87\n\x00\x00\x00\x14ftypjxl \x00\x00\x00\x00jxl ")

func boxedSamples() map[string]sample {
	facts := func(f pixels.Format, orientation int64) pixels.Facts {
		return pixels.Facts{Format: f, Width: 20, Height: 11, Frames: 1, Orientation: orientation}
	}
	canon := func(f pixels.Format, orientation int64) pixels.Facts {
		x := facts(f, orientation)
		x.Camera, x.TakenAt = "Canon EOS 5D", "2018-07-14T18:21:05+02:00"
		return x
	}
	frames := facts(pixels.AVIF, 1)
	frames.Frames = 7
	oriented := jxl(0, 1, 1, 1, 6-1, 3, 0, 3)
	return map[string]sample{
		"avif":         {heif("avif", ispe(20, 11)), canon(pixels.AVIF, 1)},
		"heic rotated": {heif("heic", ispe(20, 11), box("irot", []byte{3})), canon(pixels.HEIC, 6)},
		"heic mirrored": {
			heif("heic", ispe(20, 11), box("colr"), box("irot", []byte{1}), box("imir", []byte{1})), canon(pixels.HEIC, 7),
		},
		"avif cut": {heif("avif", ispe(30, 11), clap(20, 1, 11, 1)), canon(pixels.AVIF, 1)},
		"heic cut and rotated": {
			heif("heic", ispe(30, 12), clap(40, 2, 11, 1), box("irot", []byte{3})), canon(pixels.HEIC, 6),
		},
		"heic late":     {heifLate("heic", ispe(20, 11), box("imir", []byte{0})), facts(pixels.HEIC, 4)},
		"avif sequence": {avis(20, 11, 7), frames},
		"jxl boxed": {
			slices.Concat(jxlSignature, box("Exif", u32(0), sampleExif), box("jxlc", oriented)), canon(pixels.JXL, 6),
		},
		"jxl in parts": {
			slices.Concat(jxlSignature, box("jxlp", u32(0), oriented[:3]), box("jxlp", u32(1<<31|1), oriented[3:])),
			facts(pixels.JXL, 6),
		},
	}
}

func TestBareJXL(t *testing.T) {
	for name, c := range map[string]struct {
		data          []byte
		width, height int64
		orientation   int64
	}{
		"small":   {slices.Concat([]byte("\xff\x0a"), bitsOf(1, 1, 5-1, 5, 0, 3, 7-1, 5, 1, 1)), 56, 40, 1},
		"ratio":   {slices.Concat([]byte("\xff\x0a"), bitsOf(0, 1, 1, 2, 1080-1, 13, 5, 3, 1, 1)), 1920, 1080, 1},
		"default": {jxl(1, 1), 20, 11, 1},
		"intrinsic size and preview": {
			jxl(0, 1, 1, 1, 8-1, 3, 1, 1, 1, 1, 3, 5, 1, 3, 1, 1, 1, 1, 0, 2, 1, 3, 0, 1), 20, 11, 8,
		},
	} {
		got, err := probe(c.data)
		if want := (pixels.Facts{
			Format: pixels.JXL, Width: c.width, Height: c.height, Frames: 1, Orientation: c.orientation,
		}); err != nil || got != want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestRefusalsOfBoxes(t *testing.T) {
	ftyp := box("ftyp", []byte("avif"), u32(0), []byte("mif1"))
	still := heif("avif", ispe(20, 11))
	for name, c := range map[string]struct {
		code string
		data []byte
	}{
		"no picture":                 {"truncated", ftyp},
		"no size":                    {"malformed", heif("avif", box("irot", []byte{1}))},
		"a property that is missing": {"malformed", bytes.Replace(still, []byte{1, 1, 0x81}, []byte{1, 1, 0x85}, 1)},
		"a bomb":                     {"too-many-pixels", heif("heic", ispe(3_000_000, 2_000_000))},
		"width 0":                    {"bad-dimensions", heif("heic", ispe(0, 11))},
		"a tile that is a bomb":      {"too-many-pixels", heif("heic", ispe(20, 11), ispe(1<<31, 1<<31))},
		"a long description":         {"unsupported-format", slices.Concat(ftyp, be.AppendUint32(nil, 1<<30), []byte("meta"))},
		"a box without end":          {"unsupported-format", slices.Concat(ftyp, u32(0), []byte("mdat...."))},
		"a box of 3 bytes":           {"malformed", slices.Concat(ftyp, u32(3), []byte("meta...."))},
		"a box that does not fit":    {"malformed", slices.Concat(ftyp, box("meta", u32(0), u32(99), []byte("pitm")))},
		"a part in fractions":        {"unsupported-format", heif("heic", ispe(20, 11), clap(19, 2, 11, 1))},
		"a part that is larger":      {"unsupported-format", heif("heic", ispe(20, 11), clap(21, 1, 11, 1))},
		"a part before the size":     {"unsupported-format", heif("heic", clap(20, 1, 11, 1), ispe(20, 11))},
		"a part of what is turned":   {"unsupported-format", heif("heic", ispe(20, 11), box("irot", []byte{1}), clap(9, 1, 9, 1))},
		"two descriptions":           {"malformed", slices.Concat(ftyp, still[len(ftyp)+4:len(still)-len(mdat)], meta(1<<20, ispe(1, 1)))},
		"pixels elsewhere":           {"truncated", slices.Concat(ftyp, meta(1<<20, ispe(20, 11)), mdat)},
		"no frames":                  {"malformed", avis(20, 11, 0)},
		"too many frames":            {"too-many-frames", avis(20, 11, 10_001)},
		"a track that is a bomb":     {"too-many-pixels", avis(65535, 65535, 1)},
		"jxl bomb":                   {"too-many-pixels", slices.Concat([]byte("\xff\x0a"), bitsOf(0, 1, 3, 2, 1<<30-1, 30, 1, 3, 1, 1))},
		"jxl animated":               {"unsupported-format", jxl(0, 1, 1, 1, 0, 3, 0, 1, 0, 1, 1, 1)},
		"jxl cut":                    {"truncated", jxl()[:4]},
		"jxl without a codestream":   {"malformed", slices.Concat(jxlSignature, box("jxlc", []byte("no codestream")))},
		"jxl without boxes":          {"truncated", jxlSignature},
		"jxl part of 1 byte":         {"malformed", slices.Concat(jxlSignature, box("jxlp", []byte{0}))},
	} {
		if _, err := probe(c.data); pixels.CodeOf(err) != c.code {
			t.Errorf("%s: code %q, want %q: %v", name, pixels.CodeOf(err), c.code, err)
		}
	}
}

// TestBoxesOfRealEncoders compares with libvips, where the machine has it, in the formats that it writes.
func TestBoxesOfRealEncoders(t *testing.T) {
	vips, err := exec.LookPath("vips")
	if err != nil {
		t.Skip("no vips on this machine")
	}
	for _, ext := range []string{"avif", "heic", "jxl"} {
		path := filepath.Join(t.TempDir(), "photo."+ext)
		if out, err := exec.Command(vips, "copy", filepath.Join(photos, "friends.jpg"), path).CombinedOutput(); err != nil {
			t.Logf("%s: %s", ext, strings.TrimSpace(string(out)))
			continue
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := probe(b)
		if err != nil || got.Frames != 1 || string(got.Format) != ext {
			t.Errorf("%s: %+v, %v", ext, got, err)
		}
		header, err := exec.Command("vipsheader", "-f", "width", path).Output()
		t.Logf("%s: %+v, vips says width %s", ext, got, bytes.TrimSpace(header))
		if err == nil && got.Upright().X*got.Upright().Y != 1024*682 {
			t.Errorf("%s: %d×%d", ext, got.Width, got.Height)
		}
		if _, err := probe(b[:len(b)*2/3]); ext != "jxl" && pixels.CodeOf(err) != pixels.CodeTruncated {
			t.Errorf("%s, cut: %v", ext, err)
		}
	}
}
