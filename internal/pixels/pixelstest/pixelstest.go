// Package pixelstest is the conformance suite of package pixels's engines. What it compares with is computed by other
// means: the standard library's decoders, and a resampler in float64.
package pixelstest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/gif"
	"image/jpeg"
	"image/png"
	"math"
	"slices"
	"sync"
	"testing"

	"golang.org/x/image/webp"

	"darkroom/internal/pixels"
)

// Run runs the suite. An engine need not know all formats: what Info does not list must be refused as unsupported.
func Run(t *testing.T, e pixels.Engine) {
	s := suite{e}
	for name, test := range map[string]func(*testing.T){
		"Info": s.info, "Photographs": s.photographs, "ShrinkOnLoad": s.shrinkOnLoad, "SmallJPEGs": s.smallJPEGs, "Crop": s.crop,
		"LosslessPNG": s.losslessPNG, "PNGForms": s.pngForms, "JPEGForms": s.jpegForms, "CMYK": s.cmyk,
		"FullColour": s.fullColour, "Fixtures": s.fixtures, "Parts": s.parts,
		"Orientation": s.orientation, "Profile": s.profile, "Alpha": s.alpha, "Animation": s.animation, "Loops": s.loops,
		"TurnedAnimation": s.turnedAnimation, "LikeFrames": s.likeFrames, "FewColours": s.fewColours, "FirstFrame": s.firstFrame, "Metadata": s.metadata, "Deterministic": s.deterministic, "Sharpen": s.sharpen,
		"Efforts":     s.efforts,
		"BrokenFiles": s.brokenFiles, "Unsupported": s.unsupported, "Refusals": s.refusals, "Closed": s.closed,
	} {
		t.Run(name, test)
	}
}

type suite struct{ pixels.Engine }

func (s suite) decodes(f pixels.Format) bool { return slices.Contains(s.Info().Decodes, f) }
func (s suite) encodes(f pixels.Format) bool { return slices.Contains(s.Info().Encodes, f) }

// need skips a test of what the engine says that it cannot do.
func (s suite) need(t *testing.T, decoded, encoded pixels.Format) {
	t.Helper()
	if decoded != "" && !s.decodes(decoded) || encoded != "" && !s.encodes(encoded) {
		t.Skipf("the engine does not decode %s or encode %s", decoded, encoded)
	}
}

func probe(t testing.TB, data []byte) pixels.Facts {
	t.Helper()
	facts, err := pixels.Probe(bytes.NewReader(data), pixels.Limits{})
	if err != nil {
		t.Fatalf("probe: %v", err)
	}
	return facts
}

// open decodes a file that must be good. The picture is closed with the test.
func (s suite) open(t testing.TB, data []byte, opts pixels.DecodeOptions) pixels.Picture {
	t.Helper()
	p, err := s.Decode(data, probe(t, data), opts)
	if err != nil {
		t.Fatalf("decode: %v", err)
	}
	t.Cleanup(p.Close)
	return p
}

func show(t *testing.T, p pixels.Picture) *image.NRGBA {
	t.Helper()
	m, err := p.NRGBA()
	if err != nil {
		t.Fatalf("NRGBA: %v", err)
	}
	if m.Rect != (image.Rectangle{Max: p.Size()}) {
		t.Fatalf("NRGBA has bounds %v, the picture size %v", m.Rect, p.Size())
	}
	return m
}

func resize(t *testing.T, p pixels.Picture, crop image.Rectangle, size image.Point) pixels.Picture {
	t.Helper()
	out, err := p.Resize(crop, size)
	if err != nil {
		t.Fatalf("resize: %v", err)
	}
	t.Cleanup(out.Close)
	if out.Size() != size || out.Frames() != p.Frames() {
		t.Fatalf("resized to %v with %d frames, want %v with %d", out.Size(), out.Frames(), size, p.Frames())
	}
	return out
}

func encode(t testing.TB, p pixels.Picture, opts pixels.EncodeOptions) []byte {
	t.Helper()
	b, err := p.Encode(opts)
	if err != nil {
		t.Fatalf("encode %s: %v", opts.Format, err)
	}
	return b
}

func near(t *testing.T, what string, got, want image.Image, decibels float64) {
	t.Helper()
	if d := PSNR(got, want); d < decibels {
		t.Errorf("%s: %.1f dB, want %.0f (%v, %v)", what, d, decibels, got.Bounds(), want.Bounds())
	}
}

func all(p pixels.Picture) image.Rectangle { return image.Rectangle{Max: p.Size()} }

func (s suite) info(t *testing.T) {
	i := s.Info()
	if i.Name == "" || i.Version == "" {
		t.Errorf("no name or version: %+v", i)
	}
	for _, f := range []pixels.Format{pixels.JPEG, pixels.PNG, pixels.GIF, pixels.WebP} {
		if !s.decodes(f) {
			t.Errorf("%s is not decoded", f)
		}
	}
	for _, f := range []pixels.Format{pixels.JPEG, pixels.PNG} {
		if !s.encodes(f) {
			t.Errorf("%s is not encoded", f)
		}
	}
	for _, f := range i.Encodes {
		if !slices.Contains(pixels.EncodedFormats, f) {
			t.Errorf("%s is encoded, but is no format of derivatives", f)
		}
	}
}

// photographs compares sizes of real photographs, as files, with the reference.
func (s suite) photographs(t *testing.T) {
	for name, size := range map[string]image.Point{
		"aitzgorri.jpg": {1024, 682}, "friends.jpg": {682, 1024}, "life.webp": {800, 533}, "picosdeeuropa.jpg": {1024, 768},
		"seeding.jpg": {1024, 576}, "sunset.jpg": {1024, 683}, "wine.png": {267, 400},
	} {
		t.Run(name, func(t *testing.T) {
			data := photo(t, name)
			want, err := standard(data)
			if err != nil {
				t.Fatal(err)
			}
			got, _, err := pixels.Decode(s, data, pixels.Limits{})
			if err != nil || got.Rect.Size() != size {
				t.Fatalf("%v, want %v: %v", got.Bounds(), size, err)
			}
			// The standard library repeats samples of colour where others interpolate.
			near(t, "full size", got, want, 34)
			var outputs []pixels.Output
			for _, side := range []int{512, 250, 96} {
				for _, f := range []pixels.Format{pixels.PNG, pixels.JPEG} {
					outputs = append(outputs, pixels.Output{Width: side, Height: side, Format: f, Quality: 95})
				}
			}
			made, err := pixels.Derive(s, data, pixels.Limits{}, outputs)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range made {
				p, err := standard(d.Data)
				if err != nil {
					t.Fatal(err)
				}
				if p.Rect.Size() != image.Pt(d.Width, d.Height) {
					t.Fatalf("%v, want %d×%d", p.Rect, d.Width, d.Height)
				}
				near(t, fmt.Sprintf("%s of %d×%d", d.Format, d.Width, d.Height), p, Reference(want, want.Rect, p.Rect.Size()), 32)
			}
		})
	}
}

// standard decodes with the standard library, upright.
func standard(data []byte) (*image.NRGBA, error) {
	facts, err := pixels.Probe(bytes.NewReader(data), pixels.Limits{})
	if err != nil {
		return nil, err
	}
	var p image.Image
	switch facts.Format {
	case pixels.JPEG:
		p, err = jpeg.Decode(bytes.NewReader(data))
	case pixels.PNG:
		p, err = png.Decode(bytes.NewReader(data))
	case pixels.WebP:
		if p, err = webp.Decode(bytes.NewReader(data)); err == nil {
			p = studioRange(p)
		}
	case pixels.GIF:
		p, err = gif.Decode(bytes.NewReader(data))
	default:
		err = fmt.Errorf("no decoder for %s", facts.Format)
	}
	if err != nil {
		return nil, err
	}
	// Turning back what was turned for 6 is turning it for 8, and the other way round; the others are their own inverse.
	back := int(facts.Orientation)
	switch back {
	case 6:
		back = 8
	case 8:
		back = 6
	}
	return turned(nrgba(p), back), nil
}

// studioRange takes the samples of a lossy WebP for what they are, 16 to 235 (RFC 9649, section 2.5); package webp says
// that they are those of a JPEG.
func studioRange(p image.Image) image.Image {
	ycc, ok := p.(*image.YCbCr)
	if !ok {
		return p
	}
	out := image.NewNRGBA(ycc.Rect)
	for y := range ycc.Rect.Dy() {
		for x := range ycc.Rect.Dx() {
			c := ycc.YCbCrAt(x, y)
			luma, b, r := 255./219*(float64(c.Y)-16), 255./224*(float64(c.Cb)-128), 255./224*(float64(c.Cr)-128)
			out.SetNRGBA(x, y, color.NRGBA{
				clamp(luma + 1.402*r), clamp(luma - 0.344136*b - 0.714136*r), clamp(luma + 1.772*b), 255,
			})
		}
	}
	return out
}

func (s suite) shrinkOnLoad(t *testing.T) {
	files := map[string][]byte{"jpeg": jpegOf(t, scene(1203, 801), 95)}
	if s.encodes(pixels.WebP) && s.decodes(pixels.WebP) {
		p := s.open(t, files["jpeg"], pixels.DecodeOptions{})
		files["webp"] = encode(t, p, pixels.EncodeOptions{Format: pixels.WebP, Quality: 95})
	}
	files["jpeg on its side"] = withSegments(jpegOf(t, turned(scene(1203, 801), 6), 95), exifSegment(exifTIFF(6)))
	for name, data := range files {
		for _, least := range []image.Point{{1203, 801}, {1100, 700}, {602, 401}, {601, 400}, {300, 200}, {40, 30}, {1, 1}, {1203, 1}} {
			p := s.open(t, data, pixels.DecodeOptions{AtLeast: least})
			size := p.Size()
			if size.X < least.X || size.Y < least.Y || size.X > 1203 || size.Y > 801 {
				t.Errorf("%s at least %v: decoded to %v", name, least, size)
			}
			if least.X < 20 || least.Y < 20 {
				continue
			}
			got := show(t, resize(t, p, all(p), least))
			near(t, fmt.Sprintf("%s at least %v", name, least), got, Reference(scene(1203, 801), image.Rect(0, 0, 1203, 801), least), 31)
		}
	}
}

// smallJPEGs are of sides at which a block that sticks out is much of the picture.
func (s suite) smallJPEGs(t *testing.T) {
	for _, c := range []struct{ full, size image.Point }{
		{image.Pt(90, 61), image.Pt(13, 9)}, {image.Pt(90, 61), image.Pt(40, 27)}, {image.Pt(33, 9), image.Pt(4, 1)},
		{image.Pt(17, 130), image.Pt(2, 15)}, {image.Pt(50, 50), image.Pt(16, 16)}, {image.Pt(130, 17), image.Pt(8, 1)},
	} {
		src := scene(c.full.X, c.full.Y)
		p := s.open(t, jpegOf(t, src, 98), pixels.DecodeOptions{AtLeast: c.size})
		got := show(t, resize(t, p, all(p), c.size))
		near(t, fmt.Sprint(c.full, " as ", c.size), luma(got), luma(Reference(src, src.Rect, c.size)), 38)
	}
}

// luma is a picture in grey.
func luma(m *image.NRGBA) *image.Gray {
	g := image.NewGray(m.Rect)
	draw.Draw(g, g.Rect, m, m.Rect.Min, draw.Src)
	return g
}

func (s suite) crop(t *testing.T) {
	src := scene(300, 220)
	data := pngOf(t, src)
	p := s.open(t, data, pixels.DecodeOptions{})
	for _, c := range []struct {
		crop image.Rectangle
		size image.Point
	}{
		{image.Rect(0, 0, 300, 220), image.Pt(100, 80)},    // the ratio changes
		{image.Rect(40, 30, 240, 180), image.Pt(60, 45)},   // smaller
		{image.Rect(100, 100, 140, 130), image.Pt(80, 60)}, // larger
		{image.Rect(299, 219, 300, 220), image.Pt(3, 2)},
		{image.Rect(0, 0, 300, 220), image.Pt(1, 1)},
		{image.Rect(0, 0, 300, 220), image.Pt(300, 1)},
	} {
		near(t, fmt.Sprint(c.crop, c.size), show(t, resize(t, p, c.crop, c.size)), Reference(src, c.crop, c.size), 31)
	}
	// What is not resampled is exact, from the file and from a picture.
	whole := show(t, resize(t, s.open(t, data, pixels.DecodeOptions{}), image.Rect(7, 9, 207, 109), image.Pt(200, 100)))
	near(t, "cut only", whole, Reference(src, image.Rect(7, 9, 207, 109), image.Pt(200, 100)), math.Inf(1))
	again := resize(t, resize(t, p, image.Rect(7, 9, 207, 109), image.Pt(200, 100)), image.Rect(1, 1, 51, 51), image.Pt(50, 50))
	near(t, "cut twice", show(t, again), Reference(src, image.Rect(8, 10, 58, 60), image.Pt(50, 50)), math.Inf(1))
}

func (s suite) losslessPNG(t *testing.T) {
	for name, src := range map[string]*image.NRGBA{"opaque": scene(61, 43), "veiled": veiled(61, 43)} {
		p := s.open(t, pngOf(t, src), pixels.DecodeOptions{})
		exact(t, name, show(t, p), src)
		got, err := png.Decode(bytes.NewReader(encode(t, p, pixels.EncodeOptions{Format: pixels.PNG})))
		if err != nil {
			t.Fatal(err)
		}
		exact(t, name+" as a file", nrgba(got), src)
	}
}

// exact compares all of a picture, but not the colour of what cannot be seen.
func exact(t *testing.T, what string, got, want *image.NRGBA) {
	t.Helper()
	if got.Rect != want.Rect {
		t.Fatalf("%s: bounds %v, want %v", what, got.Rect, want.Rect)
	}
	for y := range got.Rect.Dy() {
		for x := range got.Rect.Dx() {
			g, w := got.NRGBAAt(x, y), want.NRGBAAt(x, y)
			if g != w && (g.A != 0 || w.A != 0) {
				t.Fatalf("%s: %v at %d,%d, want %v", what, g, x, y, w)
			}
		}
	}
}

func (s suite) pngForms(t *testing.T) {
	src := scene(40, 30)
	deep, deepGrey := image.NewNRGBA64(src.Rect), image.NewGray16(src.Rect)
	grey := image.NewGray(src.Rect)
	for y := range 30 {
		for x := range 40 {
			c := src.NRGBAAt(x, y)
			deep.SetNRGBA64(x, y, color.NRGBA64{uint16(c.R) * 257, uint16(c.G) * 257, uint16(c.B) * 257, 0xffff})
			grey.SetGray(x, y, color.Gray{c.R})
			deepGrey.SetGray16(x, y, color.Gray16{uint16(c.R) * 257})
		}
	}
	holes := quadrants(40, 30, 0)
	for i := range 50 {
		holes.Pix[i] = 4
	}
	opaque := image.NewPaletted(holes.Rect, palette[:4])
	copy(opaque.Pix, quadrants(40, 30, 3).Pix)
	for name, p := range map[string]image.Image{
		"16 bit": deep, "grey": grey, "grey of 16 bit": deepGrey, "palette": opaque, "palette with holes": holes,
		"palette of 1 bit": image.NewPaletted(src.Rect, palette[:2]),
	} {
		exact(t, name, show(t, s.open(t, pngOf(t, p), pixels.DecodeOptions{})), nrgba(p))
		got := show(t, resize(t, s.open(t, pngOf(t, p), pixels.DecodeOptions{}), p.Bounds(), image.Pt(20, 15)))
		near(t, name+", resized", got, Reference(p, p.Bounds(), image.Pt(20, 15)), 30)
	}
}

func (s suite) jpegForms(t *testing.T) {
	// Blocks of 32×32 pixels are flat in each sampling.
	value := func(c, x, y int) int { return [3]int{60, 90, 170}[c] + (3*(x/32)+5*(y/32))*[3]int{6, 2, -3}[c] }
	full := image.NewYCbCr(image.Rect(0, 0, 150, 100), image.YCbCrSubsampleRatio444)
	for y := range 100 {
		for x := range 150 {
			at := full.YOffset(x, y)
			full.Y[at], full.Cb[at], full.Cr[at] = uint8(value(0, x, y)), uint8(value(1, x, y)), uint8(value(2, x, y))
		}
	}
	for name, sampling := range map[string][][2]int{
		"4:4:4": {{1, 1}, {1, 1}, {1, 1}}, "4:2:2": {{2, 1}, {1, 1}, {1, 1}}, "4:2:0": {{2, 2}, {1, 1}, {1, 1}},
		"4:4:0": {{1, 2}, {1, 1}, {1, 1}}, "4:1:1": {{4, 1}, {1, 1}, {1, 1}},
	} {
		for _, progressive := range []bool{false, true} {
			data := flatJPEG{
				width: 150, height: 100, sampling: sampling, value: value, progressive: progressive, adobe: -1,
			}.encode()
			if _, err := jpeg.Decode(bytes.NewReader(data)); err != nil {
				t.Fatalf("%s: the input is broken: %v", name, err)
			}
			p := s.open(t, data, pixels.DecodeOptions{})
			near(t, fmt.Sprint(name, " progressive ", progressive), show(t, p), full, 30)
			// In the middle of the blocks no interpolation shows.
			for _, at := range []image.Point{{15, 15}, {79, 47}, {111, 79}} {
				likely(t, fmt.Sprint(name, progressive), show(t, p).NRGBAAt(at.X, at.Y), nrgba(full).NRGBAAt(at.X, at.Y), 2)
			}
		}
	}
	grey := flatJPEG{width: 50, height: 30, sampling: [][2]int{{1, 1}}, value: func(_, x, y int) int { return 50 + x + y }, adobe: -1}
	want, err := standard(grey.encode())
	if err != nil {
		t.Fatal(err)
	}
	p := s.open(t, grey.encode(), pixels.DecodeOptions{})
	near(t, "grey", show(t, p), want, 50)
	small := resize(t, p, all(p), image.Pt(25, 15))
	near(t, "grey, resized", show(t, small), Reference(want, want.Rect, image.Pt(25, 15)), 34)
	if got, err := standard(encode(t, small, pixels.EncodeOptions{Format: pixels.JPEG, Quality: 95})); err != nil {
		t.Error(err)
	} else {
		near(t, "grey, as a file", got, show(t, small), 34)
	}
	rgb := flatJPEG{width: 32, height: 32, sampling: [][2]int{{1, 1}, {1, 1}, {1, 1}}, adobe: 0,
		value: func(c, _, _ int) int { return [3]int{200, 100, 50}[c] }}
	likely(t, "components are red, green and blue", show(t, s.open(t, rgb.encode(), pixels.DecodeOptions{})).NRGBAAt(9, 9),
		color.NRGBA{200, 100, 50, 255}, 2)
}

func likely(t *testing.T, what string, got, want color.NRGBA, within int) {
	t.Helper()
	for _, d := range [4]int{
		int(got.R) - int(want.R), int(got.G) - int(want.G), int(got.B) - int(want.B), int(got.A) - int(want.A),
	} {
		if max(d, -d) > within {
			t.Errorf("%s: %v, want %v within %d", what, got, want, within)
			return
		}
	}
}

// fullColour makes PNGs of a JPEG whose chroma has half of its luma's resolution: at half the size there is chroma for
// each pixel. The stripes change their colour only.
func (s suite) fullColour(t *testing.T) {
	value := func(c, x, _ int) int { return [3]int{120, 90 + x/16%2*80, 170 - x/16%2*90}[c] }
	data := flatJPEG{width: 320, height: 160, sampling: [][2]int{{2, 2}, {1, 1}, {1, 1}}, value: value, adobe: -1}.encode()
	full, err := standard(data)
	if err != nil {
		t.Fatal(err)
	}
	outputs := []pixels.Output{{Width: 160, Format: pixels.PNG}, {Width: 160, Format: pixels.JPEG, Quality: 95}}
	made, err := pixels.Derive(s, data, pixels.Limits{}, outputs)
	if err != nil {
		t.Fatal(err)
	}
	got, err := standard(made[0].Data)
	if err != nil {
		t.Fatal(err)
	}
	near(t, "PNG at half the size", got, Reference(full, full.Rect, image.Pt(160, 80)), 30)
}

// cmyk is lenient: which sRGB an ink without a profile is, is for the engine to say.
func (s suite) cmyk(t *testing.T) {
	inks := []struct {
		name  string
		cmyk  [4]int
		looks func(c color.NRGBA) bool
	}{
		{"paper", [4]int{0, 0, 0, 0}, func(c color.NRGBA) bool { return min(c.R, c.G, c.B) > 240 }},
		{"black", [4]int{0, 0, 0, 255}, func(c color.NRGBA) bool { return max(c.R, c.G, c.B) < 70 }},
		{"cyan", [4]int{255, 0, 0, 0}, func(c color.NRGBA) bool { return c.R < 60 && c.G > 110 && c.B > 180 }},
		{"magenta", [4]int{0, 255, 0, 0}, func(c color.NRGBA) bool { return c.R > 190 && c.G < 60 && c.B > 90 }},
		{"yellow", [4]int{0, 0, 255, 0}, func(c color.NRGBA) bool { return c.R > 220 && c.G > 200 && c.B < 60 }},
	}
	for _, ink := range inks {
		for _, transform := range []int{0, 2} { // Adobe stores inks inverted, or three of them as if they were light
			stored := [4]int{255 - ink.cmyk[0], 255 - ink.cmyk[1], 255 - ink.cmyk[2], 255 - ink.cmyk[3]}
			if transform == 2 {
				y, cb, cr := color.RGBToYCbCr(uint8(ink.cmyk[0]), uint8(ink.cmyk[1]), uint8(ink.cmyk[2]))
				stored = [4]int{int(y), int(cb), int(cr), stored[3]}
			}
			data := flatJPEG{width: 64, height: 48, sampling: [][2]int{{1, 1}, {1, 1}, {1, 1}, {1, 1}}, adobe: transform,
				value: func(c, _, _ int) int { return stored[c] }}.encode()
			p := s.open(t, data, pixels.DecodeOptions{})
			if c := show(t, p).NRGBAAt(20, 20); !ink.looks(c) || c.A != 255 {
				t.Errorf("%s, transform %d: %v", ink.name, transform, c)
			}
			q := resize(t, s.open(t, data, pixels.DecodeOptions{}), image.Rect(0, 0, 64, 48), image.Pt(32, 24))
			if c := show(t, q).NRGBAAt(10, 10); !ink.looks(c) || c.A != 255 {
				t.Errorf("%s, transform %d, resized: %v", ink.name, transform, c)
			}
		}
	}
}

func (s suite) orientation(t *testing.T) {
	src := scene(120, 70)
	for o := 1; o <= 8; o++ {
		jpg := withSegments(jpegOf(t, turned(src, o), 98), exifSegment(exifTIFF(o)))
		pngs := withChunks(pngOf(t, turned(src, o)), chunk("eXIf", exifTIFF(o)))
		for name, data := range map[string][]byte{"jpeg": jpg, "png": pngs} {
			name = fmt.Sprint(name, " of orientation ", o)
			if got := probe(t, data).Orientation; got != int64(o) {
				t.Fatalf("%s: the input has %d", name, got)
			}
			p := s.open(t, data, pixels.DecodeOptions{})
			if p.Size() != src.Rect.Size() {
				t.Fatalf("%s: size %v", name, p.Size())
			}
			// Both from the file and from the decoded picture.
			crop, size := image.Rect(10, 6, 100, 60), image.Pt(45, 27)
			near(t, name+", resized", show(t, resize(t, p, crop, size)), Reference(src, crop, size), 30)
			near(t, name, show(t, p), src, 32)
			near(t, name+", resized again", show(t, resize(t, p, crop, size)), Reference(src, crop, size), 30)
		}
	}
}

func (s suite) profile(t *testing.T) {
	colours := color.Palette{
		color.NRGBA{200, 100, 50, 255}, color.NRGBA{60, 160, 90, 255}, color.NRGBA{90, 80, 170, 255}, color.NRGBA{128, 128, 128, 255},
	}
	p := quadrants(64, 48, 0)
	p.Palette = colours
	profile := p3Profile()
	for name, data := range map[string][]byte{
		"jpeg": withSegments(jpegOf(t, p, 100), profileSegment(profile)),
		"png":  withChunks(pngOf(t, nrgba(p)), profileChunk(profile)),
		// The profile counts for more than what else may be said of the colours, whichever comes first.
		"png that claims sRGB":      withChunks(pngOf(t, nrgba(p)), chunk("sRGB", []byte{0}), profileChunk(profile)),
		"png that claims sRGB late": withChunks(pngOf(t, nrgba(p)), profileChunk(profile), chunk("sRGB", []byte{0})),
	} {
		for i, c := range colours {
			at := image.Pt(16+32*(i%2), 12+24*(i/2))
			want := p3ToSRGB(c.(color.NRGBA))
			likely(t, name, show(t, s.open(t, data, pixels.DecodeOptions{})).NRGBAAt(at.X, at.Y), want, 4)
			q := resize(t, s.open(t, data, pixels.DecodeOptions{}), image.Rect(0, 0, 64, 48), image.Pt(32, 24))
			likely(t, name+", resized", show(t, q).NRGBAAt(at.X/2, at.Y/2), want, 4)
		}
	}
	// What has less chroma than luma keeps what it has.
	smooth := jpegOf(t, scene(90, 62), 95)
	plain := show(t, s.open(t, smooth, pixels.DecodeOptions{FullColour: true}))
	full := s.open(t, withSegments(smooth, profileSegment(profile)), pixels.DecodeOptions{FullColour: true})
	inPNG, err := standard(encode(t, full, pixels.EncodeOptions{Format: pixels.PNG}))
	if err != nil {
		t.Fatal(err)
	}
	for name, m := range map[string]*image.NRGBA{"decoded": show(t, full), "as PNG": inPNG} {
		want := image.NewNRGBA(plain.Rect)
		for y := range plain.Rect.Dy() {
			for x := range plain.Rect.Dx() {
				want.SetNRGBA(x, y, p3ToSRGB(plain.NRGBAAt(x, y)))
			}
		}
		near(t, "reduced chroma, "+name, m, want, 48)
	}
	// Grey is grey with alpha, too, be that a channel or one value; and linear light of 60 is 133 in sRGB.
	const size, stored, shown = 16, 60, 133
	for name, data := range map[string][]byte{
		"grey":                pngOfType(0, bytes.Repeat([]byte{stored}, size*size), size, profileChunk(linearGreyProfile())),
		"grey and alpha":      pngOfType(4, bytes.Repeat([]byte{stored, 200}, size*size), size, profileChunk(linearGreyProfile())),
		"grey with one clear": pngOfType(0, bytes.Repeat([]byte{stored}, size*size), size, profileChunk(linearGreyProfile()), chunk("tRNS", []byte{0, 9})),
	} {
		for _, side := range []int{size, size / 2} {
			p := s.open(t, data, pixels.DecodeOptions{})
			m := show(t, resize(t, p, all(p), image.Pt(side, side)))
			c := m.NRGBAAt(side/2, side/2)
			likely(t, name, c, color.NRGBA{shown, shown, shown, c.A}, 2)
		}
	}
	// A profile that is none is as good as none.
	broken := withSegments(jpegOf(t, p, 100), profileSegment([]byte("no profile at all, but long enough to be taken for one")))
	likely(t, "broken profile", show(t, s.open(t, broken, pixels.DecodeOptions{})).NRGBAAt(16, 12), colours[0].(color.NRGBA), 4)
}

func (s suite) alpha(t *testing.T) {
	src := veiled(90, 60)
	data := pngOf(t, src)
	p := resize(t, s.open(t, data, pixels.DecodeOptions{}), src.Rect, image.Pt(45, 30))
	want := Reference(src, src.Rect, image.Pt(45, 30))
	background := color.RGBA{30, 200, 90, 255}
	flat := func(m *image.NRGBA) *image.NRGBA {
		out := image.NewNRGBA(m.Rect)
		for y := range m.Rect.Dy() {
			for x := range m.Rect.Dx() {
				c := m.NRGBAAt(x, y)
				mix := func(v, b uint8) uint8 { return clamp((float64(v)*float64(c.A) + float64(b)*float64(255-c.A)) / 255) }
				out.SetNRGBA(x, y, color.NRGBA{mix(c.R, background.R), mix(c.G, background.G), mix(c.B, background.B), 255})
			}
		}
		return out
	}
	near(t, "resized", flat(show(t, p)), flat(want), 38)
	got, err := standard(encode(t, p, pixels.EncodeOptions{Format: pixels.JPEG, Quality: 95, Background: background}))
	if err != nil {
		t.Fatal(err)
	}
	near(t, "flattened", got, flat(want), 24) // chroma is halved, and the holes have hard edges
	if s.encodes(pixels.WebP) && s.decodes(pixels.WebP) {
		file := encode(t, p, pixels.EncodeOptions{Format: pixels.WebP, Quality: 95})
		near(t, "as WebP", flat(show(t, s.open(t, file, pixels.DecodeOptions{}))), flat(want), 28)
		// A decoder may reduce, but not mix what is seen with what is not.
		holed := image.NewNRGBA(image.Rect(0, 0, 400, 304))
		for i := 0; i < len(holed.Pix); i += 4 {
			if i/4%400%70 < 45 {
				copy(holed.Pix[i:], []byte{0, 255, 0, 255})
			}
		}
		file = encode(t, s.open(t, pngOf(t, holed), pixels.DecodeOptions{}), pixels.EncodeOptions{Format: pixels.WebP, Quality: 95})
		size, reduced := image.Pt(50, 38), s.open(t, file, pixels.DecodeOptions{AtLeast: image.Pt(50, 38)})
		p = resize(t, reduced, all(reduced), size)
		near(t, "as WebP, reduced", flat(show(t, p)), flat(Reference(holed, holed.Rect, size)), 40)
	}
}

func (s suite) animation(t *testing.T) {
	s.need(t, pixels.GIF, pixels.GIF)
	data, frames := animation(t, 80, 60)
	p := s.open(t, data, pixels.DecodeOptions{AllFrames: true})
	if p.Size() != image.Pt(80, 60) || p.Frames() != 3 {
		t.Fatalf("%v, %d frames", p.Size(), p.Frames())
	}
	crop, size := image.Rect(10, 5, 70, 55), image.Pt(30, 25)
	small := resize(t, p, crop, size)
	near(t, "the first frame", show(t, small), Reference(frames[0], crop, size), 30)
	s.check(t, encode(t, p, pixels.EncodeOptions{Format: pixels.GIF, Animate: true}), frames, image.Rect(0, 0, 80, 60), image.Pt(80, 60))
	s.check(t, encode(t, small, pixels.EncodeOptions{Format: pixels.GIF, Animate: true}), frames, crop, size)
	if sharp, err := small.Sharpen(0.5); err != nil || sharp.Frames() != 3 || sharp.Size() != size {
		t.Errorf("sharpened: %v", err)
	} else {
		sharp.Close()
	}
	still := encode(t, small, pixels.EncodeOptions{Format: pixels.PNG})
	if got, err := standard(still); err != nil || got.Rect.Size() != size {
		t.Errorf("a still of an animation: %v", err)
	}
	if s.encodes(pixels.WebP) && s.decodes(pixels.WebP) {
		file := encode(t, small, pixels.EncodeOptions{Format: pixels.WebP, Quality: 90, Animate: true})
		if f := probe(t, file); f.Frames != 3 || f.Width != 30 || f.Height != 25 {
			t.Fatalf("as WebP: %+v", f)
		}
		if f := probe(t, encode(t, small, pixels.EncodeOptions{Format: pixels.WebP, Quality: 90})); f.Frames != 1 {
			t.Errorf("a still of an animation has %d frames", f.Frames)
		}
		back := s.open(t, file, pixels.DecodeOptions{AllFrames: true})
		s.check(t, encode(t, back, pixels.EncodeOptions{Format: pixels.GIF, Animate: true}), frames, crop, size)
	}
}

// loops has animations that are shown once, for ever and four times, which image/gif counts as -1, 0 and 3.
func (s suite) loops(t *testing.T) {
	s.need(t, pixels.GIF, pixels.GIF)
	for count, shown := range map[int]uint16{-1: 1, 0: 0, 3: 4} {
		var b bytes.Buffer
		frames := []*image.Paletted{quadrants(20, 10, 0), quadrants(20, 10, 5)}
		if err := gif.EncodeAll(&b, &gif.GIF{Image: frames, Delay: []int{10, 20}, LoopCount: count}); err != nil {
			t.Fatal(err)
		}
		again := func(file []byte, from string) {
			p := s.open(t, file, pixels.DecodeOptions{AllFrames: true})
			file = encode(t, p, pixels.EncodeOptions{Format: pixels.GIF, Animate: true})
			if g, err := gif.DecodeAll(bytes.NewReader(file)); err != nil || g.LoopCount != count {
				t.Errorf("%s with a loop count of %d: as GIF %d: %v", from, count, g.LoopCount, err)
			}
		}
		again(b.Bytes(), "GIF")
		if s.encodes(pixels.WebP) && s.decodes(pixels.WebP) {
			p := s.open(t, b.Bytes(), pixels.DecodeOptions{AllFrames: true})
			file := encode(t, p, pixels.EncodeOptions{Format: pixels.WebP, Quality: 80, Animate: true})
			at := bytes.Index(file, []byte("ANIM\x06\x00\x00\x00"))
			if at < 0 {
				t.Fatal("the WebP has no animation")
			}
			if got := binary.LittleEndian.Uint16(file[at+12:]); got != shown {
				t.Errorf("a loop count of %d: as WebP shown %d times", count, got)
			}
			again(file, "WebP")
		}
	}
}

// fewColours has pictures that a palette has room for, some of them next to each other: they stay as they are.
func (s suite) fewColours(t *testing.T) {
	s.need(t, pixels.PNG, pixels.GIF)
	ramp, near := image.NewNRGBA(image.Rect(0, 0, 250, 8)), image.NewNRGBA(image.Rect(0, 0, 60, 8))
	for y := range 8 {
		for x := range 250 {
			ramp.SetNRGBA(x, y, color.NRGBA{uint8(x), uint8(x), uint8(x), 255})
		}
		for x := range 60 {
			near.SetNRGBA(x, y, [3]color.NRGBA{{255, 255, 255, 255}, {250, 250, 250, 255}, {}}[x/20])
		}
	}
	for name, m := range map[string]*image.NRGBA{"a ramp": ramp, "colours that are near": near} {
		file := encode(t, s.open(t, pngOf(t, m), pixels.DecodeOptions{}), pixels.EncodeOptions{Format: pixels.GIF})
		got, err := gif.Decode(bytes.NewReader(file))
		if err != nil {
			t.Fatal(err)
		}
		for y := range m.Rect.Dy() {
			for x := range m.Rect.Dx() {
				likely(t, name, color.NRGBAModel.Convert(got.At(x, y)).(color.NRGBA), m.NRGBAAt(x, y), 1)
			}
		}
		if t.Failed() {
			return
		}
	}
}

// likeFrames has frames that an encoder may make one of: what is said of a derivative is said of its file.
func (s suite) likeFrames(t *testing.T) {
	s.need(t, pixels.GIF, pixels.GIF)
	var b bytes.Buffer
	frames := []*image.Paletted{quadrants(20, 10, 0), quadrants(20, 10, 5), quadrants(20, 10, 5)}
	if err := gif.EncodeAll(&b, &gif.GIF{Image: frames, Delay: []int{10, 20, 30}}); err != nil {
		t.Fatal(err)
	}
	for _, f := range []pixels.Format{pixels.GIF, pixels.WebP} {
		if !s.encodes(f) {
			continue
		}
		made, err := pixels.Derive(s, b.Bytes(), pixels.Limits{}, []pixels.Output{{Width: 10, Format: f, Animate: true}})
		if err != nil {
			t.Fatal(err)
		}
		if n := probe(t, made[0].Data).Frames; int64(made[0].Frames) != n || n < 2 {
			t.Errorf("a %s of %d frames is said to have %d", f, n, made[0].Frames)
		}
	}
}

// turnedAnimation has each frame turned by itself, and not all as the one picture that an engine may keep them in.
func (s suite) turnedAnimation(t *testing.T) {
	s.need(t, pixels.GIF, pixels.GIF)
	s.need(t, pixels.WebP, pixels.WebP)
	data, stored := animation(t, 80, 60)
	plain := encode(t, s.open(t, data, pixels.DecodeOptions{AllFrames: true}),
		pixels.EncodeOptions{Format: pixels.WebP, Quality: 95, Animate: true})
	for o := 1; o <= 8; o++ {
		undo := [9]int{6: 8, 8: 6}[o]
		if undo == 0 {
			undo = o
		}
		upright := make([]*image.NRGBA, len(stored))
		for i, f := range stored {
			upright[i] = turned(f, undo)
		}
		p := s.open(t, withEXIF(plain, exifTIFF(o)), pixels.DecodeOptions{AllFrames: true})
		if p.Size() != upright[0].Rect.Size() || p.Frames() != 3 {
			t.Fatalf("orientation %d: %v, %d frames", o, p.Size(), p.Frames())
		}
		file := encode(t, p, pixels.EncodeOptions{Format: pixels.GIF, Animate: true})
		s.check(t, file, upright, upright[0].Rect, p.Size())
	}
}

// check compares an animated GIF with the frames that it was made of, and with their times.
func (s suite) check(t *testing.T, file []byte, frames []*image.NRGBA, crop image.Rectangle, size image.Point) {
	t.Helper()
	g, err := gif.DecodeAll(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	if len(g.Image) != len(frames) || g.LoopCount != 0 || !slices.Equal(g.Delay, []int{10, 20, 30}) {
		t.Fatalf("%d frames, loop %d, delays %v", len(g.Image), g.LoopCount, g.Delay)
	}
	canvas := image.NewNRGBA(image.Rectangle{Max: size})
	for i, f := range g.Image {
		for y := f.Rect.Min.Y; y < f.Rect.Max.Y; y++ {
			for x := f.Rect.Min.X; x < f.Rect.Max.X; x++ {
				if c := color.NRGBAModel.Convert(f.At(x, y)).(color.NRGBA); c.A > 0 {
					canvas.SetNRGBA(x, y, c)
				}
			}
		}
		near(t, fmt.Sprint("frame ", i), canvas, Reference(frames[i], crop, size), 20)
		if g.Disposal[i] == gif.DisposalBackground {
			clear(canvas.Pix)
		}
	}
}

func (s suite) firstFrame(t *testing.T) {
	data, frames := animation(t, 80, 60)
	p := s.open(t, data, pixels.DecodeOptions{})
	if p.Frames() != 1 || p.Size() != image.Pt(80, 60) {
		t.Fatalf("%v, %d frames", p.Size(), p.Frames())
	}
	exact(t, "the first frame", show(t, p), frames[0])
}

// metadata looks for what the inputs say of themselves, and walks the files for what may hold more.
func (s suite) metadata(t *testing.T) {
	xmp := append([]byte("http://ns.adobe.com/xap/1.0/\x00<x:xmpmeta>"), secret...)
	text := append([]byte("Author\x00"), secret...)
	files := map[string][]byte{
		"jpeg": withSegments(jpegOf(t, scene(64, 48), 90), exifSegment(exifTIFF(1)), segment(0xe1, xmp...),
			profileSegment(p3Profile()), segment(0xed, append([]byte("Photoshop 3.0\x00"), secret...)...), segment(0xfe, []byte(secret)...)),
		"png": withChunks(pngOf(t, scene(64, 48)), profileChunk(p3Profile()), chunk("eXIf", exifTIFF(1)), chunk("tEXt", text),
			chunk("iTXt", append([]byte("XML:com.adobe.xmp\x00\x00\x00\x00\x00"), secret...))),
	}
	for name, data := range files {
		for _, f := range s.Info().Encodes {
			for _, size := range []image.Point{{64, 48}, {32, 24}} {
				p := s.open(t, data, pixels.DecodeOptions{})
				if size != p.Size() {
					p = resize(t, p, all(p), size)
				}
				file := encode(t, p, pixels.EncodeOptions{Format: f, Quality: 80})
				if bytes.Contains(file, []byte("ecretograph")) {
					t.Errorf("%s as %s: the secret is out", name, f)
				}
				if err := bare(f, file); err != nil {
					t.Errorf("%s as %s: %v", name, f, err)
				}
			}
		}
	}
}

func (s suite) deterministic(t *testing.T) {
	data := photo(t, "friends.jpg")
	var outputs []pixels.Output
	for _, f := range s.Info().Encodes {
		outputs = append(outputs, pixels.Output{Width: 200, Height: 150, Format: f}, pixels.Output{
			Width: 90, Height: 90, Fit: pixels.Cover, Format: f, Sharpen: 0.5,
		})
	}
	want, err := pixels.Derive(s, data, pixels.Limits{}, outputs)
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			got, err := pixels.Derive(s, data, pixels.Limits{}, outputs)
			if err != nil {
				t.Error(err)
				return
			}
			for i := range got {
				if !bytes.Equal(got[i].Data, want[i].Data) {
					t.Errorf("%s of %d×%d differs between two runs", got[i].Format, got[i].Width, got[i].Height)
				}
			}
		})
	}
	group.Wait()
}

func (s suite) sharpen(t *testing.T) {
	edge := image.NewNRGBA(image.Rect(0, 0, 40, 20))
	for y := range 20 {
		for x := range 40 {
			c := color.NRGBA{90, 90, 90, 255}
			if x >= 20 {
				c = color.NRGBA{160, 150, 140, 255}
			}
			edge.SetNRGBA(x, y, c)
		}
	}
	p := s.open(t, pngOf(t, edge), pixels.DecodeOptions{})
	contrast := func(amount float64) int {
		sharp, err := p.Sharpen(amount)
		if err != nil {
			t.Fatal(err)
		}
		defer sharp.Close()
		m := show(t, sharp)
		likely(t, "flat", m.NRGBAAt(4, 10), color.NRGBA{90, 90, 90, 255}, 1)
		likely(t, "flat", m.NRGBAAt(36, 10), color.NRGBA{160, 150, 140, 255}, 1)
		return int(m.NRGBAAt(20, 10).R) - int(m.NRGBAAt(19, 10).R)
	}
	none, usual, strong := contrast(0), contrast(1), contrast(2)
	if none != 70 || usual < 75 || usual > 130 || strong <= usual {
		t.Errorf("the edge of 70 becomes %d, %d and %d by the amounts 0, 1 and 2", none, usual, strong)
	}
	veil := s.open(t, pngOf(t, veiled(50, 40)), pixels.DecodeOptions{})
	if sharp, err := veil.Sharpen(1); err != nil {
		t.Error(err)
	} else {
		sharp.Close()
	}
}

// samples has a small file of each format that can be made here.
func (s suite) samples(t *testing.T) map[pixels.Format][]byte {
	files := map[pixels.Format][]byte{
		pixels.JPEG: jpegOf(t, scene(160, 120), 90), pixels.PNG: pngOf(t, scene(160, 120)),
		pixels.WebP: photo(t, "life.webp"),
	}
	files[pixels.GIF], _ = animation(t, 160, 120)
	return files
}

// brokenFiles gives the engine files that Probe was not asked about.
func (s suite) brokenFiles(t *testing.T) {
	try := func(what string, data []byte, facts pixels.Facts, must bool, codes ...string) {
		for _, opts := range []pixels.DecodeOptions{{}, {AllFrames: true}, {AtLeast: image.Pt(20, 15)}} {
			p, err := s.Decode(data, facts, opts)
			if err == nil {
				if opts.AtLeast.X > 0 {
					var q pixels.Picture
					if q, err = p.Resize(all(p), image.Pt(20, 15)); err == nil {
						q.Close()
					}
				} else {
					_, err = p.NRGBA()
				}
				p.Close()
			}
			if err == nil && must {
				t.Errorf("%s is accepted with %+v", what, opts)
			}
			if err != nil && pixels.CodeOf(err) == "" {
				t.Errorf("%s: the error has no code: %v", what, err)
			}
			if err != nil && len(codes) > 0 && !slices.Contains(codes, pixels.CodeOf(err)) {
				t.Errorf("%s: code %q: %v", what, pixels.CodeOf(err), err)
			}
		}
	}
	for f, data := range s.samples(t) {
		if !s.decodes(f) {
			continue
		}
		facts := probe(t, data)
		for _, part := range []int{0, 5, 50, 95} {
			// A GIF that lacks its last frames has its first one.
			try(fmt.Sprintf("%d %% of a %s", part, f), data[:len(data)*part/100], facts, f != pixels.GIF || part < 10, pixels.CodeTruncated)
		}
		garbage := slices.Clone(data[:20])
		for i := range 5000 {
			garbage = append(garbage, byte(i*i>>3+i*7))
		}
		try(fmt.Sprintf("garbage as %s", f), garbage, facts, f != pixels.JPEG)
		for seed := range 20 {
			damaged := slices.Clone(data)
			for i := range 10 {
				damaged[(seed*7919+i*104729)%len(data)] ^= byte(1 + seed*31 + i*17)
			}
			try(fmt.Sprintf("damaged %s %d", f, seed), damaged, facts, false)
		}
		for other, wrong := range s.samples(t) {
			if other != f {
				try(fmt.Sprintf("%s as %s", other, f), wrong, facts, true)
			}
		}
	}
	cut := jpegOf(t, scene(160, 120), 90)
	p, err := s.Decode(cut[:len(cut)/2], probe(t, cut), pixels.DecodeOptions{})
	if err == nil {
		_, err = p.NRGBA()
		p.Close()
	}
	if pixels.CodeOf(err) != pixels.CodeTruncated {
		t.Errorf("half a JPEG: code %q: %v", pixels.CodeOf(err), err)
	}
}

func (s suite) unsupported(t *testing.T) {
	for _, f := range []pixels.Format{
		pixels.JPEG, pixels.PNG, pixels.GIF, pixels.WebP, pixels.BMP, pixels.TIFF, pixels.AVIF, pixels.HEIC, pixels.JXL, "tga",
	} {
		if s.decodes(f) {
			continue
		}
		_, err := s.Decode([]byte("whatever this may be"), pixels.Facts{Format: f, Width: 1, Height: 1, Frames: 1}, pixels.DecodeOptions{})
		if pixels.CodeOf(err) != pixels.CodeUnsupportedFormat {
			t.Errorf("%s: code %q: %v", f, pixels.CodeOf(err), err)
		}
	}
	p := s.open(t, pngOf(t, scene(20, 10)), pixels.DecodeOptions{})
	for _, f := range []pixels.Format{pixels.JPEG, pixels.PNG, pixels.GIF, pixels.WebP, pixels.BMP, pixels.AVIF, pixels.HEIC, "tga"} {
		_, err := p.Encode(pixels.EncodeOptions{Format: f, Quality: 50})
		if want := !s.encodes(f); (err != nil) != want || want && pixels.CodeOf(err) != pixels.CodeUnsupportedFormat {
			t.Errorf("encode %s: code %q: %v", f, pixels.CodeOf(err), err)
		}
	}
}

func (s suite) refusals(t *testing.T) {
	file := s.open(t, pngOf(t, scene(40, 30)), pixels.DecodeOptions{})
	decoded := resize(t, file, all(file), image.Pt(40, 30))
	for name, p := range map[string]pixels.Picture{"file": file, "picture": decoded} {
		for _, crop := range []image.Rectangle{
			image.Rect(-1, 0, 20, 20), image.Rect(0, 0, 41, 30), image.Rect(0, 0, 40, 31), image.Rect(50, 50, 60, 60), {},
			{Min: image.Pt(20, 20), Max: image.Pt(10, 10)},
		} {
			if _, err := p.Resize(crop, image.Pt(10, 10)); err == nil {
				t.Errorf("%s: the crop %v is accepted", name, crop)
			}
		}
		for _, size := range []image.Point{{}, {10, 0}, {-5, 10}} {
			if _, err := p.Resize(all(p), size); err == nil {
				t.Errorf("%s: the size %v is accepted", name, size)
			}
		}
	}
}

func (s suite) closed(t *testing.T) {
	p := s.open(t, pngOf(t, scene(40, 30)), pixels.DecodeOptions{})
	q := resize(t, p, all(p), image.Pt(20, 15))
	r := resize(t, q, all(q), image.Pt(10, 8))
	p.Close()
	p.Close()
	near(t, "what was made of a closed picture", show(t, q), Reference(scene(40, 30), image.Rect(0, 0, 40, 30), image.Pt(20, 15)), 34)
	q.Close()
	q.Close()
	if m := show(t, r); m.Rect.Dx() != 10 {
		t.Errorf("bounds %v", m.Rect)
	}
	encode(t, r, pixels.EncodeOptions{Format: pixels.JPEG, Quality: 80})
	for _, gone := range []pixels.Picture{p, q} {
		// Misuse; what it gives does not matter as long as the process lives.
		_, _ = gone.NRGBA()
		_, _ = gone.Encode(pixels.EncodeOptions{Format: pixels.PNG})
		_, _ = gone.Resize(image.Rect(0, 0, 5, 5), image.Pt(5, 5))
	}
}
