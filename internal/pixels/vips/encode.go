package vips

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"unsafe"

	"darkroom/internal/pixels"
)

const heifAV1 = 4 // VipsForeignHeifCompression

// pngFilters lets libpng choose a filter for each row, by which a photograph takes a fifth to two fifths less, and a page of
// text a tenth more, than with none, as libvips has it (VipsForeignPngFilter).
const pngFilters = 0xf8

// efforts are the arguments of the savers. What is not named is libvips's default: efforts of 4 of 6 for WebP, and of 7 of 10
// for GIF. That of AVIF, 4 of 9, would take some fifteen times as long as 0, and a PNG's compression of 6 twice as long as 3.
var efforts = map[pixels.Format]map[pixels.Effort]args{
	pixels.JPEG: {pixels.High: {"optimize_coding": true, "trellis_quant": true}},
	pixels.PNG:  {pixels.Low: {"compression": 1}, pixels.Normal: {"compression": 3}, pixels.High: {"compression": 6}},
	pixels.WebP: {pixels.Low: {"effort": 2}, pixels.High: {"effort": 6}},
	pixels.AVIF: {pixels.Low: {"effort": 0}, pixels.Normal: {"effort": 0}, pixels.High: {"effort": 4}},
	pixels.GIF:  {pixels.Low: {"effort": 1}, pixels.High: {"effort": 10}},
}

var savers = map[pixels.Format]string{
	pixels.JPEG: "jpegsave_buffer", pixels.PNG: "pngsave_buffer", pixels.WebP: "webpsave_buffer",
	pixels.AVIF: "heifsave_buffer", pixels.GIF: "gifsave_buffer",
}

// Encode implements pixels.Picture.
func (p *picture) Encode(opts pixels.EncodeOptions) (out []byte, err error) {
	save, ok := savers[opts.Format]
	if !ok || p.typeFind("VipsOperation", save) == 0 {
		return nil, fail(pixels.CodeUnsupportedFormat, "%s cannot be written by this libvips", opts.Format)
	}
	if opts.Format != pixels.PNG && opts.Format != pixels.GIF && (opts.Quality < 1 || opts.Quality > 100) {
		return nil, fmt.Errorf("encode %s: the quality %d is not within 1 and 100", opts.Format, opts.Quality)
	}
	err = p.use("encode "+string(opts.Format), func(s *scope) error {
		im, err := s.saveable(p, opts)
		if err != nil {
			return err
		}
		if out, err = s.bytes(save, p.saveArgs(im, opts)); err == nil && opts.Format == pixels.WebP {
			out = withoutEXIF(out)
		}
		return err
	})
	return out, err
}

// saveArgs are the arguments of the saver.
func (p *picture) saveArgs(im ref, opts pixels.EncodeOptions) args {
	in := args{"in": im}
	if p.atLeast(15) {
		in["keep"] = 0 // VipsForeignKeep: none
	} else {
		in["strip"] = true
	}
	switch opts.Format {
	case pixels.PNG:
		in["filter"] = pngFilters
	case pixels.JPEG, pixels.WebP: // chroma is halved below a quality of 90, as libvips does unless told
		in["Q"] = opts.Quality
	case pixels.AVIF:
		in["Q"], in["compression"], in["bitdepth"] = opts.Quality, heifAV1, 8
	}
	maps.Copy(in, efforts[opts.Format][cmp.Or(opts.Effort, pixels.Normal)])
	return in
}

// saveable returns what the saver takes: one frame or all, flattened where the format has no alpha.
func (s *scope) saveable(p *picture, opts pixels.EncodeOptions) (im ref, err error) {
	animate := opts.Animate && p.frames > 1 && (opts.Format == pixels.WebP || opts.Format == pixels.GIF)
	switch {
	case animate:
		if im, err = s.image("copy", args{"in": p.im}); err != nil {
			return 0, err
		}
		s.imageSetInt(uintptr(im), "page-height", int32(p.frameSize().Y))
		s.imageSetInt(uintptr(im), "loop", p.loop)
		if len(p.delays) > 0 {
			s.imageSetInts(uintptr(im), "delay", unsafe.Pointer(unsafe.SliceData(p.delays)), int32(len(p.delays)))
		}
	default:
		if im, err = s.frame(p.im, 0, p.frames); err != nil {
			return 0, err
		}
	}
	if opts.Format == pixels.JPEG && s.hasAlpha(im) {
		c := opts.Background
		background := []float64{float64(c.R), float64(c.G), float64(c.B)}
		if s.bands(im) == 2 && (c.R != c.G || c.G != c.B) {
			if im, err = s.image("colourspace", args{"in": im, "space": interpretationSRGB}); err != nil {
				return 0, err
			}
		} else if s.bands(im) == 2 {
			background = background[:1]
		}
		return s.image("flatten", args{"in": im, "background": background})
	}
	return im, nil
}

// withoutEXIF removes the chunk EXIF from a WebP, which libvips before 8.15 writes with the resolution in it, whatever
// it is told. The file is one of libvips: VP8X comes first, and what follows is whole.
func withoutEXIF(file []byte) []byte {
	const header, flagEXIF = 12, 0x08
	le := binary.LittleEndian
	if len(file) < header+9 || string(file[header:header+4]) != "VP8X" || file[header+8]&flagEXIF == 0 {
		return file
	}
	file[header+8] &^= flagEXIF
	for at := header; at+8 <= len(file); {
		n := int(le.Uint32(file[at+4:]))
		end := min(at+8+n+n%2, len(file))
		if string(file[at:at+4]) == "EXIF" {
			file = slices.Delete(file, at, end)
			break
		}
		at = end
	}
	le.PutUint32(file[4:], uint32(len(file)-8))
	return file
}
