package goengine

import (
	"image"

	"darkroom/internal/pixels"
)

// Frames returns the pixels of each frame.
func Frames(p pixels.Picture) []*image.NRGBA {
	var all []*image.NRGBA
	for _, f := range p.(*picture).frames {
		all = append(all, f.nrgba())
	}
	return all
}

// Delays returns the time that each frame is shown, in milliseconds.
func Delays(p pixels.Picture) []int { return p.(*picture).delays }
