package pixels

import (
	"cmp"
	"fmt"
	"image"
	"image/color"
	"math"
	"slices"
)

// Fit is how an image is brought into the box of an Output.
type Fit string

// The fits.
const (
	Inside Fit = "inside" // the whole image, as large as the box allows; the ratio of its sides stays
	Cover  Fit = "cover"  // the whole box; the ratio stays, and what is outside of the box is cut off
	Exact  Fit = "exact"  // the size of the box; the ratio changes with it
)

// Fits are all of them.
var Fits = []Fit{Inside, Cover, Exact}

// Gravity is which part of an image Cover keeps.
type Gravity string

// The gravities.
const (
	Centre    Gravity = "centre"
	Entropy   Gravity = "entropy"   // where most happens: the part whose grey levels have the highest Shannon entropy
	Attention Gravity = "attention" // what people look at first: edges, strong colours, skin
)

// Gravities are all of them.
var Gravities = []Gravity{Centre, Entropy, Attention}

// Effort is how long an encoder looks for a smaller file of equal quality. What it does with it is up to the engine, and
// not every format leaves a choice.
type Effort string

// The efforts. An empty one is Normal.
const (
	Low    Effort = "low"
	Normal Effort = "normal"
	High   Effort = "high"
)

// Efforts are all of them.
var Efforts = []Effort{Low, Normal, High}

// Output is a derivative that is wanted. It needs a format and a box; the other fields have defaults.
type Output struct {
	Width, Height int // the box in pixels; with Inside, a side of 0 is left to the other one
	Fit           Fit // Inside unless given
	Gravity       Gravity
	Enlarge       bool // the derivative may be larger than the image; otherwise the box shrinks to what the image fills

	Format      Format
	Quality     int        // 1 to 100; 0 is DefaultQuality of the format
	TargetBytes int        // the highest quality, up to Quality, of which the file has at most so many bytes; 0: any
	Effort      Effort     // Normal unless given
	Background  color.RGBA // shows through where a JPEG is made of an image with alpha
	Sharpen     float64    // amount of an unsharp mask after the image was resized: 0 none, 1 usual
	Animate     bool       // keep all frames, in formats that can
	Copyright   bool       // keep copyright and artist of the EXIF data; all other metadata goes in any case
}

// MaxSide is the longest side that all formats have room for: that of WebP (RFC 9649, section 2.6).
const MaxSide = 16383

// lowestQuality is the lowest to which TargetBytes leads.
const lowestQuality = 10

// DefaultQuality is that of an Output that names none, and 0 for a format that has no quality.
func DefaultQuality(f Format) int {
	switch f {
	case JPEG, WebP:
		return 80
	case AVIF:
		return 50 // its scale is another one: it looks as good as a JPEG of 80
	default:
		return 0
	}
}

// Validate says what is wrong with an Output.
func (o Output) Validate() error {
	o = o.orDefault()
	switch {
	case !slices.Contains(EncodedFormats, o.Format):
		return fmt.Errorf("format %q: must be one of %v", o.Format, EncodedFormats)
	case o.Width < 0 || o.Height < 0 || o.Width > MaxSide || o.Height > MaxSide:
		return fmt.Errorf("width %d, height %d: must be from 0 to %d", o.Width, o.Height, MaxSide)
	case o.Width == 0 && o.Height == 0:
		return fmt.Errorf("width, height: one of them must be given")
	case !slices.Contains(Fits, o.Fit):
		return fmt.Errorf("fit %q: must be one of %v", o.Fit, Fits)
	case o.Fit != Inside && (o.Width == 0 || o.Height == 0):
		return fmt.Errorf("fit %s: needs a width and a height", o.Fit)
	case !slices.Contains(Gravities, o.Gravity):
		return fmt.Errorf("gravity %q: must be one of %v", o.Gravity, Gravities)
	case o.Quality < 0 || o.Quality > 100:
		return fmt.Errorf("quality %d: must be from 1 to 100", o.Quality)
	case o.TargetBytes < 0:
		return fmt.Errorf("target bytes %d: must not be negative", o.TargetBytes)
	case o.TargetBytes > 0 && o.Quality == 0:
		return fmt.Errorf("target bytes: %s has no quality that could be lowered", o.Format)
	case !slices.Contains(Efforts, o.Effort):
		return fmt.Errorf("effort %q: must be one of %v", o.Effort, Efforts)
	case !(o.Sharpen >= 0 && o.Sharpen <= 10): // so that NaN is refused too
		return fmt.Errorf("sharpen %v: must be from 0 to 10", o.Sharpen)
	case o.Animate && o.Format != WebP && o.Format != GIF:
		return fmt.Errorf("animate: %s keeps no frames, only webp and gif do", o.Format)
	case o.Copyright && !slices.Contains(markedFormats, o.Format):
		return fmt.Errorf("copyright: it can be kept in %v only", markedFormats)
	}
	return nil
}

func (o Output) orDefault() Output {
	o.Fit = cmp.Or(o.Fit, Inside)
	o.Gravity = cmp.Or(o.Gravity, Centre)
	o.Effort = cmp.Or(o.Effort, Normal)
	if def := DefaultQuality(o.Format); def == 0 {
		o.Quality = 0
	} else if o.Quality == 0 {
		o.Quality = def
	}
	return o
}

// Upright is the size in pixels of the image as it is shown, with its orientation applied.
func (f Facts) Upright() image.Point {
	if f.Orientation >= 5 {
		return image.Pt(int(f.Height), int(f.Width))
	}
	return image.Pt(int(f.Width), int(f.Height))
}

// Plan returns the size of the derivative of an image, and of that image whole at the scale of the derivative: they
// differ where Cover cuts something off.
func (o Output) Plan(full image.Point) (whole, size image.Point) {
	o = o.orDefault()
	w, h := float64(full.X), float64(full.Y)
	if o.Fit == Inside {
		scale := min(MaxSide/w, MaxSide/h) // together, so that a long image keeps its ratio
		if o.Width > 0 {
			scale = min(scale, float64(o.Width)/w)
		}
		if o.Height > 0 {
			scale = min(scale, float64(o.Height)/h)
		}
		if !o.Enlarge {
			scale = min(scale, 1)
		}
		size = image.Pt(rounded(w*scale), rounded(h*scale))
		return size, size
	}
	bw, bh := float64(o.Width), float64(o.Height)
	if !o.Enlarge {
		shrink := min(1, w/bw, h/bh)
		bw, bh = bw*shrink, bh*shrink
	}
	size = image.Pt(rounded(bw), rounded(bh))
	if o.Fit == Exact {
		return size, size
	}
	scale := max(float64(size.X)/w, float64(size.Y)/h)
	return image.Pt(max(size.X, rounded(w*scale)), max(size.Y, rounded(h*scale))), size
}

// rounded is a side in whole pixels, of which there is at least one and not more than formats have room for.
func rounded(v float64) int { return min(max(int(math.Round(v)), 1), MaxSide) }
