package pixels_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"hash/crc32"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"darkroom/internal/pixels"
)

var errDisk = errors.New("the disk is gone")

// files are the samples and the photographs.
func files(t testing.TB) map[string][]byte {
	all := make(map[string][]byte)
	for name, s := range samples(t) {
		all[name] = s.data
	}
	for _, name := range []string{"friends.jpg", "sunset.jpg", "wine.png", "life.webp"} {
		b, err := os.ReadFile(filepath.Join(photos, name))
		if err != nil {
			t.Fatal(err)
		}
		all[name] = b
	}
	return all
}

func TestEveryTruncationIsFound(t *testing.T) {
	for name, s := range samples(t) {
		for n := range s.data {
			if _, err := probe(s.data[:n]); pixels.CodeOf(err) == "" {
				t.Errorf("%s, cut to %d of %d bytes: %v", name, n, len(s.data), err)
			}
		}
	}
}

func TestTruncatedPhotographs(t *testing.T) {
	all := files(t)
	names := slices.Sorted(maps.Keys(all))
	rapid.Check(t, func(t *rapid.T) {
		b := all[rapid.SampledFrom(names).Draw(t, "file")]
		n := rapid.IntRange(0, len(b)-1).Draw(t, "length")
		_, err := probe(b[:n])
		if code := pixels.CodeOf(err); code != pixels.CodeTruncated && (code == "" || n >= pixels.SniffLen) {
			t.Fatalf("code %q: %v", code, err)
		}
	})
}

func TestDamageNeverPanics(t *testing.T) {
	all := files(t)
	names := slices.Sorted(maps.Keys(all))
	rapid.Check(t, func(t *rapid.T) {
		b := slices.Clone(all[rapid.SampledFrom(names).Draw(t, "file")])
		for range rapid.IntRange(1, 8).Draw(t, "flips") {
			// Most of the structure is at the start.
			n := rapid.SampledFrom([]int{min(len(b), 100), len(b)}).Draw(t, "range")
			b[rapid.IntRange(0, n-1).Draw(t, "at")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		}
		checkAnswer(t, b)
	})
}

// checkAnswer probes any bytes: the facts are sound, or there is an error with a code.
func checkAnswer(t rapid.TB, b []byte) {
	t.Helper()
	f, err := probe(b)
	if err != nil {
		if pixels.CodeOf(err) == "" || f != (pixels.Facts{}) || err.Error() == "" {
			t.Fatalf("%+v, error %v without a code", f, err)
		}
		return
	}
	if f.Width < 1 || f.Height < 1 || f.Width*f.Height > pixels.DefaultLimits.MaxPixels || f.Frames < 1 ||
		f.Frames > pixels.DefaultLimits.MaxFrames || f.Orientation < 1 || f.Orientation > 8 || len(f.Camera) > 128 {
		t.Fatalf("facts %+v", f)
	}
}

// portions reads in portions of the given lengths, over and over.
type portions struct {
	r    io.Reader
	lens []int
	i    int
}

func (p *portions) Read(b []byte) (int, error) {
	n := p.lens[p.i%len(p.lens)]
	p.i++
	return p.r.Read(b[:min(n, len(b))])
}

func TestReadingInPortionsGivesTheSameFacts(t *testing.T) {
	all := files(t)
	names := slices.Sorted(maps.Keys(all))
	rapid.Check(t, func(t *rapid.T) {
		b := all[rapid.SampledFrom(names).Draw(t, "file")]
		want, err := probe(b)
		if err != nil {
			t.Fatal(err)
		}
		lens := rapid.SliceOfN(rapid.IntRange(1, 40), 1, 5).Draw(t, "portions")
		sum := sha256.New()
		got, err := pixels.Probe(io.TeeReader(&portions{r: bytes.NewReader(b), lens: lens}, sum), pixels.Limits{})
		if err != nil || got != want {
			t.Fatalf("%+v, %v; want %+v", got, err, want)
		}
		if whole := sha256.Sum256(b); !bytes.Equal(sum.Sum(nil), whole[:]) {
			t.Fatal("not every byte was read once")
		}
	})
	for name, b := range all {
		for _, r := range []io.Reader{iotest.OneByteReader(bytes.NewReader(b)), iotest.DataErrReader(bytes.NewReader(b))} {
			want, _ := probe(b)
			if got, err := pixels.Probe(r, pixels.Limits{}); err != nil || got != want {
				t.Errorf("%s: %+v, %v; want %+v", name, got, err, want)
			}
		}
	}
}

func TestAFailedReadIsNotABadImage(t *testing.T) {
	for name, s := range samples(t) {
		for n := range len(s.data) + 1 {
			// A cut connection says io.ErrUnexpectedEOF, which must not be taken for the end of the image.
			for _, fault := range []error{errDisk, io.ErrUnexpectedEOF} {
				r := io.MultiReader(bytes.NewReader(s.data[:n]), iotest.ErrReader(fault))
				_, err := pixels.Probe(r, pixels.Limits{})
				if err != fault || pixels.CodeOf(err) != "" { //nolint:errorlint // it must come as it is
					t.Fatalf("%s, fault %v after %d bytes: %v, code %q", name, fault, n, err, pixels.CodeOf(err))
				}
			}
		}
	}
}

// allocated returns how many bytes f allocates, all in all.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestBombsAreRefusedByTheirHeader(t *testing.T) {
	bombs := map[string][]byte{
		"bmp":  bmpHeader(3_000_000, 2_000_000, 24, 0, 0),
		"png":  pngHeader(3_000_000, 2_000_000),
		"gif":  []byte("GIF89a\xff\xff\xff\xff\xf7\x00\x00"),
		"webp": webpOf(vp8x(0, 3_000_000, 2_000_000), vp8(3, 3)),
		"tiff": append(tiffHeader(le), directory(le, 8, 0, page(0, 3_000_000, 2_000_000, 8)...)...),
		"avif": heif("avif", ispe(3_000_000, 2_000_000)),
		"jxl":  slices.Concat([]byte("\xff\x0a"), bitsOf(0, 1, 3, 2, 1<<30-1, 30, 1, 3, 1, 1)),
		"jpeg": append([]byte{0xff, 0xd8}, jpegSegment(0xc0, []byte{8, 0xff, 0xff, 0xff, 0xff, 1, 1, 0x11, 0})...),
	}
	for name, head := range bombs {
		rest := &zeros{left: 24 << 10}
		var err error
		n := allocated(func() {
			_, err = pixels.Probe(iotest.OneByteReader(io.MultiReader(bytes.NewReader(head), rest)), pixels.Limits{})
		})
		if pixels.CodeOf(err) != pixels.CodeTooManyPixels {
			t.Errorf("%s: %v", name, err)
		}
		if n > 1<<20 {
			t.Errorf("%s: allocates %d bytes", name, n)
		}
		// A TIFF is read whole before its directories are.
		if name != "tiff" && rest.left < 24<<10-pixels.SniffLen {
			t.Errorf("%s: read on after its header, to %d bytes", name, 24<<10-rest.left)
		}
	}
}

// zeros is a stream of zeros.
type zeros struct{ left int64 }

func (z *zeros) Read(b []byte) (int, error) {
	if z.left == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(b)), z.left)
	clear(b[:n])
	z.left -= n
	return int(n), nil
}

// repeated is a stream of the same bytes over and over.
type repeated struct {
	unit      []byte
	at, times int
}

func (r *repeated) Read(b []byte) (int, error) {
	if r.times == 0 {
		return 0, io.EOF
	}
	n := copy(b, r.unit[r.at:])
	if r.at += n; r.at == len(r.unit) {
		r.at, r.times = 0, r.times-1
	}
	return n, nil
}

// TestMemoryIsBounded has images of 200 MB, made as they are read.
func TestMemoryIsBounded(t *testing.T) {
	const total = 200_000_000
	text := func(s string) io.Reader { return bytes.NewReader([]byte(s)) }
	small := jpegOf(t, picture(20, 11))
	entropy := bytes.Repeat([]byte("\xff\x00entropy-coded"), 1000)
	idat := pngChunk("IDAT", make([]byte, 100_000))
	sum := crc32.Update(crc32.ChecksumIEEE([]byte("IDAT")), crc32.IEEETable, make([]byte, total))
	blocks := bytes.Repeat(append([]byte{255}, make([]byte, 255)...), 100)
	gifHead := "GIF89a\x01\x00\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x08"
	tiffHead := append(tiffHeader(le), directory(le, 8, 0, page(0, 20_000, 1_000, 200)...)...)
	streams := map[string]io.Reader{
		"jpeg": io.MultiReader(bytes.NewReader(small[:len(small)-2]),
			&repeated{unit: entropy, times: total / len(entropy)}, text("\xff\xd9")),
		"jpeg, what follows it": io.MultiReader(bytes.NewReader(small), &zeros{left: total}),
		"png": io.MultiReader(bytes.NewReader(pngHeader(3, 3)), &repeated{unit: idat, times: total / len(idat)},
			bytes.NewReader(pngChunk("IEND", nil))),
		"png of one chunk": io.MultiReader(bytes.NewReader(pngHeader(3, 3)), bytes.NewReader(be.AppendUint32(nil, total)),
			text("IDAT"), &zeros{left: total}, bytes.NewReader(be.AppendUint32(nil, sum)),
			bytes.NewReader(pngChunk("IEND", nil))),
		"gif": io.MultiReader(text(gifHead), &repeated{unit: blocks, times: total / len(blocks)}, text("\x00;")),
		"webp": io.MultiReader(bytes.NewReader(le.AppendUint32([]byte("RIFF"), total+12)), text("WEBP"),
			bytes.NewReader(le.AppendUint32([]byte("VP8L"), total)), bytes.NewReader(vp8l(3, 3)[8:13]), &zeros{left: total - 5}),
		"bmp":  io.MultiReader(bytes.NewReader(bmpHeader(10_000, 5_000, 32, 0, 0)), &zeros{left: total}),
		"tiff": io.MultiReader(bytes.NewReader(tiffHead), &zeros{left: 20_000_200}),
	}
	for name, r := range streams {
		var err error
		if n := allocated(func() { _, err = pixels.Probe(r, pixels.Limits{}) }); n > 2_000_000 {
			t.Errorf("%s: allocates %d bytes", name, n)
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTemporaryFilesGo(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	for name, s := range samples(t) {
		for _, n := range []int{len(s.data), len(s.data) / 2} {
			// Any reader but one of bytes, whose data are not spooled.
			r := struct{ io.Reader }{bytes.NewReader(s.data[:n])}
			if _, err := pixels.Probe(r, pixels.Limits{}); (err == nil) != (n == len(s.data)) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	// Without a place for it, the fault is that of the machine.
	t.Setenv("TMPDIR", filepath.Join(dir, "missing"))
	paged := pagedTIFF(le)
	_, err = pixels.Probe(struct{ io.Reader }{bytes.NewReader(paged)}, pixels.Limits{})
	if !errors.Is(err, os.ErrNotExist) || pixels.CodeOf(err) != "" {
		t.Errorf("without a temporary folder: %v", err)
	}
	if _, err := probe(paged); err != nil {
		t.Errorf("in memory, without a temporary folder: %v", err)
	}
}
