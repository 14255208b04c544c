package vips

import (
	"errors"
	"fmt"
	"image"
	"runtime"
	"slices"
	"sync"
	"unsafe"

	"darkroom/internal/pixels"
)

var errClosed = errors.New("the picture is closed")

// picture is a picture in memory, in sRGB or grey of 8 bits, perhaps with alpha. The frames of an animation lie below
// one another.
type picture struct {
	*library
	frames int
	delays []int32 // milliseconds a frame
	loop   int32

	mu sync.RWMutex // held for reading while im is used
	im ref          // 0 when closed
}

// Size implements pixels.Picture.
func (p *picture) Size() image.Point {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.im == 0 {
		return image.Point{}
	}
	return p.frameSize()
}

func (p *picture) frameSize() image.Point {
	size := p.size(p.im)
	return image.Pt(size.X, size.Y/p.frames)
}

// Frames implements pixels.Picture.
func (p *picture) Frames() int { return p.frames }

// Close implements pixels.Picture.
func (p *picture) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.im != 0 {
		p.objectUnref(uintptr(p.im))
		p.im = 0
	}
}

// use runs work on the image.
func (p *picture) use(action string, work func(*scope) error) error {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.im == 0 {
		return fmt.Errorf("%s: %w", action, errClosed)
	}
	if err := p.run(work); err != nil {
		return fmt.Errorf("%s: %w", action, err)
	}
	return nil
}

// derive makes a picture of the same frames.
func (p *picture) derive(action string, work func(s *scope, frame ref) (ref, error)) (pixels.Picture, error) {
	out := &picture{library: p.library, frames: p.frames, delays: p.delays, loop: p.loop}
	err := p.use(action, func(s *scope) error {
		im, err := s.each(p.im, p.frames, func(frame ref) (ref, error) { return work(s, frame) })
		if err != nil {
			return err
		}
		if im, err = s.memory(im); err != nil {
			return err
		}
		out.im = s.keep(im)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// each returns what work makes of each of n frames that lie below one another: alike.
func (s *scope) each(im ref, n int, work func(ref) (ref, error)) (ref, error) {
	made := make([]ref, n)
	for i := range made {
		frame, err := s.frame(im, i, n)
		if err != nil {
			return 0, err
		}
		if made[i], err = work(frame); err != nil {
			return 0, err
		}
	}
	if n == 1 {
		return made[0], nil
	}
	return s.image("arrayjoin", args{"in": made, "across": 1})
}

// frame returns one of n frames that lie below one another.
func (s *scope) frame(im ref, i, n int) (ref, error) {
	if n == 1 {
		return im, nil
	}
	size := s.size(im)
	height := size.Y / n
	return s.image("extract_area", args{"input": im, "left": 0, "top": i * height, "width": size.X, "height": height})
}

// Resize implements pixels.Picture.
func (p *picture) Resize(crop image.Rectangle, size image.Point) (pixels.Picture, error) {
	if err := checkResize(p.Size(), crop, size); err != nil {
		return nil, err
	}
	return p.derive("resize", func(s *scope, frame ref) (ref, error) { return s.resample(frame, crop, size) })
}

func checkResize(have image.Point, crop image.Rectangle, size image.Point) error {
	if crop.Empty() || !crop.In(image.Rectangle{Max: have}) {
		return fmt.Errorf("resize: the crop %v is not within the picture's %v", crop, have)
	}
	if size.X <= 0 || size.Y <= 0 {
		return fmt.Errorf("resize: %v is no size", size)
	}
	return nil
}

// resample returns the part crop, resampled to size. It reads its input once, from top to bottom.
func (s *scope) resample(im ref, crop image.Rectangle, size image.Point) (ref, error) {
	var err error
	if crop != (image.Rectangle{Max: s.size(im)}) {
		if im, err = s.image("extract_area", args{
			"input": im, "left": crop.Min.X, "top": crop.Min.Y, "width": crop.Dx(), "height": crop.Dy(),
		}); err != nil {
			return 0, err
		}
	}
	if crop.Size() == size {
		return im, nil
	}
	return s.straight(im, func(im ref) (ref, error) {
		return s.image("resize", args{
			"in": im, "scale": float64(size.X) / float64(crop.Dx()), "vscale": float64(size.Y) / float64(crop.Dy()),
		})
	})
}

// straight runs a filter on pixels whose colours are multiplied by their alpha, if they have one, so that the colours
// of transparent pixels do not bleed.
func (s *scope) straight(im ref, filter func(ref) (ref, error)) (ref, error) {
	if !s.hasAlpha(im) {
		return filter(im)
	}
	format := s.bandFormat(im)
	im, err := s.image("premultiply", args{"in": im})
	if err != nil {
		return 0, err
	}
	if im, err = filter(im); err != nil {
		return 0, err
	}
	if im, err = s.image("unpremultiply", args{"in": im}); err != nil {
		return 0, err
	}
	if im, err = s.image("round", args{"in": im, "round": roundNearest}); err != nil { // the cast only cuts
		return 0, err
	}
	return s.image("cast", args{"in": im, "format": format})
}

func (s *scope) hasAlpha(im ref) bool {
	n := s.bands(im)
	return n == 2 || n == 4 && s.interpretation(im) != interpretationCMYK
}

// The mask of Sharpen: a Gaussian of radius 1, in five by five pixels.
var gaussian = [5]float64{1. / 16, 4. / 16, 6. / 16, 4. / 16, 1. / 16}

// sharpening is how much of the mask amount 1 adds.
const sharpening = 0.5

// Sharpen implements pixels.Picture.
func (p *picture) Sharpen(amount float64) (pixels.Picture, error) {
	const n = len(gaussian)
	kernel := make([]float64, 0, n*n)
	for _, a := range gaussian {
		for _, b := range gaussian {
			kernel = append(kernel, -amount*sharpening*a*b)
		}
	}
	kernel[n*n/2] += 1 + amount*sharpening
	return p.derive("sharpen", func(s *scope, frame ref) (ref, error) {
		m := s.matrixFromArray(int32(n), int32(n), unsafe.Pointer(unsafe.SliceData(kernel)), int32(len(kernel)))
		if m == 0 {
			return 0, errVips
		}
		mask := s.own(ref(m))
		return s.straight(frame, func(im ref) (ref, error) {
			im, err := s.image("conv", args{"in": im, "mask": mask, "precision": 1}) // in floating point
			if err != nil || s.bandFormat(im) == bandUChar {
				return im, err
			}
			if im, err = s.image("round", args{"in": im, "round": roundNearest}); err != nil {
				return 0, err
			}
			return s.image("cast", args{"in": im, "format": bandUChar})
		})
	})
}

// NRGBA implements pixels.Picture.
func (p *picture) NRGBA() (*image.NRGBA, error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.im == 0 {
		return nil, errClosed
	}
	size, bands := p.frameSize(), p.bands(p.im)
	data := p.imageData(uintptr(p.im))
	if data == nil {
		return nil, errors.New("libvips gives no pixels")
	}
	out := image.NewNRGBA(image.Rectangle{Max: size})
	spread(out.Pix, unsafe.Slice((*byte)(data), size.X*size.Y*bands), bands)
	runtime.KeepAlive(p)
	return out, nil
}

// spread writes pixels of 1 to 4 bands as four.
func spread(dst, src []byte, bands int) {
	for i := 0; len(src) > 0; i, src = i+4, src[bands:] {
		d := dst[i : i+4 : i+4]
		switch bands {
		case 1:
			d[0], d[1], d[2], d[3] = src[0], src[0], src[0], 0xff
		case 2:
			d[0], d[1], d[2], d[3] = src[0], src[0], src[0], src[1]
		case 3:
			d[0], d[1], d[2], d[3] = src[0], src[1], src[2], 0xff
		default:
			copy(d, src[:4])
		}
	}
}

// animation returns the frames that lie below one another in an image, how long each is shown, and how often all are.
func (s *scope) animation(im ref) (frames int, delays []int32, loop int32) {
	frames = 1
	if page := int(s.imagePageHeight(uintptr(im))); page > 0 {
		frames = max(1, s.size(im).Y/page)
	}
	if s.has(im, "delay") {
		var first *int32
		var n int32
		if s.imageGetInts(uintptr(im), "delay", &first, &n) == 0 && n > 0 {
			delays = slices.Clone(unsafe.Slice(first, n))
		}
	}
	if s.has(im, "loop") {
		s.imageGetInt(uintptr(im), "loop", &loop)
	}
	return frames, delays, loop
}
