package goengine_test

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/image/bmp"
	"golang.org/x/image/tiff"

	"darkroom/internal/pixels"
	"darkroom/internal/pixels/goengine"
	"darkroom/internal/pixels/pixelstest"
)

// quarters is an image with a colour in each quarter, so that a turn or a flip shows.
func quarters(w, h int) *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			c := color.NRGBA{200, 40, 40, 255}
			switch {
			case x < w/2 && y >= h/2:
				c = color.NRGBA{40, 180, 60, 255}
			case x >= w/2 && y < h/2:
				c = color.NRGBA{50, 60, 200, 255}
			case x >= w/2:
				c = color.NRGBA{230, 230, 120, 255}
			}
			m.SetNRGBA(x, y, c)
		}
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

func encode(t testing.TB, p pixels.Picture, o pixels.EncodeOptions) []byte {
	t.Helper()
	b, err := p.Encode(o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func closeTo(a, b color.NRGBA, by int) bool {
	d := func(x, y uint8) bool { return max(x, y)-min(x, y) <= uint8(by) }
	return d(a.R, b.R) && d(a.G, b.G) && d(a.B, b.B) && d(a.A, b.A)
}

func TestOrientation(t *testing.T) {
	data := encoded(t, func(b *bytes.Buffer) error { return jpeg.Encode(b, quarters(64, 32), &jpeg.Options{Quality: 95}) })
	red, green, blue, yellow := color.NRGBA{200, 40, 40, 255}, color.NRGBA{40, 180, 60, 255}, color.NRGBA{50, 60, 200, 255}, color.NRGBA{230, 230, 120, 255}
	// The colours at the top left, top right, bottom left and bottom right of what is to be seen.
	for o, want := range map[int64][4]color.NRGBA{
		1: {red, blue, green, yellow}, 2: {blue, red, yellow, green}, 3: {yellow, green, blue, red}, 4: {green, yellow, red, blue},
		5: {red, green, blue, yellow}, 6: {green, red, yellow, blue}, 7: {yellow, blue, green, red}, 8: {blue, yellow, red, green},
	} {
		for _, scale := range []int{1, 2, 4} {
			size := image.Pt(64/scale, 32/scale)
			if o >= 5 {
				size = image.Pt(size.Y, size.X)
			}
			facts := pixels.Facts{Format: pixels.JPEG, Width: 64, Height: 32, Frames: 1, Orientation: o}
			p, err := goengine.New().Decode(data, facts, pixels.DecodeOptions{AtLeast: size})
			if err != nil {
				t.Fatal(err)
			}
			if p.Size() != size {
				t.Fatalf("orientation %d at 1/%d: %v is not %v", o, scale, p.Size(), size)
			}
			m := pixelsOf(t, p)
			l, r, u, d := size.X/4, size.X*3/4, size.Y/4, size.Y*3/4
			for i, at := range []image.Point{{l, u}, {r, u}, {l, d}, {r, d}} {
				if got := m.NRGBAAt(at.X, at.Y); !closeTo(got, want[i], 6) {
					t.Errorf("orientation %d at 1/%d: %v at %v, not %v", o, scale, got, at, want[i])
				}
			}
		}
	}
}

// A turned or mirrored picture has the colours where the picture as it is stored has them, also where the last sample of
// chroma sticks out.
func TestOrientationMovesNoColour(t *testing.T) {
	for _, size := range []image.Point{{32, 16}, {33, 16}, {32, 17}, {33, 17}} {
		m := image.NewNRGBA(image.Rectangle{Max: size})
		for y := range size.Y {
			for x := range size.X {
				c := color.NRGBA{200, 40, 40, 255}
				if (x/4+y/4)%2 == 0 {
					c = color.NRGBA{40, 60, 200, 255}
				}
				m.SetNRGBA(x, y, c)
			}
		}
		data := encoded(t, func(b *bytes.Buffer) error { return jpeg.Encode(b, m, &jpeg.Options{Quality: 95}) })
		shown := func(o int64) *image.NRGBA {
			facts := pixels.Facts{
				Format: pixels.JPEG, Width: int64(size.X), Height: int64(size.Y), Frames: 1, Orientation: o,
			}
			p, err := goengine.New().Decode(data, facts, pixels.DecodeOptions{})
			if err != nil {
				t.Fatal(err)
			}
			return pixelsOf(t, p)
		}
		stored := shown(1)
		// Where the pixel at x, y of what is shown is in what is stored.
		for o, from := range map[int64]func(x, y int) (int, int){
			2: func(x, y int) (int, int) { return size.X - 1 - x, y },
			3: func(x, y int) (int, int) { return size.X - 1 - x, size.Y - 1 - y },
			4: func(x, y int) (int, int) { return x, size.Y - 1 - y },
			5: func(x, y int) (int, int) { return y, x },
			6: func(x, y int) (int, int) { return y, size.Y - 1 - x },
			7: func(x, y int) (int, int) { return size.X - 1 - y, size.Y - 1 - x },
			8: func(x, y int) (int, int) { return size.X - 1 - y, x },
		} {
			got := shown(o)
			want := image.NewNRGBA(got.Rect)
			for y := range want.Rect.Dy() {
				for x := range want.Rect.Dx() {
					want.Set(x, y, stored.At(from(x, y)))
				}
			}
			if d := psnr(t, got, want); d < 45 {
				t.Errorf("%v with orientation %d: %.1f dB", size, o, d)
			}
		}
	}
}

func TestShrinkOnLoadNeverGoesBelowWhatIsNeeded(t *testing.T) {
	data := read(t, photos+"/picosdeeuropa.jpg")
	full := decode(t, data, pixels.DecodeOptions{})
	for _, least := range []image.Point{{1, 1}, {100, 75}, {200, 10}, {300, 300}, full.Size()} {
		p := decode(t, data, pixels.DecodeOptions{AtLeast: least})
		if p.Size().X < least.X || p.Size().Y < least.Y {
			t.Errorf("%v for %v", p.Size(), least)
		}
	}
}

func TestPNGOfEachKind(t *testing.T) {
	want := quarters(31, 17)
	deep := image.NewNRGBA64(want.Rect)
	grey, grey16 := image.NewGray(want.Rect), image.NewGray16(want.Rect)
	palette := image.NewPaletted(want.Rect, color.Palette{
		color.NRGBA{200, 40, 40, 255}, color.NRGBA{40, 180, 60, 255}, color.NRGBA{50, 60, 200, 255}, color.NRGBA{230, 230, 120, 255}, color.NRGBA{1, 2, 3, 0},
	})
	for y := range want.Rect.Dy() {
		for x := range want.Rect.Dx() {
			deep.Set(x, y, want.At(x, y))
			grey.Set(x, y, want.At(x, y))
			grey16.Set(x, y, grey.At(x, y))
			palette.Set(x, y, want.At(x, y))
		}
	}
	for name, m := range map[string]image.Image{"8 bit": want, "16 bit": deep, "palette": palette, "grey": grey, "16 bit grey": grey16} {
		data := encoded(t, func(b *bytes.Buffer) error { return png.Encode(b, m) })
		got := pixelsOf(t, decode(t, data, pixels.DecodeOptions{}))
		var ref image.Image = want
		if m == image.Image(grey) || m == image.Image(grey16) {
			ref = grey
		}
		if d := psnr(t, got, ref); d < 99 {
			t.Errorf("%s: %.1f dB", name, d)
		}
	}
}

func TestPNGOf16BitsWithAlpha(t *testing.T) {
	m := image.NewNRGBA64(image.Rect(0, 0, 3, 2))
	for i := range m.Pix {
		m.Pix[i] = byte(i * 5)
	}
	got := pixelsOf(t, decode(t, encoded(t, func(b *bytes.Buffer) error { return png.Encode(b, m) }), pixels.DecodeOptions{}))
	for i, v := range got.Pix {
		if v != m.Pix[2*i] {
			t.Fatalf("byte %d is %d, not the high byte %d", i, v, m.Pix[2*i])
		}
	}
}

// The highest frequency alone comes after a long run of zeros.
func TestJPEGEncoderWritesLongRuns(t *testing.T) {
	m := image.NewGray(image.Rect(0, 0, 16, 16))
	for i := range m.Pix {
		wave := func(at int) float64 { return math.Cos(float64(2*(at%8)+1) * 7 * math.Pi / 16) }
		m.Pix[i] = byte(128 + 120*wave(i%16)*wave(i/16))
	}
	p := decode(t, encoded(t, func(b *bytes.Buffer) error { return png.Encode(b, m) }), pixels.DecodeOptions{})
	got, err := jpeg.Decode(bytes.NewReader(encode(t, p, pixels.EncodeOptions{Format: pixels.JPEG, Quality: 50})))
	if err != nil {
		t.Fatal(err)
	}
	if d := psnr(t, got, m); d < 20 {
		t.Errorf("%.1f dB", d)
	}
}

// Probe would refuse the file; the engine must not panic for what it is handed nevertheless.
func TestPanicIsAnErrorAboutTheImage(t *testing.T) {
	data := []byte("RIFF\x14\x00\x00\x00WEBPVP8X\x00\x00\x00\x00ANMF\x00\x00\x00\x00")
	_, err := goengine.New().Decode(data, pixels.Facts{Format: pixels.WebP, Width: 4, Height: 4, Frames: 1, Orientation: 1}, pixels.DecodeOptions{})
	if pixels.CodeOf(err) != pixels.CodeMalformed {
		t.Errorf("%v", err)
	}
}

func TestBMPAndTIFF(t *testing.T) {
	want := quarters(31, 17)
	for name, data := range map[string][]byte{
		"bmp":  encoded(t, func(b *bytes.Buffer) error { return bmp.Encode(b, want) }),
		"tiff": encoded(t, func(b *bytes.Buffer) error { return tiff.Encode(b, want, &tiff.Options{Compression: tiff.Deflate}) }),
	} {
		if d := psnr(t, pixelsOf(t, decode(t, data, pixels.DecodeOptions{})), want); d < 99 {
			t.Errorf("%s: %.1f dB", name, d)
		}
	}
}

func TestEncodedFilesDecodeToThePicture(t *testing.T) {
	p := decode(t, read(t, photos+"/friends.jpg"), pixels.DecodeOptions{AtLeast: image.Pt(100, 100)})
	want := pixelsOf(t, p)
	for format, least := range map[pixels.Format]float64{pixels.JPEG: 36, pixels.PNG: 99, pixels.WebP: 36, pixels.GIF: 28, pixels.AVIF: 34} {
		data := encode(t, p, pixels.EncodeOptions{Format: format, Quality: 92})
		facts := pixels.Facts{Format: format, Width: int64(want.Rect.Dx()), Height: int64(want.Rect.Dy()), Frames: 1, Orientation: 1}
		q, err := goengine.New().Decode(data, facts, pixels.DecodeOptions{})
		if err != nil {
			t.Fatalf("%s: %v", format, err)
		}
		d := psnr(t, pixelsOf(t, q), want)
		t.Logf("%s: %.1f dB, %d bytes", format, d, len(data))
		if d < least {
			t.Errorf("%s: %.1f dB", format, d)
		}
		if again := encode(t, p, pixels.EncodeOptions{Format: format, Quality: 92}); !bytes.Equal(again, data) {
			t.Errorf("%s: other bytes the second time", format)
		}
		for _, word := range []string{"Exif", "ICC_PROFILE", "http://ns.adobe.com", "ICCP", "eXIf", "iCCP", "tEXt"} {
			if bytes.Contains(data, []byte(word)) {
				t.Errorf("%s: has %s", format, word)
			}
		}
	}
}

// The standard library is the second opinion about the encoder's files of any size.
func TestJPEGEncoderSizes(t *testing.T) {
	source := decode(t, read(t, photos+"/friends.jpg"), pixels.DecodeOptions{})
	for _, size := range []image.Point{{1, 1}, {1, 40}, {8, 8}, {15, 17}, {16, 16}, {33, 31}, {100, 3}} {
		p, err := source.Resize(image.Rectangle{Max: source.Size()}, size)
		if err != nil {
			t.Fatal(err)
		}
		for _, quality := range []int{1, 30, 80, 100} {
			m, err := jpeg.Decode(bytes.NewReader(encode(t, p, pixels.EncodeOptions{Format: pixels.JPEG, Quality: quality})))
			if err != nil {
				t.Fatalf("%v at %d: %v", size, quality, err)
			}
			if d := psnr(t, m, pixelsOf(t, p)); m.Bounds().Size() != size || quality == 100 && d < 30 {
				t.Errorf("%v at %d: %v, %.1f dB", size, quality, m.Bounds(), d)
			}
		}
	}
}

// animated is a GIF whose second frame covers a part and whose third puts back what was there.
func animated(t testing.TB) []byte {
	palette := color.Palette{color.RGBA{}, color.RGBA{220, 30, 30, 255}, color.RGBA{30, 220, 30, 255}, color.RGBA{30, 30, 220, 255}}
	fill := func(r image.Rectangle, i uint8) *image.Paletted {
		m := image.NewPaletted(r, palette)
		for at := range m.Pix {
			m.Pix[at] = i
		}
		return m
	}
	return encoded(t, func(b *bytes.Buffer) error {
		return gif.EncodeAll(b, &gif.GIF{
			Image:     []*image.Paletted{fill(image.Rect(0, 0, 32, 24), 1), fill(image.Rect(8, 8, 24, 16), 2), fill(image.Rect(0, 0, 4, 4), 3)},
			Delay:     []int{10, 20, 30},
			Disposal:  []byte{gif.DisposalNone, gif.DisposalPrevious, gif.DisposalBackground},
			LoopCount: 0,
		})
	})
}

func TestAnimationsGoThroughGIFAndWebP(t *testing.T) {
	p := decode(t, animated(t), pixels.DecodeOptions{AllFrames: true})
	red, green, blue := color.NRGBA{220, 30, 30, 255}, color.NRGBA{30, 220, 30, 255}, color.NRGBA{30, 30, 220, 255}
	check := func(what string, data []byte) {
		t.Helper()
		facts, err := pixels.Probe(bytes.NewReader(data), pixels.Limits{})
		if err != nil || facts.Frames != 3 || facts.Width != 32 || facts.Height != 24 {
			t.Fatalf("%s: %+v, %v", what, facts, err)
		}
		frames := goengine.Frames(decode(t, data, pixels.DecodeOptions{AllFrames: true}))
		for i, want := range [][3]color.NRGBA{{red, red, red}, {red, green, red}, {blue, red, red}} {
			m := frames[i]
			for j, at := range []image.Point{{1, 1}, {16, 12}, {30, 22}} {
				if got := m.NRGBAAt(at.X, at.Y); !closeTo(got, want[j], 12) {
					t.Errorf("%s: frame %d has %v at %v, not %v", what, i, got, at, want[j])
				}
			}
		}
		if d := fmt.Sprint(goengine.Delays(decode(t, data, pixels.DecodeOptions{AllFrames: true}))); d != "[100 200 300]" {
			t.Errorf("%s: delays %s", what, d)
		}
		if n := decode(t, data, pixels.DecodeOptions{}).Frames(); n != 1 {
			t.Errorf("%s: %d frames where one was asked for", what, n)
		}
	}
	check("GIF", animated(t))
	check("GIF of GIF", encode(t, p, pixels.EncodeOptions{Format: pixels.GIF, Animate: true}))
	check("WebP of GIF", encode(t, p, pixels.EncodeOptions{Format: pixels.WebP, Quality: 90, Animate: true}))
}

func TestAPNG(t *testing.T) {
	chunk := func(b []byte, kind string, body []byte) []byte {
		b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
		b = append(append(b, kind...), body...)
		return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[len(b)-len(body)-4:]))
	}
	data := func(w, h int, c [4]byte) []byte {
		return encoded(t, func(b *bytes.Buffer) error {
			z := zlib.NewWriter(b)
			for range h {
				if _, err := z.Write(append([]byte{0}, bytes.Repeat(c[:], w)...)); err != nil {
					return err
				}
			}
			return z.Close()
		})
	}
	fctl := func(seq, w, h, x, y uint32, dispose, blend byte) []byte {
		var b []byte
		for _, v := range []uint32{seq, w, h, x, y} {
			b = binary.BigEndian.AppendUint32(b, v)
		}
		return append(b, 0, 1, 0, 10, dispose, blend)
	}
	b := []byte("\x89PNG\r\n\x1a\n")
	b = chunk(b, "IHDR", []byte{0, 0, 0, 8, 0, 0, 0, 6, 8, 6, 0, 0, 0})
	b = chunk(b, "acTL", []byte{0, 0, 0, 2, 0, 0, 0, 0})
	b = chunk(b, "fcTL", fctl(0, 8, 6, 0, 0, 0, 0))
	b = chunk(b, "IDAT", data(8, 6, [4]byte{200, 0, 0, 255}))
	b = chunk(b, "fcTL", fctl(1, 2, 2, 4, 2, 0, 1))
	b = chunk(b, "fdAT", append([]byte{0, 0, 0, 2}, data(2, 2, [4]byte{0, 200, 0, 128})...))
	b = chunk(b, "IEND", nil)
	frames := goengine.Frames(decode(t, b, pixels.DecodeOptions{AllFrames: true}))
	if len(frames) != 2 {
		t.Fatalf("%d frames", len(frames))
	}
	for at, want := range map[image.Point]color.NRGBA{{0, 0}: {200, 0, 0, 255}, {4, 2}: {100, 100, 0, 255}, {6, 4}: {200, 0, 0, 255}} {
		if got := frames[1].NRGBAAt(at.X, at.Y); !closeTo(got, want, 1) {
			t.Errorf("%v at %v, not %v", got, at, want)
		}
	}
}

func TestAlphaIsResampledPremultipliedAndFlattened(t *testing.T) {
	m := image.NewNRGBA(image.Rect(0, 0, 40, 40))
	for y := range 40 {
		for x := range 40 {
			m.SetNRGBA(x, y, color.NRGBA{0, 255, 0, 0}) // a green that is not to be seen
			if x < 20 {
				m.SetNRGBA(x, y, color.NRGBA{255, 0, 0, 255})
			}
		}
	}
	p := decode(t, encoded(t, func(b *bytes.Buffer) error { return png.Encode(b, m) }), pixels.DecodeOptions{})
	q, err := p.Resize(image.Rectangle{Max: p.Size()}, image.Pt(15, 15))
	if err != nil {
		t.Fatal(err)
	}
	for x := range 15 {
		if c := pixelsOf(t, q).NRGBAAt(x, 7); c.G > 3 {
			t.Errorf("green shines through at %d: %v", x, c)
		}
	}
	flat, err := jpeg.Decode(bytes.NewReader(encode(t, p, pixels.EncodeOptions{Format: pixels.JPEG, Quality: 95, Background: color.RGBA{0, 0, 255, 255}})))
	if err != nil {
		t.Fatal(err)
	}
	if c := color.NRGBAModel.Convert(flat.At(35, 20)).(color.NRGBA); !closeTo(c, color.NRGBA{0, 0, 255, 255}, 6) {
		t.Errorf("the background is %v", c)
	}
	for _, f := range []pixels.Format{pixels.PNG, pixels.WebP, pixels.AVIF, pixels.GIF} {
		facts := pixels.Facts{Format: f, Width: 40, Height: 40, Frames: 1, Orientation: 1}
		r, err := goengine.New().Decode(encode(t, p, pixels.EncodeOptions{Format: f, Quality: 90}), facts, pixels.DecodeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		n := pixelsOf(t, r)
		if n.NRGBAAt(35, 20).A > 4 || n.NRGBAAt(4, 20).A < 251 {
			t.Errorf("%s: alpha of %d and %d", f, n.NRGBAAt(35, 20).A, n.NRGBAAt(4, 20).A)
		}
	}
}

func TestResizeIsNearAReferenceInFloats(t *testing.T) {
	for _, file := range []string{"aitzgorri.jpg", "wine.png", "life.webp"} {
		p := decode(t, read(t, filepath.Join(photos, file)), pixels.DecodeOptions{})
		for _, w := range []int{700, 333, 100} {
			size := image.Pt(w, max(p.Size().Y*w/p.Size().X, 1))
			q, err := p.Resize(image.Rectangle{Max: p.Size()}, size)
			if err != nil {
				t.Fatal(err)
			}
			d := psnr(t, luma(pixelsOf(t, q)), luma(lanczos(pixelsOf(t, p), size)))
			t.Logf("%s to %d: %.1f dB", file, w, d)
			if d < 45 {
				t.Errorf("%s to %d: %.1f dB", file, w, d)
			}
		}
	}
}

// lanczos is a resampler without any economy.
func lanczos(m *image.NRGBA, size image.Point) *image.NRGBA {
	pass := func(src [][3]float64, w, h, n int) [][3]float64 { // makes rows of w into rows of n, and turns them into columns
		out := make([][3]float64, n*h)
		step := float64(w) / float64(n)
		s := max(step, 1)
		for i := range n {
			c := (float64(i)+0.5)*step - 0.5
			from, to := max(int(math.Ceil(c-3*s)), 0), min(int(math.Floor(c+3*s)), w-1)
			sum := 0.0
			var ws []float64
			for j := from; j <= to; j++ {
				x, v := (float64(j)-c)/s, 1.0
				if x != 0 {
					v = 3 * math.Sin(math.Pi*x) * math.Sin(math.Pi*x/3) / (math.Pi * math.Pi * x * x)
				}
				ws, sum = append(ws, v), sum+v
			}
			for y := range h {
				for j, v := range ws {
					for k := range 3 {
						out[i*h+y][k] += src[y*w+from+j][k] * v / sum
					}
				}
			}
		}
		return out
	}
	w, h := m.Rect.Dx(), m.Rect.Dy()
	src := make([][3]float64, w*h)
	for i := range src {
		for k := range 3 {
			src[i][k] = float64(m.Pix[4*i+k])
		}
	}
	out := pass(pass(src, w, h, size.X), h, size.X, size.Y)
	n := image.NewNRGBA(image.Rectangle{Max: size})
	for i, c := range out {
		for k := range 3 {
			n.Pix[4*i+k] = uint8(min(max(math.Round(c[k]), 0), 255))
		}
		n.Pix[4*i+3] = 255
	}
	return n
}

func TestCropIsThePartThatWasAsked(t *testing.T) {
	p := decode(t, read(t, photos+"/friends.jpg"), pixels.DecodeOptions{})
	whole := pixelsOf(t, p)
	crop := image.Rect(33, 51, 183, 151)
	q, err := p.Resize(crop, crop.Size())
	if err != nil {
		t.Fatal(err)
	}
	if d := psnr(t, pixelsOf(t, q), whole.SubImage(crop)); d < 38 {
		t.Errorf("%.1f dB", d)
	}
	for _, c := range []image.Rectangle{{}, image.Rect(-1, 0, 5, 5), image.Rect(0, 0, p.Size().X+1, 5)} {
		if _, err := p.Resize(c, image.Pt(5, 5)); err == nil {
			t.Errorf("the crop %v passed", c)
		}
	}
}

func TestSharpenMakesEdgesStrongerAndKeepsFlats(t *testing.T) {
	p := decode(t, read(t, photos+"/friends.jpg"), pixels.DecodeOptions{AtLeast: image.Pt(200, 200)})
	q, err := p.Sharpen(1)
	if err != nil {
		t.Fatal(err)
	}
	if d := psnr(t, pixelsOf(t, p), pixelsOf(t, q)); d > 45 || d < 15 {
		t.Errorf("%.1f dB", d)
	}
	flat := image.NewNRGBA(image.Rect(0, 0, 9, 9))
	for i := range flat.Pix {
		flat.Pix[i] = 200
	}
	f := decode(t, encoded(t, func(b *bytes.Buffer) error { return png.Encode(b, flat) }), pixels.DecodeOptions{})
	if q, err = f.Sharpen(2); err != nil || !bytes.Equal(pixelsOf(t, q).Pix, flat.Pix) {
		t.Error("a flat picture was altered", err)
	}
	if _, err := p.Sharpen(math.NaN()); err == nil {
		t.Error("an amount that is no number passed")
	}
}

func TestBrokenFilesAreErrorsAboutTheImage(t *testing.T) {
	for name, data := range samples(t) {
		facts, err := pixels.Probe(bytes.NewReader(data), pixels.Limits{})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for cut := 0; cut < len(data); cut += max(len(data)/40, 1) {
			_, err := goengine.New().Decode(data[:cut], facts, pixels.DecodeOptions{AllFrames: true})
			if err != nil && pixels.CodeOf(err) == "" {
				t.Errorf("%s cut at %d: %v has no code", name, cut, err)
			}
			noisy := bytes.Clone(data)
			for i := cut; i < min(cut+8, len(noisy)); i++ {
				noisy[i] ^= 0x5a
			}
			if _, err = goengine.New().Decode(noisy, facts, pixels.DecodeOptions{AllFrames: true}); err != nil && pixels.CodeOf(err) == "" {
				t.Errorf("%s with noise at %d: %v has no code", name, cut, err)
			}
		}
	}
	_, err := goengine.New().Decode([]byte("x"), pixels.Facts{Format: pixels.HEIC, Width: 1, Height: 1}, pixels.DecodeOptions{})
	if pixels.CodeOf(err) != pixels.CodeUnsupportedFormat {
		t.Errorf("HEIC: %v", err)
	}
}

// samples is a small file of each kind.
func samples(t testing.TB) map[string][]byte {
	m := quarters(24, 18)
	s := map[string][]byte{
		"png":  encoded(t, func(b *bytes.Buffer) error { return png.Encode(b, m) }),
		"bmp":  encoded(t, func(b *bytes.Buffer) error { return bmp.Encode(b, m) }),
		"tiff": encoded(t, func(b *bytes.Buffer) error { return tiff.Encode(b, m, nil) }),
		"gif":  animated(t),
	}
	p := decode(t, animated(t), pixels.DecodeOptions{AllFrames: true})
	s["webp"] = encode(t, p, pixels.EncodeOptions{Format: pixels.WebP, Quality: 80})
	s["webps"] = encode(t, p, pixels.EncodeOptions{Format: pixels.WebP, Quality: 80, Animate: true})
	files, err := filepath.Glob("testdata/*.jpg")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if s[filepath.Base(file)], err = os.ReadFile(file); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func FuzzDecode(f *testing.F) {
	pixelstest.Fuzz(f, goengine.New(), slices.Collect(maps.Values(samples(f)))...)
}
