// Package goengine is the pixel engine in pure Go: always there, and the same bytes on every machine.
//
// It keeps pictures as planes of 8 bits. A JPEG stays in Y, Cb and Cr from its decoder, which makes a half, a quarter or
// an eighth of the size straight from the coefficients, through the resizer to the encoder. Where the processor has AVX2
// the resizer uses it; its samples are the same without.
//
// Colours: profiles of RGB and grey that are made of curves and a matrix (Display P3, Adobe RGB, ProPhoto RGB) are
// converted to sRGB. Those made of tables are ignored, and so are all of CMYK, whose colours are converted naively:
// each of R, G and B is what its complement and black leave of white.
//
// A picture of a JPEG with reduced chroma keeps that when resized, in PNG too.
package goengine

import (
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"image/png"
	"io"
	"math"
	"slices"
	"strings"

	"golang.org/x/image/bmp"
	"golang.org/x/image/tiff"

	"darkroom/internal/pixels"
)

// version is raised with every change that alters the bytes of a derivative.
const version = "3"

// libraries are those whose code decides about bytes.
var libraries = []string{
	"image/png, image/gif of Go 1.26", "golang.org/x/image 0.47.0", "libwebp of gen2brain/webp 0.6.0",
	"libavif of gen2brain/avif 0.5.1",
}

var (
	decodes = []pixels.Format{pixels.JPEG, pixels.PNG, pixels.GIF, pixels.WebP, pixels.BMP, pixels.TIFF, pixels.AVIF}
	encodes = []pixels.Format{pixels.JPEG, pixels.PNG, pixels.WebP, pixels.AVIF, pixels.GIF}
)

type engine struct{}

// New returns the engine. It keeps no state but buffers; the AVIF library is started by the first AVIF.
func New() pixels.Engine { return engine{} }

func (engine) Info() pixels.EngineInfo {
	return pixels.EngineInfo{
		Name: "go", Version: version, Libraries: slices.Clone(libraries),
		Decodes: slices.Clone(decodes), Encodes: slices.Clone(encodes),
	}
}

func (engine) Decode(data []byte, facts pixels.Facts, opts pixels.DecodeOptions) (p pixels.Picture, err error) {
	defer guard(&err)
	var a *animation
	switch facts.Format {
	case pixels.JPEG:
		atLeast := opts.AtLeast
		if opts.FullColour { // for the chroma to be as large as wanted, where it is half of luma
			atLeast = atLeast.Mul(2)
		}
		a, err = still(decodeJPEG(data, facts, atLeast))
	case pixels.PNG:
		a, err = decodePNG(data, facts, opts.AllFrames)
	case pixels.GIF:
		a, err = decodeGIF(data, facts, opts.AllFrames)
	case pixels.WebP:
		a, err = decodeWebP(data, facts, opts.AllFrames)
	case pixels.TIFF:
		a, err = still(decodeTIFF(data, facts))
	case pixels.BMP:
		a, err = still(decodeBMP(data, facts))
	case pixels.AVIF:
		a, err = still(decodeAVIF(data, facts))
	default:
		err = unsupported("%s images are not supported by the engine in Go", facts.Format)
	}
	if err != nil {
		return nil, imageError(err)
	}
	for i, f := range a.frames {
		f.fine = opts.FullColour
		a.frames[i] = f.oriented(facts.Orientation)
	}
	return &picture{*a}, nil
}

// guard turns the panic of a codec into an error about the image. What is not about the image, such as a lack of memory,
// cannot be recovered from in Go and is not caught here.
func guard(err *error) {
	if r := recover(); r != nil {
		*err = malformed("the decoder gave up: %v", r)
	}
}

// saysTruncated knows the words of image/gif and image/png, whose errors do not wrap that of the end.
func saysTruncated(text string) bool {
	return strings.HasSuffix(text, io.ErrUnexpectedEOF.Error()) || strings.Contains(text, "not enough image data") ||
		strings.Contains(text, "not enough pixel data")
}

// imageError gives a library's error its code.
func imageError(err error) error {
	var known *pixels.Error
	var j jpeg.UnsupportedError
	var p png.UnsupportedError
	var t tiff.UnsupportedError
	code := pixels.CodeMalformed
	switch {
	case errors.As(err, &known):
		return err
	case errors.As(err, &j), errors.As(err, &p), errors.As(err, &t), errors.Is(err, bmp.ErrUnsupported):
		code = pixels.CodeUnsupportedFormat
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF), saysTruncated(err.Error()):
		code = pixels.CodeTruncated
	}
	return &pixels.Error{Code: code, Err: err}
}

// animation is one frame or many, of one size.
type animation struct {
	frames []*frame
	delays []int // milliseconds for each frame; empty for a still image
	loops  int   // how often it is shown; 0 for ever
}

func still(f *frame, err error) (*animation, error) {
	if err != nil {
		return nil, err
	}
	return &animation{frames: []*frame{f}}, nil
}

// picture is the engine's pixels.Picture. Its planes are never written to once it is made, and may be shared.
type picture struct{ animation }

func (p *picture) Size() image.Point {
	if len(p.frames) == 0 {
		return image.Point{}
	}
	return p.frames[0].size()
}

func (p *picture) Frames() int { return len(p.frames) }

func (p *picture) Close() { p.frames = nil }

var errClosed = errors.New("the picture is closed")

// each returns the picture of what make returns for each frame.
func (p *picture) each(make func(*frame) *frame) (q pixels.Picture, err error) {
	defer guard(&err)
	if len(p.frames) == 0 {
		return nil, errClosed
	}
	a := animation{delays: p.delays, loops: p.loops}
	for _, f := range p.frames {
		a.frames = append(a.frames, make(f))
	}
	return &picture{a}, nil
}

func (p *picture) Resize(crop image.Rectangle, size image.Point) (pixels.Picture, error) {
	whole := image.Rectangle{Max: p.Size()}
	if crop.Empty() || !crop.In(whole) {
		return nil, fmt.Errorf("resize: the part %v is not within the picture of %v", crop, whole.Max)
	}
	if most := pixels.DefaultLimits.MaxSide; min(size.X, size.Y) < 1 || int64(max(size.X, size.Y)) > most {
		return nil, fmt.Errorf("resize: a size of %v is not possible", size)
	}
	return p.each(func(f *frame) *frame { return f.resized(crop, size) })
}

func (p *picture) Sharpen(amount float64) (pixels.Picture, error) {
	if !(amount >= 0 && amount <= 100) {
		return nil, fmt.Errorf("sharpen: an amount of %g is not between 0 and 100", amount)
	}
	if math.Round(amount*1000) == 0 {
		return p.each(func(f *frame) *frame { return f })
	}
	return p.each(func(f *frame) *frame { return f.sharpened(amount) })
}

func (p *picture) NRGBA() (m *image.NRGBA, err error) {
	defer guard(&err)
	if len(p.frames) == 0 {
		return nil, errClosed
	}
	return p.frames[0].nrgba(), nil
}

func (p *picture) Encode(o pixels.EncodeOptions) (b []byte, err error) {
	defer guard(&err)
	if len(p.frames) == 0 {
		return nil, errClosed
	}
	first := p.frames[0]
	animate := o.Animate && len(p.frames) > 1
	switch o.Format {
	case pixels.JPEG:
		b, err = encodeJPEG(first.flattened([3]byte{o.Background.R, o.Background.G, o.Background.B}), o.Quality)
	case pixels.PNG:
		b, err = encodePNG(first, o.Effort)
	case pixels.WebP:
		if animate {
			b, err = encodeWebPs(p.animation, o.Quality, o.Effort)
		} else {
			b, err = encodeWebP(first, o.Quality, o.Effort)
		}
	case pixels.AVIF:
		b, err = encodeAVIF(first, o.Quality, o.Effort)
	case pixels.GIF:
		a := p.animation
		if !animate {
			a = animation{frames: a.frames[:1]}
		}
		b, err = encodeGIF(a)
	default:
		return nil, unsupported("the engine in Go does not write %s", o.Format)
	}
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", o.Format, err)
	}
	return b, nil
}
