package vips

import (
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"math"
	"slices"
	"strings"
	"sync"
	"unsafe"

	"darkroom/internal/pixels"
)

// Numbers of libvips's enums, which are part of its ABI.
const (
	bandUChar, bandUShort = 0, 2 // VipsBandFormat

	interpretationBW, interpretationCMYK, interpretationRGB16 = 1, 15, 25 // VipsInterpretation
	interpretationSRGB, interpretationGrey16                  = 22, 26

	accessSequential = 1 // VipsAccess
	failOnError      = 2 // VipsFailOn: an error, or the end of the file before the image's, but no warning
	intentRelative   = 1 // VipsIntent

	directionHorizontal, directionVertical = 0, 1 // VipsDirection
	rotate90, rotate180, rotate270         = 1, 2, 3
	roundNearest                           = 0 // VipsOperationRound
)

const profileField = "icc-profile-data"

// loader is how a format is read.
type loader struct {
	operation string
	class     string // the name of its type, for unblocking it
	animated  bool   // it has the argument n: all pages, one below the other
	upright   bool   // it turns pictures itself
}

var loaders = map[pixels.Format]loader{
	pixels.JPEG: {operation: "jpegload_buffer", class: "VipsForeignLoadJpegBuffer"},
	pixels.PNG:  {operation: "pngload_buffer", class: "VipsForeignLoadPngBuffer"},
	pixels.GIF:  {operation: "gifload_buffer", class: "VipsForeignLoadNsgifBuffer", animated: true},
	pixels.WebP: {operation: "webpload_buffer", class: "VipsForeignLoadWebpBuffer", animated: true},
	pixels.TIFF: {operation: "tiffload_buffer", class: "VipsForeignLoadTiffBuffer"},
	pixels.AVIF: {operation: "heifload_buffer", class: "VipsForeignLoadHeifBuffer", upright: true},
	pixels.HEIC: {operation: "heifload_buffer", class: "VipsForeignLoadHeifBuffer", upright: true},
	pixels.JXL:  {operation: "jxlload_buffer", class: "VipsForeignLoadJxlBuffer", animated: true, upright: true},
}

// file is a compressed picture and how it is to be read.
type file struct {
	*library
	loader
	data  []byte
	facts pixels.Facts
	all   bool // all frames
	// Of one, shrink is JPEG's reduction (2, 4, 8) and scale WebP's. Neither if not set.
	shrink int
	scale  float64
}

// Decode implements pixels.Engine. Only the header is read: pixels are decoded while they are resampled, row by row,
// and so a broken file may show as late as that. data must not change before the picture is closed.
func (e *Engine) Decode(data []byte, facts pixels.Facts, opts pixels.DecodeOptions) (pixels.Picture, error) {
	if !slices.Contains(e.own, facts.Format) {
		if slices.Contains(e.info.Decodes, facts.Format) {
			return e.decodeBorrowed(data, facts, opts)
		}
		return nil, fail(pixels.CodeUnsupportedFormat, "%s images are not supported by this libvips", facts.Format)
	}
	if opts.AllFrames && facts.Format == pixels.PNG && facts.Frames > 1 && e.borrowed != nil {
		return e.borrowed.Decode(data, facts, opts) // libvips knows the first frame alone
	}
	if len(data) == 0 {
		return nil, fail(pixels.CodeTruncated, "the file is empty")
	}
	f := &file{library: e.library, loader: loaders[facts.Format], data: data, facts: facts}
	f.all = opts.AllFrames && f.animated && facts.Frames != 1
	if !f.all {
		f.reduce(opts.AtLeast)
	}
	s := &source{file: f}
	err := f.read(func(sc *scope) error {
		im, err := f.open(sc)
		if err != nil {
			return err
		}
		s.stored = sc.size(im)
		return f.within(s.stored)
	})
	if err != nil {
		return nil, err
	}
	if f.all {
		return s.whole()
	}
	return s, nil
}

// decodeBorrowed has the other engine decode, and takes over the pixels.
func (e *Engine) decodeBorrowed(data []byte, facts pixels.Facts, opts pixels.DecodeOptions) (pixels.Picture, error) {
	theirs, err := e.borrowed.Decode(data, facts, opts)
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	im, err := theirs.NRGBA()
	if err != nil {
		return nil, err
	}
	return e.load(im)
}

// load copies pixels into a picture.
func (l *library) load(im *image.NRGBA) (*picture, error) {
	p := &picture{library: l, frames: 1}
	err := l.run(func(s *scope) error {
		n := l.imageFromMemory(unsafe.Pointer(unsafe.SliceData(im.Pix)), uintptr(len(im.Pix)),
			int32(im.Rect.Dx()), int32(im.Rect.Dy()), 4, bandUChar)
		if n == 0 {
			return errVips
		}
		out := s.own(ref(n))
		var err error
		if im.Opaque() {
			if out, err = s.image("extract_band", args{"in": out, "band": 0, "n": 3}); err != nil {
				return err
			}
		}
		if out, err = s.image("copy", args{"in": out, "interpretation": interpretationSRGB}); err != nil {
			return err
		}
		p.im, err = s.finish(out, 1, 1)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("load pixels: %w", err)
	}
	return p, nil
}

// reduce has the decoder leave out what the derivatives do not need.
func (f *file) reduce(atLeast image.Point) {
	if atLeast.X <= 0 || atLeast.Y <= 0 {
		return
	}
	w, h := float64(f.facts.Width), float64(f.facts.Height)
	if f.turned() {
		w, h = h, w
	}
	ratio := min(w/float64(atLeast.X), h/float64(atLeast.Y))
	switch f.facts.Format {
	case pixels.JPEG: // rounds sizes up
		for _, n := range []int{8, 4, 2} {
			if ratio >= float64(n) && pixels.Reducible(int(w), n) && pixels.Reducible(int(h), n) {
				f.shrink = n
				return
			}
		}
	case pixels.WebP:
		// libwebp's own scaler is a plain one. What it makes is at least twice as large as what is asked for. It scales the
		// colours of a lossy picture without regard to their alpha, so that those which are not seen would bleed.
		if ratio >= 4 && f.facts.Frames <= 1 && !f.lossyAlpha() {
			f.scale = 2 / ratio
		}
	}
}

// lossyAlpha tells whether a WebP has alpha beside lossy colours: only then is its header an extended one that announces
// alpha (RFC 9649, section 2.7), which a lossless picture may have, too.
func (f *file) lossyAlpha() bool {
	const flags, flagAlpha = 20, 0x10
	return len(f.data) > flags && string(f.data[12:16]) == "VP8X" && f.data[flags]&flagAlpha != 0
}

// orientation is how the pixels must still be turned.
func (f *file) orientation() int {
	if o := int(f.facts.Orientation); !f.upright && o >= 1 && o <= 8 {
		return o
	}
	return 1
}

// turned tells whether width and height change places.
func (f *file) turned() bool { return f.orientation() >= 5 }

// open reads the header.
func (f *file) open(s *scope) (ref, error) {
	in := args{"buffer": f.data, "access": accessSequential, "fail_on": failOnError}
	if f.all {
		in["n"] = -1
	}
	if f.shrink > 1 {
		in["shrink"] = f.shrink
	}
	if f.scale > 0 {
		in["scale"] = f.scale
	}
	return s.image(f.operation, in)
}

// within refuses a picture that is not the one that Probe measured, which would be stretched to its size. Reduced it may
// be, by what was asked for, and have its frames one below the other.
func (f *file) within(size image.Point) error {
	if f.facts.Width <= 0 || f.facts.Height <= 0 {
		return nil
	}
	want := image.Pt(int(f.facts.Width), int(f.facts.Height))
	if f.upright {
		want = f.facts.Upright()
	}
	scale := 1.0
	if f.shrink > 1 {
		scale = 1 / float64(f.shrink)
	}
	if f.scale > 0 {
		scale = f.scale
	}
	near := func(got, full int) bool {
		v := float64(full) * scale
		return got == full && scale == 1 || scale < 1 && got >= max(int(v), 1) && got <= int(math.Ceil(v))
	}
	frames := 1
	if f.all && want.Y > 0 && size.Y%want.Y == 0 {
		frames = min(max(size.Y/want.Y, 1), int(max(f.facts.Frames, 1)))
	}
	if near(size.X, want.X) && size.Y%frames == 0 && near(size.Y/frames, want.Y) {
		return nil
	}
	code := pixels.CodeMalformed
	if f.facts.Format == pixels.GIF { // of which libnsgif passes over some sizes of screens that were often wrong
		code = pixels.CodeUnsupportedFormat
	}
	return fail(code, "the decoder finds %d×%d pixels where the header said %d×%d", size.X, size.Y, want.X, want.Y)
}

// read runs work on the file's own pixels, whose errors are about the image.
func (f *file) read(work func(*scope) error) error {
	err := f.run(work)
	var v *failure
	if errors.As(err, &v) {
		code := codeOf(v.text)
		if code == pixels.CodeMalformed && f.cut() {
			code = pixels.CodeTruncated
		}
		return fail(code, "decode %s: %s", f.facts.Format, v.text)
	}
	return err
}

// cut tells whether a WebP has less than its container says, which libwebp does not tell from other faults.
func (f *file) cut() bool {
	return f.facts.Format == pixels.WebP && len(f.data) >= 8 && uint64(len(f.data)) < 8+uint64(binary.LittleEndian.Uint32(f.data[4:]))
}

// codeOf tells what a message of libvips means.
func codeOf(text string) string {
	text = strings.ToLower(text)
	contains := func(parts ...string) bool {
		for _, p := range parts {
			if strings.Contains(text, p) {
				return true
			}
		}
		return false
	}
	switch {
	case contains("premature end", "end of file", "unexpected end", "read error", "truncated", "not enough data", "end of stream",
		"libspng read error", "end-of-file", "unable to read source", "partial", "read gave"):
		return pixels.CodeTruncated
	case contains("unsupported", "not supported", "blocked", "unknown codec", "no decoding plugin", "not implemented"):
		return pixels.CodeUnsupportedFormat
	case contains("out of memory", "unable to allocate", "memory allocation"):
		return pixels.CodeResourceLimit
	}
	return pixels.CodeMalformed
}

func fail(code, format string, args ...any) error {
	return &pixels.Error{Code: code, Err: fmt.Errorf(format, args...)}
}

// source is a still picture that has not been decoded. The first Resize decodes it row by row, and holds only a few of
// its rows in memory; whoever wants more of it has it decoded again, into memory.
type source struct {
	*file
	stored image.Point // before it is turned

	mu     sync.Mutex
	used   bool
	closed bool
	kept   *picture
}

// Size implements pixels.Picture.
func (s *source) Size() image.Point {
	if s.turned() {
		return image.Pt(s.stored.Y, s.stored.X)
	}
	return s.stored
}

// Frames implements pixels.Picture.
func (s *source) Frames() int { return 1 }

// Resize implements pixels.Picture.
func (s *source) Resize(crop image.Rectangle, size image.Point) (pixels.Picture, error) {
	if err := checkResize(s.Size(), crop, size); err != nil {
		return nil, err
	}
	if s.first(size) {
		return s.stream(crop, size)
	}
	p, err := s.memory()
	if err != nil {
		return nil, err
	}
	return p.Resize(crop, size)
}

// first tells whether the picture should be decoded on the way to the given size.
func (s *source) first(size image.Point) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used || s.kept != nil || s.closed || size == s.Size() {
		return false
	}
	s.used = true
	return true
}

// Sharpen implements pixels.Picture.
func (s *source) Sharpen(amount float64) (pixels.Picture, error) {
	p, err := s.memory()
	if err != nil {
		return nil, err
	}
	return p.Sharpen(amount)
}

// Encode implements pixels.Picture.
func (s *source) Encode(opts pixels.EncodeOptions) ([]byte, error) {
	p, err := s.memory()
	if err != nil {
		return nil, err
	}
	return p.Encode(opts)
}

// NRGBA implements pixels.Picture.
func (s *source) NRGBA() (*image.NRGBA, error) {
	p, err := s.memory()
	if err != nil {
		return nil, err
	}
	return p.NRGBA()
}

// Close implements pixels.Picture.
func (s *source) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.kept != nil {
		s.kept.Close()
		s.kept = nil
	}
}

// memory returns the decoded picture, which belongs to the source.
func (s *source) memory() (*picture, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	if s.kept == nil {
		p, err := s.whole()
		if err != nil {
			return nil, err
		}
		s.kept = p
	}
	return s.kept, nil
}

// whole decodes the picture into memory.
func (s *source) whole() (*picture, error) {
	p := &picture{library: s.library, frames: 1}
	err := s.read(func(sc *scope) error {
		im, err := s.open(sc)
		if err != nil {
			return err
		}
		if s.all {
			p.frames, p.delays, p.loop = sc.animation(im)
		}
		if im, err = sc.srgb(im); err != nil {
			return err
		}
		p.im, err = sc.finish(im, p.frames, s.orientation())
		return err
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

// stream resamples while it decodes, and turns the small result.
func (s *source) stream(crop image.Rectangle, size image.Point) (pixels.Picture, error) {
	crop = unturn(crop, s.stored, s.orientation())
	if s.turned() {
		size.X, size.Y = size.Y, size.X
	}
	p := &picture{library: s.library, frames: 1}
	err := s.read(func(sc *scope) error {
		im, err := s.open(sc)
		if err != nil {
			return err
		}
		early := sc.interpretation(im) == interpretationCMYK // inks do not mix as light does
		if early {
			if im, err = sc.srgb(im); err != nil {
				return err
			}
		}
		if im, err = sc.resample(im, crop, size); err != nil {
			return err
		}
		if !early { // fewer pixels to convert
			if im, err = sc.srgb(im); err != nil {
				return err
			}
		}
		p.im, err = sc.finish(im, 1, s.orientation())
		return err
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

// unturn maps a rectangle of the upright picture to the stored one, of the given size.
func unturn(r image.Rectangle, stored image.Point, orientation int) image.Rectangle {
	if orientation >= 5 {
		r = image.Rect(r.Min.Y, r.Min.X, r.Max.Y, r.Max.X)
	}
	switch orientation {
	case 2, 3, 7, 8:
		r.Min.X, r.Max.X = stored.X-r.Max.X, stored.X-r.Min.X
	}
	switch orientation {
	case 3, 4, 6, 7:
		r.Min.Y, r.Max.Y = stored.Y-r.Max.Y, stored.Y-r.Min.Y
	}
	return r
}

// srgb converts to sRGB, or grey, of 8 bits.
func (s *scope) srgb(im ref) (ref, error) {
	im, err := s.toSRGB(im)
	if err != nil {
		return 0, err
	}
	if n := s.bands(im); n > 4 { // a TIFF may have any number
		if im, err = s.image("extract_band", args{"in": im, "band": 0, "n": 3}); err != nil {
			return 0, err
		}
	}
	if s.bandFormat(im) != bandUChar {
		return s.image("cast", args{"in": im, "format": bandUChar})
	}
	return im, nil
}

func (s *scope) toSRGB(im ref) (ref, error) {
	kind := s.interpretation(im)
	if s.has(im, profileField) && !s.isSRGB(im) {
		converted, err := s.image("icc_transform", args{
			"in": im, "output_profile": "srgb", "embedded": true, "intent": intentRelative, "depth": 8,
		})
		if err == nil {
			return converted, nil
		}
		// A profile that cannot be used, such as a grey one in a colour picture, is as good as none.
	}
	to := interpretationSRGB
	switch kind {
	case interpretationSRGB, interpretationBW:
		return im, nil
	case interpretationGrey16:
		to = interpretationBW
	}
	return s.image("colourspace", args{"in": im, "space": to})
}

// finish turns the frames upright and puts them into memory, without the metadata and the resolution that the file had.
func (s *scope) finish(im ref, frames, orientation int) (ref, error) {
	im, err := s.image("copy", args{"in": im, "xres": 1.0, "yres": 1.0})
	if err != nil {
		return 0, err
	}
	s.strip(im) // older savers keep a profile even when they are told to keep nothing
	if im, err = s.memory(im); err != nil {
		return 0, err
	}
	if orientation > 1 {
		im, err = s.each(im, frames, func(frame ref) (ref, error) { return s.turn(frame, orientation) })
		if err != nil {
			return 0, err
		}
		if im, err = s.memory(im); err != nil {
			return 0, err
		}
	}
	return s.keep(im), nil
}

// turn applies an orientation as EXIF defines it.
func (s *scope) turn(im ref, orientation int) (ref, error) {
	var err error
	if angle := [9]int{3: rotate180, 5: rotate90, 6: rotate90, 7: rotate90, 8: rotate270}[orientation]; angle != 0 {
		if im, err = s.image("rot", args{"in": im, "angle": angle}); err != nil {
			return 0, err
		}
	}
	switch orientation {
	case 2, 5:
		return s.image("flip", args{"in": im, "direction": directionHorizontal})
	case 4, 7:
		return s.image("flip", args{"in": im, "direction": directionVertical})
	}
	return im, nil
}
