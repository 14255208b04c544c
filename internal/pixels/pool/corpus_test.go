package pool_test

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"hash/crc32"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"darkroom/internal/pixels"
	"darkroom/internal/pixels/pool"
)

// corpus is where `make corpus` puts the images that Pillow is tested with.
func corpus(t *testing.T) string {
	if os.Getenv("DARKROOM_TEST_CORPUS") == "" {
		t.Skip("run make test-corpus")
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, "darkroom", "corpus", "pillow-11.3.0")
	if _, err := os.Stat(dir); err != nil {
		t.Fatalf("no corpus: run make corpus: %v", err)
	}
	return dir
}

func TestCorpus(t *testing.T) {
	dir := corpus(t)
	files := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		files[strings.TrimPrefix(path, dir)], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 1000 {
		t.Fatalf("the corpus has %d files", len(files))
	}
	answers := allAnswered(t, files)
	if answers[""] < 300 {
		t.Errorf("only %d images were derived", answers[""])
	}
}

func TestHostileImages(t *testing.T) {
	if testing.Short() {
		t.Skip("decodes much")
	}
	allAnswered(t, hostile(t))
}

// allAnswered has each file probed, and derived by the pure Go engine in a pool. It returns how many were answered with
// which code.
func allAnswered(t *testing.T, files map[string][]byte) map[string]int {
	const timeout, memory = 30 * time.Second, 1 << 30
	p := open(t, pool.Config{Command: child(t, "go-child"), Memory: memory, Timeout: timeout, CPU: timeout})
	lim := pixels.Limits{MaxPixels: 50_000_000, MaxFrames: 5_000, MaxVolume: 100_000_000}
	outputs := []pixels.Output{
		{Width: 200, Format: pixels.JPEG}, {Width: 64, Height: 64, Fit: pixels.Cover, Format: pixels.PNG},
		{Width: 100, Format: pixels.GIF, Animate: true},
	}
	answers, odd := map[string]int{}, map[string]error{}
	var mu sync.Mutex
	one := func(name string) {
		data := files[name]
		if _, err := pixels.Probe(bytes.NewReader(data), lim); err != nil && pixels.CodeOf(err) == "" {
			t.Errorf("%s: Probe gives no answer: %v", name, err)
		}
		_, err := p.Derive(t.Context(), pool.Source{Data: data}, lim, outputs)
		code := pixels.CodeOf(err)
		if err != nil && code == "" {
			t.Errorf("%s: Derive gives no answer: %v", name, err)
		}
		mu.Lock()
		defer mu.Unlock()
		answers[code]++
		switch code {
		case pixels.CodeDecodeCrash, pixels.CodeDecodeTimeout, pixels.CodeResourceLimit:
			odd[name] = err
		}
	}
	names := make(chan string)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for name := range names {
				one(name)
			}
		})
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		names <- name
	}
	close(names)
	group.Wait()
	t.Logf("%d files: %v", len(files), answers)
	for name, err := range odd {
		t.Logf("%s: %s: %v", name, pixels.CodeOf(err), err)
	}
	return answers
}

func chunk(kind string, content []byte) []byte {
	b := append(binary.BigEndian.AppendUint32(nil, uint32(len(content))), kind...)
	b = append(b, content...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[4:]))
}

// deflated are n zeros.
func deflated(t testing.TB, n int) []byte {
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	zeros := make([]byte, 1<<20)
	for ; n > 0; n -= len(zeros) {
		if _, err := w.Write(zeros[:min(n, len(zeros))]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// pngOf is a grey PNG of zeros, with more chunks after its header.
func pngOf(t testing.TB, width, height, pixelBytes int, more ...[]byte) []byte {
	ihdr := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, uint32(width)), uint32(height))
	ihdr = append(ihdr, 8, 0, 0, 0, 0)
	return slices.Concat([]byte("\x89PNG\r\n\x1a\n"), chunk("IHDR", ihdr), slices.Concat(more...),
		chunk("IDAT", deflated(t, pixelBytes)), chunk("IEND", nil))
}

// hostile are images made to hurt.
func hostile(t testing.TB) map[string][]byte {
	le, be := binary.LittleEndian, binary.BigEndian
	bmp := append([]byte("BM\x00\x60\x00\x00\x00\x00\x00\x00\x36\x00\x00\x00\x28\x00\x00\x00"), le.AppendUint32(le.AppendUint32(
		nil, 3_000_000), 2_000_000)...)
	bmp = append(bmp, 1, 0, 24, 0)
	bmp = append(bmp, make([]byte, 24<<10)...)

	frame := []byte(",\x00\x00\x00\x00\xff\xff\xff\xff\x00\x02\x02\x4c\x01\x00")
	gif := func(side string, frames int, frame []byte) []byte {
		return slices.Concat([]byte("GIF89a"+side+"\xf0\x00\x00\x00\x00\x00\xff\xff\xff"), bytes.Repeat(frame, frames), []byte{';'})
	}
	// A frame as large as the canvas, whose pixels end at once.
	medium := []byte(",\x00\x00\x00\x00\x40\x1f\x88\x13\x00\x02\x02\x4c\x01\x00")

	webp := func(chunks ...[]byte) []byte {
		body := append([]byte("WEBP"), slices.Concat(chunks...)...)
		return append(le.AppendUint32([]byte("RIFF"), uint32(len(body))), body...)
	}
	riff := func(kind string, b []byte) []byte { return append(le.AppendUint32([]byte(kind), uint32(len(b))), b...) }
	vp8x := func(side byte) []byte { return riff("VP8X", []byte{0, 0, 0, 0, 255, 255, side, 255, 255, side}) }
	vp8l := func(width, height int) []byte {
		b := le.AppendUint32([]byte{0x2f}, uint32(width-1|(height-1)<<14))
		return riff("VP8L", append(b, make([]byte, 31)...))
	}

	entry := func(tag, typ uint16, n, v uint32) []byte {
		return le.AppendUint32(le.AppendUint32(le.AppendUint16(le.AppendUint16(nil, tag), typ), n), v)
	}
	tiff := func(next uint32, entries ...[]byte) []byte {
		b := append([]byte("II*\x00\x08\x00\x00\x00"), byte(len(entries)), 0)
		return le.AppendUint32(append(b, slices.Concat(entries...)...), next)
	}
	page := func(side, bytes, compression uint32) [][]byte {
		return [][]byte{
			entry(256, 4, 1, side), entry(257, 4, 1, side), entry(258, 3, 1, 8), entry(259, 3, 1, compression), entry(262, 3, 1, 1),
			entry(273, 4, 1, 8), entry(278, 4, 1, side), entry(279, 4, 1, bytes),
		}
	}

	seg := func(marker byte, b []byte) []byte {
		return append(be.AppendUint16([]byte{0xff, marker}, uint16(len(b)+2)), b...)
	}
	sof := func(marker byte, side uint16) []byte {
		return seg(marker, append(be.AppendUint16(be.AppendUint16([]byte{8}, side), side), 1, 1, 0x11, 0))
	}
	dqt := seg(0xdb, append([]byte{0}, bytes.Repeat([]byte{1}, 64)...))
	dht := slices.Concat(seg(0xc4, append(append([]byte{0}, append([]byte{1}, make([]byte, 15)...)...), 0)),
		seg(0xc4, append(append([]byte{0x10}, append([]byte{1}, make([]byte, 15)...)...), 0)))
	soi, eoi := []byte{0xff, 0xd8}, []byte{0xff, 0xd9}
	scan := append(seg(0xda, []byte{1, 1, 0, 0, 0, 0}), 0)
	refine := append(seg(0xda, []byte{1, 1, 0, 1, 63, 0x10}), 0)

	return map[string][]byte{
		"bmp of 3,000,000×2,000,000":         bmp,
		"png bomb":                           pngOf(t, 30_000, 30_000, 1<<20),
		"png within the limit":               pngOf(t, 7_000, 7_000, 7_000*7_001),
		"png of more data than its size":     pngOf(t, 100, 100, 200<<20),
		"png with a bomb of text":            pngOf(t, 10, 10, 110, chunk("zTXt", append([]byte("a\x00\x00"), deflated(t, 300<<20)...))),
		"png with a bomb of a profile":       pngOf(t, 10, 10, 110, chunk("iCCP", append([]byte("a\x00\x00"), deflated(t, 300<<20)...))),
		"png of one row":                     pngOf(t, 90_000, 1, 90_001),
		"gif of 10,000 frames of 65535²":     gif("\xff\xff\xff\xff", 10_000, frame),
		"gif of 4,000 frames of 8000×5000":   gif("\x40\x1f\x88\x13", 4_000, medium),
		"gif of one frame without pixels":    gif("\x40\x1f\x88\x13", 1, medium),
		"webp of 16 million squared":         webp(vp8x(255), vp8l(3, 3)),
		"webp of 16383 squared":              webp(vp8l(16383, 16383)),
		"webp of 7000 squared":               webp(vp8l(7000, 7000)),
		"tiff in a circle":                   tiff(8, page(1, 1, 1)...),
		"tiff that unpacks to 2.5 GB":        tiff(0, page(50_000, 40, 5)...),
		"tiff of 7000 squared in 40 bytes":   tiff(0, page(7_000, 40, 5)...),
		"tiff of 7000 squared, uncompressed": tiff(0, page(7_000, 40, 1)...),
		"jpeg of 65535² and a few bytes":     slices.Concat(soi, dqt, sof(0xc0, 65535), dht, scan, eoi),
		"jpeg of 7000² and a few bytes":      slices.Concat(soi, dqt, sof(0xc0, 7000), dht, scan, eoi),
		"jpeg, progressive, of 2,000 scans":  slices.Concat(soi, dqt, sof(0xc2, 7000), dht, scan, bytes.Repeat(refine, 2_000), eoi),
	}
}
