package pixels

import (
	"image"
	"image/color"
)

// Engine decodes, resizes and encodes. What all engines share is not its business: Derive decides which sizes are made
// from which, where a cover is cut, and which quality fits a number of bytes.
//
// An Engine may be used by many goroutines at once. It allocates what an image needs and trusts that Probe has checked
// the dimensions against the limits; it still returns an *Error, and does not panic, for whatever the compressed data
// hold.
type Engine interface {
	Info() EngineInfo
	// Decode returns the picture in data, whose facts are those that Probe found: upright (its orientation is
	// applied), in sRGB (an embedded ICC profile is applied), 8 bits a channel. An engine may read no more than the
	// header here: data must not change until the picture is closed, and what is wrong with the pixels may show as late
	// as in the picture's first Resize, Sharpen, Encode or NRGBA, as the same *Error. A file that ends too early is
	// CodeTruncated in each engine.
	Decode(data []byte, facts Facts, opts DecodeOptions) (Picture, error)
}

// EngineInfo says what an engine is and can do.
type EngineInfo struct {
	Name      string   // "go" or "libvips"
	Version   string   // of the engine's code; derivatives are the same bytes while Name and Version are the same
	Libraries []string // the codec libraries and their versions, such as "libwebp 1.5.0"
	Decodes   []Format
	Encodes   []Format
}

// DecodeOptions is what a caller needs of a picture.
type DecodeOptions struct {
	// AtLeast is the size in pixels that the largest derivative needs, upright. An engine may decode at a reduced size
	// (shrink on load) as long as neither side becomes smaller than this. Zero asks for the full size.
	AtLeast image.Point
	// AllFrames asks for each frame of an animation, composed as shown, with its duration. Otherwise only the first
	// frame, or page, is decoded. An engine that cannot decode the later frames of a format decodes the first, so that
	// Picture.Frames is 1: libvips does of TIFF, and by itself of APNG.
	AllFrames bool
	// FullColour asks for colours as fine as brightness, as far as the file has them, since a derivative keeps them: PNG
	// and GIF do. An engine that works on the chroma of a JPEG, which has fewer samples, otherwise need not.
	FullColour bool
}

// Picture is a decoded image: one frame, or all frames of an animation, of the same size. It is immutable. Close frees
// it; what was made from it lives on.
type Picture interface {
	Size() image.Point // of a frame
	Frames() int
	// Resize returns the part crop of each frame, resampled to size. A crop outside the picture is an error.
	Resize(crop image.Rectangle, size image.Point) (Picture, error)
	// Sharpen returns the picture sharpened by an unsharp mask of radius about one pixel; amount 1 is what a photograph
	// needs after it was shrunk.
	Sharpen(amount float64) (Picture, error)
	// Encode returns the file: without any metadata, and without a profile, since pixels are sRGB.
	Encode(EncodeOptions) ([]byte, error)
	// NRGBA returns the pixels of the first frame.
	NRGBA() (*image.NRGBA, error)
	Close()
}

// EncodeOptions is how a picture becomes a file.
type EncodeOptions struct {
	Format     Format
	Quality    int        // 1 to 100; not used by PNG and GIF
	Effort     Effort     // an empty one is Normal
	Background color.RGBA // what shows through where a format without alpha (JPEG) is made of a picture with alpha
	Animate    bool       // all frames, in WebP and GIF; otherwise the first
}

// EncodedFormats are the formats that derivatives can have, if the engine encodes them.
var EncodedFormats = []Format{JPEG, PNG, WebP, AVIF, GIF}

// Reducible reports whether a JPEG's decoder may make one sample of so many of a side. The last one may stand for fewer,
// but is taken for a whole one, so that all is shifted by up to a sample: too much where there are few.
func Reducible(side, by int) bool {
	const tolerance = 64
	over := (by - side%by) % by
	return over*tolerance <= side
}
