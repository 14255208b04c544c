package pixels

import (
	"bytes"
	"cmp"
	"fmt"
	"image"
	"slices"
)

// Derivative is a file that was made.
type Derivative struct {
	Format        Format
	Width, Height int
	Frames        int
	Quality       int // with which it was encoded; 0 for formats that have none
	Data          []byte
}

// Derive makes all outputs of one image, which it decodes once. The derivatives come in the order of the outputs, and
// are the same bytes for the same engine: what is smaller is made of what is larger where that costs no quality.
//
// An *Error is about the image, or about an output that cannot be made of it, and will be the same next time. Any other
// error is that of an output that is not valid.
func Derive(e Engine, data []byte, lim Limits, outputs []Output) ([]Derivative, error) {
	lim = lim.orDefault()
	d := derivation{outputs: make([]Output, len(outputs))}
	for i, o := range outputs {
		if err := o.Validate(); err != nil {
			return nil, fmt.Errorf("output %d: %w", i+1, err)
		}
		if !slices.Contains(e.Info().Encodes, o.Format) {
			return nil, fail(CodeUnsupportedFormat, "the %s engine does not encode %s", e.Info().Name, o.Format)
		}
		d.outputs[i] = o.orDefault()
	}
	var err error
	if d.facts, err = probeFor(e, data, lim); err != nil {
		return nil, err
	}
	if err := d.decode(e, data, lim); err != nil {
		return nil, err
	}
	defer func() {
		for _, p := range d.levels {
			p.Close()
		}
	}()
	return d.run()
}

// Decode decodes an image at full size, upright and in sRGB: its first frame.
func Decode(e Engine, data []byte, lim Limits) (*image.NRGBA, Facts, error) {
	pic, facts, err := Open(e, data, lim)
	if err != nil {
		return nil, facts, err
	}
	defer pic.Close()
	pixels, err := pic.NRGBA()
	return pixels, facts, err
}

// Open returns the picture in an image: its first frame, at full size.
func Open(e Engine, data []byte, lim Limits) (Picture, Facts, error) {
	facts, err := probeFor(e, data, lim.orDefault())
	if err != nil {
		return nil, facts, err
	}
	pic, err := e.Decode(data, facts, DecodeOptions{})
	return pic, facts, err
}

// probeFor returns the facts of an image that an engine decodes.
func probeFor(e Engine, data []byte, lim Limits) (Facts, error) {
	facts, err := Probe(bytes.NewReader(data), lim)
	if err == nil && !slices.Contains(e.Info().Decodes, facts.Format) {
		err = fail(CodeUnsupportedFormat, "the %s engine does not decode %s", e.Info().Name, facts.Format)
	}
	return facts, err
}

// derivation is one run of Derive.
type derivation struct {
	outputs []Output // with their defaults
	facts   Facts
	// levels are the pictures that show all of the image, the largest, which was decoded, first.
	levels []Picture
}

// decode decodes the image as large as the outputs need it.
func (d *derivation) decode(e Engine, data []byte, lim Limits) error {
	var opts DecodeOptions
	full := d.facts.Upright()
	for _, o := range d.outputs {
		whole, _ := o.Plan(full)
		opts.AtLeast.X = max(opts.AtLeast.X, min(whole.X, full.X))
		opts.AtLeast.Y = max(opts.AtLeast.Y, min(whole.Y, full.Y))
		opts.FullColour = opts.FullColour || o.Format == PNG || o.Format == GIF
		opts.AllFrames = opts.AllFrames || o.Animate && d.facts.Frames > 1
	}
	if volume := d.facts.Frames * d.facts.Width * d.facts.Height; opts.AllFrames && volume > lim.MaxVolume {
		return fail(CodeTooManyPixels, "%s frames of %s×%s pixels are more than the limit of %s pixels", grouped(d.facts.Frames),
			grouped(d.facts.Width), grouped(d.facts.Height), grouped(lim.MaxVolume))
	}
	pic, err := e.Decode(data, d.facts, opts)
	if err == nil {
		d.levels = []Picture{pic}
	}
	return err
}

// shape is what outputs have in common that differ in how they are encoded only.
type shape struct {
	whole, size image.Point
	fit         Fit
	gravity     Gravity
	sharpen     float64
}

// run makes the outputs, shape by shape, the largest first.
func (d *derivation) run() ([]Derivative, error) {
	outputs := map[shape][]int{}
	var shapes []shape
	for i, o := range d.outputs {
		whole, size := o.Plan(d.facts.Upright())
		s := shape{whole, size, o.Fit, o.Gravity, o.Sharpen}
		if whole == size && o.Fit == Cover {
			s.fit = Inside // nothing is cut off
		}
		if s.fit != Cover {
			s.gravity = Centre
		}
		if outputs[s] == nil {
			shapes = append(shapes, s)
		}
		outputs[s] = append(outputs[s], i)
	}
	slices.SortStableFunc(shapes, func(a, b shape) int { return cmp.Compare(b.whole.X*b.whole.Y, a.whole.X*a.whole.Y) })
	made := make([]Derivative, len(d.outputs))
	for n, s := range shapes {
		if err := d.make(s, outputs[s], made); err != nil {
			return nil, err
		}
		d.forget(shapes[n+1:])
	}
	return made, nil
}

// make makes the outputs of one shape.
func (d *derivation) make(s shape, outputs []int, made []Derivative) error {
	pic, err := d.picture(s)
	if err != nil {
		return err
	}
	if !slices.Contains(d.levels, pic) {
		defer pic.Close()
	}
	if s.sharpen > 0 {
		if pic, err = pic.Sharpen(s.sharpen); err != nil {
			return err
		}
		defer pic.Close()
	}
	for _, i := range outputs {
		if made[i], err = d.encode(pic, d.outputs[i]); err != nil {
			return err
		}
	}
	return nil
}

// picture returns a picture of the shape, not sharpened. It is a level if it shows all of the image.
func (d *derivation) picture(s shape) (Picture, error) {
	from := d.level(s.whole)
	if s.whole == s.size && from.Size() == s.size {
		return from, nil
	}
	crop := image.Rectangle{Max: from.Size()}
	if s.fit == Cover {
		var err error
		if crop, err = cover(from, s.size, s.gravity); err != nil {
			return nil, err
		}
	}
	pic, err := from.Resize(crop, s.size)
	if err == nil && s.fit == Inside {
		d.levels = append(d.levels, pic)
	}
	return pic, err
}

// levelFactor is by how much a level must be larger than what is made of it: what is resampled by less than that is
// blurred for the second time.
const levelFactor = 1.5

// level returns the smallest level of which a picture of the whole image in the given size can be made.
func (d *derivation) level(whole image.Point) Picture {
	best := d.levels[0]
	for _, p := range d.levels[1:] {
		s := p.Size()
		if s == whole || float64(s.X) >= levelFactor*float64(whole.X) && float64(s.Y) >= levelFactor*float64(whole.Y) {
			best = p
		}
	}
	return best
}

// forget closes the levels of which none of the shapes that are left will be made.
func (d *derivation) forget(left []shape) {
	used := map[Picture]bool{d.levels[len(d.levels)-1]: true}
	for _, s := range left {
		used[d.level(s.whole)] = true
	}
	d.levels = slices.DeleteFunc(d.levels, func(p Picture) bool {
		if !used[p] {
			p.Close()
		}
		return !used[p]
	})
}

// encode encodes a picture as an output wants it.
func (d *derivation) encode(pic Picture, o Output) (Derivative, error) {
	opts := EncodeOptions{Format: o.Format, Quality: o.Quality, Effort: o.Effort, Background: o.Background, Animate: o.Animate}
	mark := mark{}
	if o.Copyright {
		mark = d.facts.mark()
	}
	try := func(quality int) ([]byte, error) {
		opts.Quality = quality
		data, err := pic.Encode(opts)
		if err != nil {
			return nil, err
		}
		return mark.into(o.Format, data)
	}
	data, err := try(o.Quality)
	quality := o.Quality
	if err == nil && o.TargetBytes > 0 && len(data) > o.TargetBytes {
		data, quality, err = fitBytes(o, len(data), try)
	}
	if err != nil {
		return Derivative{}, err
	}
	size := pic.Size()
	frames := 1
	if o.Animate {
		frames = framesOf(data, pic.Frames())
	}
	return Derivative{Format: o.Format, Width: size.X, Height: size.Y, Frames: frames, Quality: quality, Data: data}, nil
}

// framesOf is how many frames a file has that was made of so many: some encoders make one of those that are alike.
func framesOf(file []byte, from int) int {
	if from > 1 {
		if facts, err := Probe(bytes.NewReader(file), Limits{MaxFrames: int64(from)}); err == nil {
			return int(facts.Frames)
		}
	}
	return from
}

// fitBytes finds the highest quality below that of the output of which the file is small enough, by bisection: it takes
// a file to grow with its quality, which holds but for some bytes. With its own the output has size bytes, too many.
func fitBytes(o Output, size int, try func(int) ([]byte, error)) (best []byte, quality int, err error) {
	smallest, lowest := size, o.Quality
	for low, high := min(lowestQuality, o.Quality), o.Quality-1; low <= high; {
		q := (low + high) / 2
		data, err := try(q)
		if err != nil {
			return nil, 0, err
		}
		if len(data) <= o.TargetBytes {
			best, quality, low = data, q, q+1
		} else {
			smallest, lowest, high = len(data), q, q-1
		}
	}
	if best == nil {
		return nil, 0, fail(CodeOverTarget, "the derivative has %s bytes at the lowest quality of %d, which is more than the %s wanted",
			grouped(int64(smallest)), lowest, grouped(int64(o.TargetBytes)))
	}
	return best, quality, nil
}
