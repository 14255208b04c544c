package goengine

import (
	"image"
	"image/color"
	"slices"
)

// The colours are counted in cells of cellBits bits a channel.
const (
	cellBits = 5
	cells    = 1 << (3 * cellBits)
)

func cellOf(r, g, b byte) int {
	const down = 8 - cellBits
	return int(r>>down)<<(2*cellBits) | int(g>>down)<<cellBits | int(b>>down)
}

// tally is what is known of a cell: its pixels and the sums of their channels.
type tally struct {
	n   int
	sum [3]int
}

func (t tally) mean(i int) int { return (t.sum[i] + t.n/2) / t.n }

// seeThrough stands for all pixels that are less than half opaque: they get a colour of their own, that is transparent.
const seeThrough = 1 << 24

// colourOf is the colour of a pixel as a number.
func colourOf(p []byte) uint32 {
	if p[3] < 128 {
		return seeThrough
	}
	return uint32(p[0])<<16 | uint32(p[1])<<8 | uint32(p[2])
}

// exactly gives each pixel its own colour; nil if there are more than a palette has room for.
func exactly(m *image.NRGBA) *image.Paletted {
	places := map[uint32]byte{}
	var palette color.Palette
	last := uint32(1 << 25) // none
	for i := 0; i < len(m.Pix); i += 4 {
		c := colourOf(m.Pix[i : i+4 : i+4])
		if c == last {
			continue
		}
		last = c
		if _, known := places[c]; known {
			continue
		}
		if len(palette) == 256 {
			return nil
		}
		places[c] = byte(len(palette))
		if c == seeThrough {
			palette = append(palette, color.RGBA{})
		} else {
			palette = append(palette, color.RGBA{byte(c >> 16), byte(c >> 8), byte(c), 255})
		}
	}
	q := image.NewPaletted(m.Rect, palette)
	for i := range q.Pix {
		q.Pix[i] = places[colourOf(m.Pix[4*i:4*i+4:4*i+4])]
	}
	return q
}

// quantize keeps the colours if they are few. Else it chooses up to 256 by median cut and dithers after Floyd and
// Steinberg.
func quantize(m *image.NRGBA) *image.Paletted {
	if q := exactly(m); q != nil {
		return q
	}
	w, h := m.Rect.Dx(), m.Rect.Dy()
	var counts [cells]tally
	transparent := false
	for i := 0; i < len(m.Pix); i += 4 {
		p := m.Pix[i : i+4 : i+4]
		if p[3] < 128 {
			transparent = true
			continue
		}
		c := &counts[cellOf(p[0], p[1], p[2])]
		c.n++
		for j := range 3 {
			c.sum[j] += int(p[j])
		}
	}
	var used []tally
	for _, c := range counts {
		if c.n > 0 {
			used = append(used, c)
		}
	}
	most := 256
	if transparent {
		most--
	}
	colours := medianCut(used, most)
	q := image.NewPaletted(image.Rect(0, 0, w, h), nil)
	for _, c := range colours {
		q.Palette = append(q.Palette, color.RGBA{c[0], c[1], c[2], 255})
	}
	if transparent || len(q.Palette) == 0 {
		q.Palette = append(q.Palette, color.RGBA{})
	}
	dither(q, m, colours, byte(len(q.Palette)-1))
	return q
}

// medianCut divides the cells into boxes, the one with the largest spread of colours first, at the median of its widest
// channel, and returns their means.
func medianCut(all []tally, most int) [][3]byte {
	if len(all) == 0 {
		return nil
	}
	type box struct {
		cells []tally
		wide  int // channel
		score int
	}
	measure := func(cells []tally) box {
		b := box{cells: cells}
		n := 0
		for _, c := range cells {
			n += c.n
		}
		for i := range 3 {
			low, high := 255, 0
			for _, c := range cells {
				low, high = min(low, c.mean(i)), max(high, c.mean(i))
			}
			if s := (high - low) * (high - low) * n; s > b.score {
				b.wide, b.score = i, s
			}
		}
		return b
	}
	boxes := []box{measure(all)}
	for len(boxes) < most {
		at := 0
		for i := range boxes {
			if boxes[i].score > boxes[at].score {
				at = i
			}
		}
		b := boxes[at]
		if b.score == 0 {
			break
		}
		slices.SortStableFunc(b.cells, func(x, y tally) int { return x.mean(b.wide) - y.mean(b.wide) })
		cut := medianOf(b.cells)
		boxes[at] = measure(b.cells[:cut])
		boxes = append(boxes, measure(b.cells[cut:]))
	}
	colours := make([][3]byte, len(boxes))
	for i, b := range boxes {
		var t tally
		for _, c := range b.cells {
			t.n += c.n
			for j := range 3 {
				t.sum[j] += c.sum[j]
			}
		}
		for j := range 3 {
			colours[i][j] = byte(t.mean(j))
		}
	}
	return colours
}

// medianOf returns where the cells, at least two, are cut so that both parts have about as many pixels.
func medianOf(cells []tally) int {
	total := 0
	for _, c := range cells {
		total += c.n
	}
	sum := 0
	for i, c := range cells {
		if sum += c.n; 2*sum >= total {
			return min(max(i+1, 1), len(cells)-1)
		}
	}
	return len(cells) - 1
}

// dither gives each pixel the nearest colour and spreads the error over its neighbours.
func dither(q *image.Paletted, m *image.NRGBA, colours [][3]byte, clear byte) {
	w, h := m.Rect.Dx(), m.Rect.Dy()
	var known [cells]int16 // the nearest colour of a cell, plus one
	nearest := func(r, g, b byte) int {
		cell := cellOf(r, g, b)
		if known[cell] == 0 {
			known[cell] = int16(nearestOf(colours, r, g, b)) + 1
		}
		return int(known[cell]) - 1
	}
	this, next := make([][3]int32, w+2), make([][3]int32, w+2) // errors in sixteenths
	for y := range h {
		src, dst := m.Pix[y*m.Stride:][:4*w], q.Pix[y*q.Stride:][:w]
		for x := range dst {
			p := src[4*x : 4*x+4 : 4*x+4]
			if p[3] < 128 {
				dst[x] = clear
				continue
			}
			var v [3]byte
			for j := range v {
				v[j] = clamp8(int32(p[j]) + (this[x+1][j]+8)>>4)
			}
			at := nearest(v[0], v[1], v[2])
			dst[x] = byte(at)
			for j := range v {
				e := int32(v[j]) - int32(colours[at][j])
				this[x+2][j] += 7 * e
				next[x][j] += 3 * e
				next[x+1][j] += 5 * e
				next[x+2][j] += e
			}
		}
		this, next = next, this
		for i := range next {
			next[i] = [3]int32{}
		}
	}
}

func nearestOf(colours [][3]byte, r, g, b byte) int {
	best, at := 1<<30, 0
	for i, c := range colours {
		dr, dg, db := int(c[0])-int(r), int(c[1])-int(g), int(c[2])-int(b)
		if d := 2*dr*dr + 4*dg*dg + 3*db*db; d < best {
			best, at = d, i
		}
	}
	return at
}
