package pixels_test

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"slices"
	"strings"
	"testing"

	"golang.org/x/image/draw"
	"pgregory.net/rapid"

	"darkroom/internal/pixels"
)

// simple is an engine of the standard library that counts what it is asked to do.
type simple struct {
	decoded []pixels.DecodeOptions
	resized []image.Point // sizes from which, then to which, was resized
	open    int
}

func (*simple) Info() pixels.EngineInfo {
	return pixels.EngineInfo{
		Name: "simple", Decodes: []pixels.Format{pixels.JPEG, pixels.PNG, pixels.GIF},
		Encodes: []pixels.Format{pixels.JPEG, pixels.PNG, pixels.GIF, pixels.WebP},
	}
}

func (e *simple) Decode(data []byte, facts pixels.Facts, opts pixels.DecodeOptions) (pixels.Picture, error) {
	e.decoded = append(e.decoded, opts)
	m, _, err := image.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, &pixels.Error{Code: pixels.CodeMalformed, Err: err}
	}
	frames := 1
	if opts.AllFrames {
		frames = int(facts.Frames)
	}
	return e.picture(m, image.Pt(m.Bounds().Dx(), m.Bounds().Dy()), m.Bounds(), frames), nil
}

func (e *simple) picture(m image.Image, size image.Point, crop image.Rectangle, frames int) *simplePicture {
	p := image.NewNRGBA(image.Rectangle{Max: size})
	draw.CatmullRom.Scale(p, p.Rect, m, crop, draw.Src, nil)
	e.open++
	return &simplePicture{e, p, frames, false}
}

type simplePicture struct {
	e      *simple
	m      *image.NRGBA
	frames int
	closed bool
}

func (p *simplePicture) Size() image.Point {
	if p.closed {
		panic("used after it was closed")
	}
	return p.m.Rect.Max
}
func (p *simplePicture) Frames() int { return p.frames }
func (p *simplePicture) Resize(crop image.Rectangle, size image.Point) (pixels.Picture, error) {
	if !crop.In(image.Rectangle{Max: p.Size()}) || crop.Empty() {
		return nil, errors.New("a crop outside of the picture")
	}
	p.e.resized = append(p.e.resized, p.Size(), size)
	return p.e.picture(p.m, size, crop, p.frames), nil
}

func (p *simplePicture) Sharpen(float64) (pixels.Picture, error) {
	return p.e.picture(p.m, p.Size(), p.m.Rect, p.frames), nil
}

func (p *simplePicture) Encode(o pixels.EncodeOptions) ([]byte, error) {
	p.Size()
	var b bytes.Buffer
	var err error
	switch o.Format {
	case pixels.JPEG:
		err = jpeg.Encode(&b, p.m, &jpeg.Options{Quality: o.Quality})
	case pixels.PNG:
		err = png.Encode(&b, p.m)
	case pixels.GIF:
		err = gif.Encode(&b, p.m, nil)
	case pixels.WebP: // a container without pixels
		switch size := p.Size(); o.Quality {
		case 1:
			b.Write(webpOf(vp8l(size.X, size.Y)))
		case 2:
			b.Write(webpOf(vp8x(0, size.X, size.Y), vp8(size.X, size.Y)))
		default:
			b.Write(webpOf(vp8(size.X, size.Y)))
		}
	}
	return b.Bytes(), err
}
func (p *simplePicture) NRGBA() (*image.NRGBA, error) { return p.m, nil }
func (p *simplePicture) Close() {
	if p.closed {
		panic("closed twice")
	}
	p.closed = true
	p.e.open--
}

// scene is a picture with something to see: noise at a place, grey elsewhere.
func scene(w, h int, busy image.Rectangle) *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	seed := uint32(1)
	for y := range h {
		for x := range w {
			c := color.NRGBA{128, 128, 128, 255}
			if image.Pt(x, y).In(busy) {
				seed = seed*1664525 + 1013904223
				c = color.NRGBA{byte(seed >> 24), byte(seed >> 16), byte(seed >> 8), 255}
			}
			m.SetNRGBA(x, y, c)
		}
	}
	return m
}

func TestPlan(t *testing.T) {
	for _, c := range []struct {
		o           pixels.Output
		full        image.Point
		whole, size image.Point
	}{
		{pixels.Output{Width: 1600}, image.Pt(4000, 3000), image.Pt(1600, 1200), image.Pt(1600, 1200)},
		{pixels.Output{Height: 300}, image.Pt(4000, 3000), image.Pt(400, 300), image.Pt(400, 300)},
		{pixels.Output{Width: 100, Height: 100}, image.Pt(4000, 3000), image.Pt(100, 75), image.Pt(100, 75)},
		{pixels.Output{Width: 100, Height: 10}, image.Pt(3000, 4000), image.Pt(8, 10), image.Pt(8, 10)},
		{pixels.Output{Width: 8000}, image.Pt(40, 30), image.Pt(40, 30), image.Pt(40, 30)},
		{pixels.Output{Width: 80, Enlarge: true}, image.Pt(40, 30), image.Pt(80, 60), image.Pt(80, 60)},
		{pixels.Output{Width: 10}, image.Pt(4000, 1), image.Pt(10, 1), image.Pt(10, 1)},
		{pixels.Output{Width: 16383, Height: 0, Enlarge: true}, image.Pt(1, 100_000), image.Pt(1, 16383), image.Pt(1, 16383)},
		{pixels.Output{Width: 100, Height: 100, Fit: pixels.Cover}, image.Pt(4000, 3000), image.Pt(133, 100), image.Pt(100, 100)},
		{pixels.Output{Width: 100, Height: 100, Fit: pixels.Cover}, image.Pt(3000, 4000), image.Pt(100, 133), image.Pt(100, 100)},
		{pixels.Output{Width: 100, Height: 50, Fit: pixels.Cover}, image.Pt(50, 50), image.Pt(50, 50), image.Pt(50, 25)},
		{pixels.Output{Width: 100, Height: 50, Fit: pixels.Cover, Enlarge: true}, image.Pt(50, 50), image.Pt(100, 100), image.Pt(100, 50)},
		{pixels.Output{Width: 100, Height: 50, Fit: pixels.Exact}, image.Pt(50, 50), image.Pt(50, 25), image.Pt(50, 25)},
		{pixels.Output{Width: 100, Height: 50, Fit: pixels.Exact, Enlarge: true}, image.Pt(50, 50), image.Pt(100, 50), image.Pt(100, 50)},
	} {
		if whole, size := c.o.Plan(c.full); whole != c.whole || size != c.size {
			t.Errorf("%+v of %v: %v of %v, want %v of %v", c.o, c.full, size, whole, c.size, c.whole)
		}
	}
}

// Whatever is wanted of whatever image, the derivative is in its box, not enlarged unless asked, and the whole covers it.
func TestPlanHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		side := rapid.IntRange(1, 16383)
		o := pixels.Output{
			Width: side.Draw(t, "width"), Height: side.Draw(t, "height"), Enlarge: rapid.Bool().Draw(t, "enlarge"),
			Fit: rapid.SampledFrom(pixels.Fits).Draw(t, "fit"),
		}
		full := image.Pt(side.Draw(t, "w"), side.Draw(t, "h"))
		whole, size := o.Plan(full)
		switch {
		case size.X < 1 || size.Y < 1 || size.X > o.Width || size.Y > o.Height:
			t.Fatalf("%v is not in its box", size)
		case !o.Enlarge && (whole.X > full.X || whole.Y > full.Y):
			t.Fatalf("%v was enlarged to %v", full, whole)
		case whole.X < size.X || whole.Y < size.Y:
			t.Fatalf("%v is cut of %v", size, whole)
		case o.Fit == pixels.Cover && whole.X > size.X+1 && whole.Y > size.Y+1:
			t.Fatalf("%v of %v is cut in both directions", size, whole)
		}
	})
}

// Inside keeps the ratio of the sides, also where an image is longer than the formats have room for.
func TestInsideKeepsTheRatio(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		side, wanted := rapid.IntRange(1, 100_000), rapid.IntRange(0, 16383)
		full := image.Pt(side.Draw(t, "w"), side.Draw(t, "h"))
		o := pixels.Output{
			Width: wanted.Draw(t, "width"), Height: wanted.Draw(t, "height"), Enlarge: rapid.Bool().Draw(t, "enlarge"),
		}
		if o.Width == 0 && o.Height == 0 {
			t.Skip("no box")
		}
		_, size := o.Plan(full)
		if size.X < 1 || size.Y < 1 || size.X > 16383 || size.Y > 16383 {
			t.Fatalf("%v", size)
		}
		// Each side is rounded, and has a pixel in any case.
		scaleX, scaleY := float64(size.X)/float64(full.X), float64(size.Y)/float64(full.Y)
		rounding := 0.5/float64(full.X) + 0.5/float64(full.Y) + 1e-9
		if d := scaleX - scaleY; d > rounding && size.X > 1 || -d > rounding && size.Y > 1 {
			t.Fatalf("%v becomes %v", full, size)
		}
	})
}

func TestOneDecodeManyOutputs(t *testing.T) {
	e := &simple{}
	data := jpegOf(t, scene(640, 480, image.Rect(0, 0, 640, 480)))
	var outputs []pixels.Output
	for _, w := range []int{40, 320, 80, 160, 300} { // in no order
		for _, f := range []pixels.Format{pixels.JPEG, pixels.PNG} {
			outputs = append(outputs, pixels.Output{Width: w, Format: f})
		}
	}
	outputs = append(outputs, pixels.Output{Width: 50, Height: 50, Fit: pixels.Cover, Format: pixels.JPEG, Sharpen: 1})
	made, err := pixels.Derive(e, data, pixels.Limits{}, outputs)
	if err != nil {
		t.Fatal(err)
	}
	for i, d := range made {
		m, format, err := image.Decode(bytes.NewReader(d.Data))
		_, want := outputs[i].Plan(image.Pt(640, 480))
		if err != nil || m.Bounds().Max != want || d.Width != want.X || d.Height != want.Y || pixels.Format(format) != outputs[i].Format {
			t.Errorf("%+v: %s %v, %v", outputs[i], format, m.Bounds(), err)
		}
	}
	// 300 is made of all pixels, as 320 is not large enough for it; 160 is made of 320, and so on.
	want := []image.Point{
		{640, 480}, {320, 240}, {640, 480}, {300, 225}, {300, 225}, {160, 120}, {160, 120}, {80, 60}, {160, 120}, {50, 50}, {80, 60}, {40, 30},
	}
	if !slices.Equal(e.resized, want) {
		t.Errorf("resized %v, want %v", e.resized, want)
	}
	if len(e.decoded) != 1 || e.decoded[0] != (pixels.DecodeOptions{AtLeast: image.Pt(320, 240), FullColour: true}) || e.open != 0 {
		t.Errorf("decoded with %+v, %d pictures left open", e.decoded, e.open)
	}
}

// A stretched or cut picture is not what another output is made of.
func TestWhatIsCutIsNoLevel(t *testing.T) {
	data := jpegOf(t, scene(640, 480, image.Rect(0, 0, 320, 480)))
	alone := func(o pixels.Output) []byte {
		made, err := pixels.Derive(&simple{}, data, pixels.Limits{}, []pixels.Output{o})
		if err != nil {
			t.Fatal(err)
		}
		return made[0].Data
	}
	outputs := []pixels.Output{
		{Width: 200, Height: 200, Fit: pixels.Exact, Format: pixels.PNG},
		{Width: 200, Height: 200, Fit: pixels.Cover, Format: pixels.PNG},
		{Width: 200, Height: 200, Fit: pixels.Cover, Format: pixels.PNG, Gravity: pixels.Attention},
		{Width: 100, Height: 100, Format: pixels.PNG},
	}
	made, err := pixels.Derive(&simple{}, data, pixels.Limits{}, outputs)
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range outputs {
		if !bytes.Equal(made[i].Data, alone(o)) {
			t.Errorf("%+v is another one beside others", o)
		}
	}
}

func TestGravity(t *testing.T) {
	for _, busy := range []image.Rectangle{image.Rect(20, 30, 60, 70), image.Rect(320, 30, 360, 70)} {
		for _, turned := range []bool{false, true} {
			size := image.Pt(400, 100)
			if turned {
				size = image.Pt(100, 400)
				busy = image.Rect(busy.Min.Y, busy.Min.X, busy.Max.Y, busy.Max.X)
			}
			data := pngOf(t, scene(size.X, size.Y, busy))
			for g, kept := range map[pixels.Gravity]bool{pixels.Centre: false, pixels.Entropy: true, pixels.Attention: true} {
				made, err := pixels.Derive(&simple{}, data, pixels.Limits{}, []pixels.Output{
					{Width: 100, Height: 100, Fit: pixels.Cover, Gravity: g, Format: pixels.PNG},
				})
				if err != nil {
					t.Fatal(err)
				}
				m, err := png.Decode(bytes.NewReader(made[0].Data))
				if err != nil {
					t.Fatal(err)
				}
				loud := 0
				for y := range 100 {
					for x := range 100 {
						if r, _, _, _ := m.At(x, y).RGBA(); r>>8 < 120 || r>>8 > 136 {
							loud++
						}
					}
				}
				if all := loud > 1400; all != kept {
					t.Errorf("%s of %v: %d of 1600 pixels of what there is to see", g, busy, loud)
				}
			}
		}
	}
}

func TestTargetBytes(t *testing.T) {
	data := jpegOf(t, scene(200, 200, image.Rect(0, 0, 200, 200)))
	derive := func(o pixels.Output) (pixels.Derivative, error) {
		o.Width, o.Format = 200, pixels.JPEG
		made, err := pixels.Derive(&simple{}, data, pixels.Limits{}, []pixels.Output{o})
		if err != nil {
			return pixels.Derivative{}, err
		}
		return made[0], nil
	}
	best, err := derive(pixels.Output{Quality: 90})
	if err != nil || best.Quality != 90 {
		t.Fatal(best.Quality, err)
	}
	if same, err := derive(pixels.Output{Quality: 90, TargetBytes: len(best.Data)}); err != nil || same.Quality != 90 {
		t.Errorf("as many bytes as it takes: quality %d, %v", same.Quality, err)
	}
	less, err := derive(pixels.Output{Quality: 90, TargetBytes: len(best.Data) / 2})
	if err != nil || len(less.Data) > len(best.Data)/2 || less.Quality >= 90 {
		t.Fatalf("half: %d of %d bytes, quality %d, %v", len(less.Data), len(best.Data), less.Quality, err)
	}
	if more, err := derive(pixels.Output{Quality: less.Quality + 1}); err != nil || len(more.Data) <= len(best.Data)/2 {
		t.Errorf("quality %d would do as well: %d bytes, %v", more.Quality, len(more.Data), err)
	}
	if _, err := derive(pixels.Output{TargetBytes: 300}); pixels.CodeOf(err) != pixels.CodeOverTarget {
		t.Errorf("300 bytes: %v", err)
	}
	for _, q := range []int{4, 10} { // at which nothing lower is tried
		low, err := derive(pixels.Output{Quality: q})
		if err != nil {
			t.Fatal(err)
		}
		_, err = derive(pixels.Output{Quality: q, TargetBytes: 300})
		says := fmt.Sprintf("%d bytes at the lowest quality of %d,", len(low.Data), q)
		if pixels.CodeOf(err) != pixels.CodeOverTarget || !strings.Contains(strings.Replace(err.Error(), ",", "", 1), says) {
			t.Errorf("300 bytes at a quality of %d: %v, want %q", q, err, says)
		}
	}
}

func TestCopyrightIsKeptWhenAsked(t *testing.T) {
	plain := jpegOf(t, scene(20, 10, image.Rectangle{}))
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`([a-zé©]([a-zé© ]{0,9}[a-z])?)?`)
		artist, copyright := text.Draw(t, "artist"), text.Draw(t, "copyright")
		data := jpegExif(plain, exifOf(be, []tag{{0x013b, artist + "\x00"}, {0x8298, copyright + "\x00"}}))
		o := pixels.Output{
			Width: 10, Format: rapid.SampledFrom([]pixels.Format{pixels.JPEG, pixels.PNG, pixels.WebP}).Draw(t, "format"),
			Quality: rapid.IntRange(1, 3).Draw(t, "quality"), Copyright: rapid.Bool().Draw(t, "copyright kept"),
		}
		made, err := pixels.Derive(&simple{}, data, pixels.Limits{}, []pixels.Output{o})
		if err != nil {
			t.Fatal(err)
		}
		facts, err := pixels.Probe(bytes.NewReader(made[0].Data), pixels.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		want := pixels.Facts{Format: o.Format, Width: 10, Height: 5, Frames: 1, Orientation: 1}
		if o.Copyright {
			want.Artist, want.Copyright = strings.Join(strings.Fields(artist), " "), strings.Join(strings.Fields(copyright), " ")
		}
		if facts != want {
			t.Fatalf("%+v, want %+v", facts, want)
		}
		if o.Format != pixels.WebP {
			if _, _, err := image.Decode(bytes.NewReader(made[0].Data)); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestWhatCannotBeDerived(t *testing.T) {
	good := jpegOf(t, scene(40, 30, image.Rectangle{}))
	animated := samples(t)["gif animated"].data
	for _, c := range []struct {
		name string
		data []byte
		o    pixels.Output
		lim  pixels.Limits
		code string
	}{
		{"cut", good[:len(good)/2], pixels.Output{}, pixels.Limits{}, pixels.CodeTruncated},
		{"no image", []byte("hello"), pixels.Output{}, pixels.Limits{}, pixels.CodeUnknownFormat},
		{"too large", good, pixels.Output{}, pixels.Limits{MaxPixels: 1199}, pixels.CodeTooManyPixels},
		{"not encoded", good, pixels.Output{Format: pixels.AVIF}, pixels.Limits{}, pixels.CodeUnsupportedFormat},
		{"not decoded", samples(t)["bmp palette"].data, pixels.Output{}, pixels.Limits{}, pixels.CodeUnsupportedFormat},
		{"too many frames", animated, pixels.Output{Format: pixels.GIF, Animate: true}, pixels.Limits{MaxVolume: 100}, pixels.CodeTooManyPixels},
		{"one frame", animated, pixels.Output{Format: pixels.GIF}, pixels.Limits{MaxVolume: 100}, ""},
	} {
		if c.o.Format == "" {
			c.o.Format = pixels.JPEG
		}
		c.o.Width = 10
		e := &simple{}
		_, err := pixels.Derive(e, c.data, c.lim, []pixels.Output{c.o})
		if pixels.CodeOf(err) != c.code || e.open != 0 {
			t.Errorf("%s: %v, want %s", c.name, err, c.code)
		}
	}
	for _, o := range []pixels.Output{
		{}, {Width: 10, Format: "tga"}, {Width: -1, Format: pixels.JPEG}, {Width: 16384, Format: pixels.JPEG}, {Format: pixels.JPEG},
		{Width: 10, Format: pixels.JPEG, Fit: "fill"}, {Width: 10, Format: pixels.JPEG, Fit: pixels.Cover},
		{Width: 10, Format: pixels.JPEG, Gravity: "north"}, {Width: 10, Format: pixels.JPEG, Quality: 101},
		{Width: 10, Format: pixels.PNG, TargetBytes: 100}, {Width: 10, Format: pixels.JPEG, Sharpen: -1},
		{Width: 10, Format: pixels.JPEG, Animate: true}, {Width: 10, Format: pixels.AVIF, Copyright: true},
		{Width: 10, Format: pixels.WebP, Effort: "fast"},
	} {
		_, err := pixels.Derive(&simple{}, good, pixels.Limits{}, []pixels.Output{{Width: 1, Format: pixels.JPEG}, o})
		if err == nil || pixels.CodeOf(err) != "" || !bytes.HasPrefix([]byte(err.Error()), []byte("output 2: ")) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

func ExampleOutput_Plan() {
	whole, size := pixels.Output{Width: 300, Height: 300, Fit: pixels.Cover}.Plan(image.Pt(4000, 3000))
	fmt.Println(size, "cut of", whole)
	// Output: (300,300) cut of (400,300)
}
