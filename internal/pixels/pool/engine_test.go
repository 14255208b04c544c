package pool_test

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	_ "image/gif" // decoded by the engine
	"image/jpeg"
	"image/png"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	_ "golang.org/x/image/bmp" // decoded by the engine
	"golang.org/x/image/draw"
	_ "golang.org/x/image/tiff" // decoded by the engine
	_ "golang.org/x/image/webp" // decoded by the engine

	"darkroom/internal/pixels"
	"darkroom/internal/pixels/goengine"
	"darkroom/internal/pixels/pool"
)

func TestMain(m *testing.M) {
	switch {
	case len(os.Args) < 2:
	case os.Args[1] == "child":
		serve(openEngine)
	case os.Args[1] == "go-child":
		serve(func(string, string) (pixels.Engine, error) { return goengine.New(), nil })
	case os.Args[1] == "no-child":
		fmt.Fprintln(os.Stderr, "no library, no luck")
		os.Exit(3)
	case os.Args[1] == "parent":
		beParent()
	}
	os.Exit(m.Run())
}

func serve(open pool.Open) {
	if err := pool.Serve(open); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// order is what may follow an image, for the engine to do when it decodes it.
const order = "#order "

func ordered(img []byte, what string) []byte { return append(bytes.Clone(img), order+what...) }

func openEngine(name, _ string) (pixels.Engine, error) {
	if name == "missing" {
		return nil, errors.New("no engine of that name")
	}
	return engine{}, nil
}

// engine decodes with the standard library, and does whatever the image asks for.
type engine struct{}

func (engine) Info() pixels.EngineInfo {
	return pixels.EngineInfo{
		Name: "test", Version: "1", Encodes: []pixels.Format{pixels.JPEG, pixels.PNG},
		Decodes: []pixels.Format{pixels.JPEG, pixels.PNG, pixels.GIF, pixels.WebP, pixels.BMP, pixels.TIFF},
	}
}

func (engine) Decode(data []byte, _ pixels.Facts, _ pixels.DecodeOptions) (pixels.Picture, error) {
	if _, what, ok := strings.Cut(string(data[max(0, len(data)-100):]), order); ok {
		if err := obey(what); err != nil {
			return nil, err
		}
	}
	m, _, err := image.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, &pixels.Error{Code: pixels.CodeMalformed, Err: err}
	}
	p := picture{image.NewNRGBA(image.Rect(0, 0, m.Bounds().Dx(), m.Bounds().Dy()))}
	draw.Draw(p.m, p.m.Rect, m, m.Bounds().Min, draw.Src)
	return p, nil
}

func obey(what string) error {
	verb, arg, _ := strings.Cut(what, " ")
	switch verb {
	case "nil":
		var p *[1 << 20]byte
		p[9]++
	case "panic":
		panic("the decoder's " + arg)
	case "exit":
		os.Exit(7)
	case "hang":
		time.Sleep(time.Hour)
	case "spin":
		for n := 0; ; n++ {
			runtime.KeepAlive(n)
		}
	case "allocate":
		var all [][]byte
		for {
			b := make([]byte, 1<<20)
			for i := range b {
				b[i] = 1
			}
			all = append(all, b)
			runtime.KeepAlive(all)
		}
	case "fail":
		return errors.New(arg)
	case "pid":
		return &pixels.Error{Code: "pid", Err: fmt.Errorf("%d", os.Getpid())}
	default:
		return obeySystem(verb, arg)
	}
	return nil
}

type picture struct{ m *image.NRGBA }

func (p picture) Size() image.Point { return p.m.Rect.Size() }
func (p picture) Frames() int       { return 1 }

func (p picture) Resize(crop image.Rectangle, size image.Point) (pixels.Picture, error) {
	m := image.NewNRGBA(image.Rectangle{Max: size})
	draw.ApproxBiLinear.Scale(m, m.Rect, p.m, crop, draw.Src, nil)
	return picture{m}, nil
}

func (p picture) Sharpen(float64) (pixels.Picture, error) { return p, nil }

func (p picture) Encode(o pixels.EncodeOptions) ([]byte, error) {
	var b bytes.Buffer
	if o.Format == pixels.PNG {
		err := png.Encode(&b, p.m)
		return b.Bytes(), err
	}
	err := jpeg.Encode(&b, p.m, &jpeg.Options{Quality: o.Quality})
	return b.Bytes(), err
}

func (p picture) NRGBA() (*image.NRGBA, error) { return p.m, nil }
func (p picture) Close()                       {}
