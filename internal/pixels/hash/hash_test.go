package hash_test

import (
	"bytes"
	_ "embed"
	"fmt"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/image/bmp"
	_ "golang.org/x/image/webp" // one of the photographs is one
	"pgregory.net/rapid"

	"darkroom/internal/pixels"
	"darkroom/internal/pixels/engine"
	"darkroom/internal/pixels/goengine"
	"darkroom/internal/pixels/hash"
	"darkroom/internal/pixels/pixelstest"
)

// photographs that are stored upright.
var photographs = []string{
	"aitzgorri.jpg", "life.webp", "picosdeeuropa.jpg", "seeding.jpg", "sunset.jpg", "sunset-again.jpg", "wine.png",
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("../../../testdata/photos", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// engines are those that this machine has.
func engines(t testing.TB) map[string]pixels.Engine {
	all := map[string]pixels.Engine{"go": goengine.New()}
	if e, err := engine.Open(engine.Libvips, os.Getenv("DARKROOM_LIBVIPS")); err != nil {
		t.Log(err)
	} else {
		all["libvips"] = e
	}
	return all
}

// draw makes a picture of a formula for each channel.
func draw(w, h int, at func(x, y float64) (r, g, b float64)) *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			r, g, b := at(float64(x)/float64(w), float64(y)/float64(h))
			m.SetNRGBA(x, y, color.NRGBA{level(r), level(g), level(b), 255})
		}
	}
	return m
}

func level(v float64) uint8 { return uint8(math.Round(255 * min(max(v, 0), 1))) }

// waves is a picture with features of all sizes, other ones for each seed.
func waves(w, h int, seed uint64) *image.NRGBA {
	r := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // a picture, no secret
	type wave struct{ x, y, phase, by float64 }
	var all [3][16]wave
	for c := range all {
		for i := range all[c] {
			all[c][i] = wave{60 * (r.Float64() - .5), 60 * (r.Float64() - .5), 7 * r.Float64(), 0.2 * r.Float64()}
		}
	}
	return draw(w, h, func(x, y float64) (float64, float64, float64) {
		sum := [3]float64{.5, .5, .5}
		for c := range sum {
			for _, v := range all[c] {
				sum[c] += v.by * math.Sin(v.x*x+v.y*y+v.phase)
			}
		}
		return sum[0], sum[1], sum[2]
	})
}

// patterns are made by formulas, of several sizes; photographs are decoded by the standard library and resampled in
// floating point. The oracle has seen the same pixels.
func patterns(t *testing.T) map[string]*image.NRGBA {
	all := map[string]*image.NRGBA{
		"flat":     draw(512, 512, func(_, _ float64) (float64, float64, float64) { return .4, .4, .4 }),
		"gradient": draw(512, 512, func(x, y float64) (float64, float64, float64) { return x, y, x * y }),
		"rings": draw(512, 512, func(x, y float64) (float64, float64, float64) {
			v := .5 + .5*math.Sin(90*math.Hypot(x-.3, y-.6))
			return v, v, v
		}),
		"board": draw(512, 512, func(x, y float64) (float64, float64, float64) {
			v := float64((int(7*x) + int(9*y)) % 2)
			return v, v / 2, 1 - v
		}),
		"waves": waves(512, 512, 1), "waves-wide": waves(700, 301, 2), "waves-small": waves(64, 64, 3), "waves-odd": waves(129, 383, 4),
	}
	for _, name := range photographs {
		m, _, err := image.Decode(bytes.NewReader(read(t, name)))
		if err != nil {
			t.Fatal(err)
		}
		all[name] = pixelstest.Reference(m, m.Bounds(), image.Pt(512, 512))
	}
	return all
}

// What pdqhash 0.2.8 of PyPI says, which wraps the reference implementation: a name, the hash, the quality in each line.
//
//go:embed testdata/pdqhash.txt
var oracle string

type expected struct {
	look    hash.Look
	quality int
}

func expectations(t testing.TB, text string) map[string]expected {
	t.Helper()
	all := map[string]expected{}
	for line := range strings.Lines(text) {
		var name, digits string
		var e expected
		if _, err := fmt.Sscan(line, &name, &digits, &e.quality); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if err := e.look.UnmarshalText([]byte(digits)); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		all[name] = e
	}
	return all
}

// With PDQ_ORACLE=python, a Python that has pdqhash and pillow, the expectations are written anew.
func TestLookIsThatOfTheReference(t *testing.T) {
	all := patterns(t)
	if python := os.Getenv("PDQ_ORACLE"); python != "" {
		oracle = ask(t, python, all)
		if err := os.WriteFile("testdata/pdqhash.txt", []byte(oracle), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want := expectations(t, oracle)
	for name, m := range all {
		w, ok := want[name]
		if !ok {
			t.Errorf("%s: nothing is expected", name)
			continue
		}
		look, quality := hash.OfLook(m)
		if n := look.Distance(hash.Look{}); n != 128 && w.quality > 0 {
			t.Errorf("%s: %d bits are set", name, n)
		}
		// Equal on amd64. Where the compiler fuses multiplications, a frequency at the median may move past it.
		if d := look.Distance(w.look); d > 2 && w.quality > 0 || quality != w.quality {
			t.Errorf("%s: %s, quality %d, want %s, %d: %d bits differ", name, look, quality, w.look, w.quality, d)
		} else if d > 0 {
			t.Logf("%s: %d bits differ", name, d)
		}
	}
}

func ask(t *testing.T, python string, all map[string]*image.NRGBA) string {
	dir, argv := t.TempDir(), []string{"testdata/oracle.py"}
	for name, m := range all {
		path := filepath.Join(dir, name+".png")
		if err := os.WriteFile(path, encoded(t, m, func(b *bytes.Buffer) error { return png.Encode(b, m) }), 0o600); err != nil {
			t.Fatal(err)
		}
		argv = append(argv, path)
	}
	out, err := exec.CommandContext(t.Context(), python, argv...).Output() //nolint:gosec // whoever runs the test names it
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// An engine resamples by its own means, so that a few frequencies near the median fall on its other side: up to 4 of 256
// bits were seen, and 31 make a duplicate.
func TestLooksOfEnginesAreNear(t *testing.T) {
	const near = 10
	want := expectations(t, oracle)
	for engineName, e := range engines(t) {
		for _, name := range photographs {
			h, err := hash.Of(e, read(t, name), pixels.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			d := h.Look.Distance(want[name].look)
			t.Logf("%s, %s: %d bits differ, quality %d", engineName, name, d, h.Quality)
			if d > near || h.Quality < hash.MinQuality {
				t.Errorf("%s, %s: %d bits differ, quality %d", engineName, name, d, h.Quality)
			}
		}
	}
}

func TestLooksTellPhotographsApart(t *testing.T) {
	want := expectations(t, oracle)
	for i, a := range photographs {
		for _, b := range photographs[:i] {
			d, same := want[a].look.Distance(want[b].look), strings.HasPrefix(a, "sunset") && strings.HasPrefix(b, "sunset")
			if same != (d <= 31) {
				t.Errorf("%s and %s: %d bits differ", a, b, d)
			}
		}
	}
}

func encoded(t testing.TB, m image.Image, encode func(*bytes.Buffer) error) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := encode(&b); err != nil {
		t.Fatalf("encode %v: %v", m.Bounds(), err)
	}
	return b.Bytes()
}

func TestPixelsAreTheSameInAllFilesOfThem(t *testing.T) {
	// Few colours, so that a GIF holds them, and some that nobody sees.
	m := image.NewPaletted(image.Rect(0, 0, 67, 45), color.Palette{
		color.NRGBA{}, color.NRGBA{200, 20, 30, 255}, color.NRGBA{1, 2, 3, 255}, color.NRGBA{254, 255, 253, 255},
	})
	for i := range m.Pix {
		m.Pix[i] = uint8(i * i % 7 % 4)
	}
	opaque := image.NewNRGBA(m.Rect)
	hidden := image.NewNRGBA(m.Rect)
	for y := range 45 {
		for x := range 67 {
			c := m.Palette[m.ColorIndexAt(x, y)].(color.NRGBA)
			hidden.SetNRGBA(x, y, c)
			if c.A == 0 {
				hidden.SetNRGBA(x, y, color.NRGBA{9, 8, 7, 0})
			}
			c.A = 255
			opaque.SetNRGBA(x, y, c)
		}
	}
	files := map[string][][]byte{
		"clear": {
			encoded(t, m, func(b *bytes.Buffer) error { return png.Encode(b, m) }),
			encoded(t, m, func(b *bytes.Buffer) error { return gif.Encode(b, m, nil) }),
			encoded(t, m, func(b *bytes.Buffer) error { return png.Encode(b, hidden) }),
		},
		"opaque": {
			encoded(t, m, func(b *bytes.Buffer) error { return png.Encode(b, opaque) }),
			encoded(t, m, func(b *bytes.Buffer) error { return bmp.Encode(b, opaque) }),
			losslessWebP,
		},
	}
	want := map[string]hash.Pixels{"clear": hash.OfPixels(hidden), "opaque": hash.OfPixels(opaque)}
	if want["clear"] == want["opaque"] {
		t.Error("alpha does not count")
	}
	for engineName, e := range engines(t) {
		for name, all := range files {
			for i, data := range all {
				h, err := hash.Of(e, data, pixels.Limits{})
				if err != nil || h.Pixels != want[name] {
					t.Errorf("%s, %s %d: %s, want %s: %v", engineName, name, i, h.Pixels, want[name], err)
				}
			}
		}
	}
}

// The opaque picture of TestPixelsAreTheSameInAllFilesOfThem, made by libwebp: cwebp -lossless.
//
//go:embed testdata/lossless.webp
var losslessWebP []byte

func TestPixelsAreOfTheUprightPicture(t *testing.T) {
	m := image.NewNRGBA(image.Rect(0, 0, 1, 1))
	m.Pix = []byte{1, 2, 3, 255}
	// printf '\0\0\0\1\0\0\0\1\1\2\3\377' | sha256sum
	if got := hash.OfPixels(m).String(); got != onePixel {
		t.Errorf("one pixel: %s", got)
	}
	// A part of a larger picture is no other than a picture of its own.
	big := waves(40, 30, 5)
	part := big.SubImage(image.Rect(10, 10, 30, 20)).(*image.NRGBA)
	own := image.NewNRGBA(image.Rect(0, 0, 20, 10))
	for y := range 10 {
		for x := range 20 {
			own.SetNRGBA(x, y, part.NRGBAAt(10+x, 10+y))
		}
	}
	if hash.OfPixels(part) != hash.OfPixels(own) {
		t.Error("a part differs")
	}
	a, _ := hash.OfLook(part)
	if b, _ := hash.OfLook(own); a != b {
		t.Error("a part looks different")
	}
}

const onePixel = "2c6d6454fa0f33ad896f0f3dc05130b5901d45c19ae189b41a2ad0772033cebe"

func TestText(t *testing.T) {
	look, _ := hash.OfLook(waves(100, 100, 1))
	text, err := look.MarshalText()
	var again hash.Look
	if err != nil || again.UnmarshalText(text) != nil || again != look {
		t.Errorf("%s: %v", text, err)
	}
	for _, bad := range []string{"", "00", strings.Repeat("0", 65), strings.Repeat("x", 64)} {
		var p hash.Pixels
		if again.UnmarshalText([]byte(bad)) == nil || p.UnmarshalText([]byte(bad)) == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestHashesOfWhatIsNoImage(t *testing.T) {
	if _, err := hash.Of(goengine.New(), read(t, "wine.png")[:5000], pixels.Limits{}); pixels.CodeOf(err) != pixels.CodeTruncated {
		t.Errorf("half an image: %v", err)
	}
	if look, quality := hash.OfLook(image.NewNRGBA(image.Rectangle{})); look != (hash.Look{}) || quality != 0 {
		t.Errorf("no pixels: %s, %d", look, quality)
	}
}

// Half of the bits are set, whatever there is to see; what does little to a picture changes few of them.
func TestLookProperties(t *testing.T) {
	e := goengine.New()
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		w, h := rapid.IntRange(100, 260).Draw(t, "width"), rapid.IntRange(100, 260).Draw(t, "height")
		m := waves(w, h, seed)
		of := func(m image.Image) hash.Hashes {
			var b bytes.Buffer
			if err := png.Encode(&b, m); err != nil {
				t.Fatal(err)
			}
			got, err := hash.Of(e, b.Bytes(), pixels.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		want := of(m)
		if again := of(m); again != want {
			t.Fatalf("%v, then %v", want, again)
		}
		if n := want.Look.Distance(hash.Look{}); n != 128 {
			t.Fatalf("%d bits are set", n)
		}
		changed := map[string]image.Image{}
		bright := image.NewNRGBA(m.Rect)
		by := rapid.IntRange(-20, 20).Draw(t, "brighter by")
		for i, v := range m.Pix {
			bright.Pix[i] = uint8(min(max(int(v)+by, 0), 255))
			if i%4 == 3 {
				bright.Pix[i] = 255
			}
		}
		changed["brighter"] = bright
		scale := rapid.Float64Range(0.4, 1.5).Draw(t, "scale")
		changed["resized"] = pixelstest.Reference(m, m.Rect, image.Pt(int(scale*float64(w)), int(scale*float64(h))))
		var b bytes.Buffer
		if err := jpeg.Encode(&b, m, &jpeg.Options{Quality: rapid.IntRange(30, 95).Draw(t, "quality")}); err != nil {
			t.Fatal(err)
		}
		compressed, err := jpeg.Decode(&b)
		if err != nil {
			t.Fatal(err)
		}
		changed["compressed"] = compressed
		for name, c := range changed {
			if d := of(c).Look.Distance(want.Look); d > 31 {
				t.Errorf("%s: %d bits differ", name, d)
			}
		}
		if d := of(waves(w, h, seed+1)).Look.Distance(want.Look); d < 60 {
			t.Errorf("another picture: %d bits differ only", d)
		}
		// Rows and columns change places, and so do the frequencies; sums in another order round differently.
		straight, _ := hash.OfLook(m)
		turned, _ := hash.OfLook(transposed(m))
		if d := turned.Distance(transposedLook(straight)); d > 4 {
			t.Errorf("transposed: %d bits differ", d)
		}
	})
}

func transposed(m *image.NRGBA) *image.NRGBA {
	out := image.NewNRGBA(image.Rect(0, 0, m.Rect.Dy(), m.Rect.Dx()))
	for y := range m.Rect.Dy() {
		for x := range m.Rect.Dx() {
			out.SetNRGBA(y, x, m.NRGBAAt(x, y))
		}
	}
	return out
}

func transposedLook(l hash.Look) (out hash.Look) {
	for row := range 16 {
		for column := range 16 {
			from, to := row*16+column, column*16+row
			out[31-to/8] |= l[31-from/8] >> (from % 8) & 1 << (to % 8)
		}
	}
	return out
}

func BenchmarkLook(b *testing.B) {
	m := waves(512, 512, 1)
	for b.Loop() {
		hash.OfLook(m)
	}
}
