package goengine

import (
	"bytes"
	"image"
	"image/color"
	"image/gif"

	"darkroom/internal/pixels"
)

// decodeGIF composes one frame or all on the screen.
func decodeGIF(data []byte, facts pixels.Facts, all bool) (*animation, error) {
	c := newCanvas(image.Pt(int(facts.Width), int(facts.Height)))
	if !all || facts.Frames < 2 {
		m, err := gif.Decode(bytes.NewReader(data))
		if err != nil {
			return nil, err
		}
		f, err := showGIF(c, m, keep)
		return still(f, err)
	}
	g, err := gif.DecodeAll(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	a := &animation{}
	switch { // 0 is for ever in both; the library counts what comes after the first time, and -1 is for none
	case g.LoopCount < 0:
		a.loops = 1
	case g.LoopCount > 0:
		a.loops = g.LoopCount + 1
	}
	for i, m := range g.Image {
		after := keep
		switch g.Disposal[i] {
		case gif.DisposalBackground:
			after = clearPlace
		case gif.DisposalPrevious:
			after = restore
		}
		f, err := showGIF(c, m, after)
		if err != nil {
			return nil, err
		}
		g.Image[i] = nil // the frames of a long animation need not be in memory twice
		a.frames = append(a.frames, f)
		a.delays = append(a.delays, 10*g.Delay[i])
	}
	return a, nil
}

func showGIF(c *canvas, m image.Image, after disposal) (*frame, error) {
	if !m.Bounds().In(c.image.Rect) {
		return nil, malformed("a frame of the GIF lies outside of its screen")
	}
	return c.show(toNRGBA(m), m.Bounds(), true, after), nil
}

// encodeGIF writes each frame with a palette of its own.
func encodeGIF(a animation) ([]byte, error) {
	var g gif.GIF
	switch a.loops {
	case 1:
		g.LoopCount = -1
	default:
		g.LoopCount = max(a.loops-1, 0)
	}
	for i, f := range a.frames {
		g.Image = append(g.Image, quantize(f.nrgba()))
		delay := 0
		if len(a.delays) > 0 {
			delay = (a.delays[i] + 5) / 10
		}
		g.Delay = append(g.Delay, delay)
		// With transparency a frame must not be drawn over the one before.
		g.Disposal = append(g.Disposal, byte(gif.DisposalBackground))
	}
	g.Config = image.Config{ColorModel: color.Palette{}, Width: a.frames[0].w, Height: a.frames[0].h}
	var b bytes.Buffer
	err := gif.EncodeAll(&b, &g)
	return b.Bytes(), err
}
