package pixels

import (
	"image"
	"math"
)

// cropLen is the longer side of the small picture in which a crop is looked for. Its pixels are finer than any crop
// needs to be placed.
const cropLen = 256

// cover returns the largest part of a picture that has the ratio of size, at the place that the gravity says.
func cover(pic Picture, size image.Point, g Gravity) (image.Rectangle, error) {
	full := pic.Size()
	w, h := full.X, full.Y
	if full.X*size.Y > full.Y*size.X {
		w = min(full.X, max(1, int(math.Round(float64(full.Y)*float64(size.X)/float64(size.Y)))))
	} else {
		h = min(full.Y, max(1, int(math.Round(float64(full.X)*float64(size.Y)/float64(size.X)))))
	}
	free := full.Sub(image.Pt(w, h)) // one of its sides is zero: what is cut off lies in one direction
	at := free.Div(2)
	if g != Centre && free != (image.Point{}) {
		share, err := place(pic, image.Pt(w, h), g)
		if err != nil {
			return image.Rectangle{}, err
		}
		at = image.Pt(int(math.Round(share*float64(free.X))), int(math.Round(share*float64(free.Y))))
	}
	return image.Rectangle{Min: at, Max: at.Add(image.Pt(w, h))}, nil
}

// place says where between the first (0) and the last (1) possible place a crop of the given size is best.
func place(pic Picture, size image.Point, g Gravity) (float64, error) {
	full := pic.Size()
	scale := min(1, cropLen/float64(max(full.X, full.Y)))
	small, err := pic.Resize(image.Rectangle{Max: full}, image.Pt(rounded(float64(full.X)*scale), rounded(float64(full.Y)*scale)))
	if err != nil {
		return 0, err
	}
	defer small.Close()
	img, err := small.NRGBA()
	if err != nil {
		return 0, err
	}
	along := line{img, size.X == full.X}
	length := float64(size.X) / float64(full.X)
	if along.vertical {
		length = float64(size.Y) / float64(full.Y)
	}
	n := along.len()
	window := min(max(1, int(math.Round(length*float64(n)))), n)
	if window == n {
		return 0.5, nil
	}
	score := along.attention
	if g == Entropy {
		score = along.entropy
	}
	return best(score(window), n-window), nil
}

// best returns the place of the highest score; of equal ones that nearest to the middle.
func best(scores []float64, last int) float64 {
	const equal = 1e-9
	at := last / 2
	for d := range last + 1 {
		for _, i := range []int{last/2 - d, last/2 + d} {
			if i >= 0 && i <= last && scores[i] > scores[at]*(1+equal)+equal {
				at = i
			}
		}
	}
	return float64(at) / float64(last)
}

// line sees an image as a row of slices: columns, or rows when a crop moves vertically.
type line struct {
	img      *image.NRGBA
	vertical bool
}

func (l line) len() int {
	if l.vertical {
		return l.img.Rect.Dy()
	}
	return l.img.Rect.Dx()
}

// each hands the places of the pixels of a slice to f.
func (l line) each(slice int, f func(x, y int)) {
	if l.vertical {
		for x := range l.img.Rect.Dx() {
			f(x, slice)
		}
		return
	}
	for y := range l.img.Rect.Dy() {
		f(slice, y)
	}
}

func (l line) at(x, y int) (r, g, b, a float64) {
	p := l.img.Pix[l.img.PixOffset(x, y):]
	return float64(p[0]), float64(p[1]), float64(p[2]), float64(p[3]) / 255
}

// luma is that of Rec. 709, of 0 to 255, over black.
func (l line) luma(x, y int) float64 {
	r, g, b, a := l.at(x, y)
	return a * (0.2126*r + 0.7152*g + 0.0722*b)
}

// entropy returns the Shannon entropy of the grey levels in each window of so many slices.
func (l line) entropy(window int) []float64 {
	const levels = 64
	var histogram [levels]int
	count := func(slice, by int) {
		l.each(slice, func(x, y int) { histogram[min(int(l.luma(x, y))*levels/256, levels-1)] += by })
	}
	for i := range window {
		count(i, 1)
	}
	scores := make([]float64, l.len()-window+1)
	for i := range scores {
		if i > 0 {
			count(i-1, -1)
			count(i+window-1, 1)
		}
		total := 0
		for _, n := range histogram {
			total += n
		}
		for _, n := range histogram {
			if n > 0 {
				p := float64(n) / float64(total)
				scores[i] -= p * math.Log2(p)
			}
		}
	}
	return scores
}

// attention returns how much there is to see in each window of so many slices: edges (a Laplacian of the luma), strong
// colours that are neither dark nor blown out, and the hue of skin, by the weights that smartcrop.js has shown to do.
func (l line) attention(window int) []float64 {
	sums := make([]float64, l.len()+1)
	for i := range l.len() {
		sums[i+1] = sums[i]
		l.each(i, func(x, y int) { sums[i+1] += l.interest(x, y) })
	}
	scores := make([]float64, l.len()-window+1)
	for i := range scores {
		scores[i] = sums[i+window] - sums[i]
	}
	return scores
}

func (l line) interest(x, y int) float64 {
	const edgeWeight, skinWeight, colourWeight = 0.2, 1.8, 0.1
	b := l.img.Rect
	luma := l.luma(x, y)
	near := func(dx, dy int) float64 {
		return l.luma(min(max(x+dx, b.Min.X), b.Max.X-1), min(max(y+dy, b.Min.Y), b.Max.Y-1))
	}
	score := edgeWeight * math.Abs(4*luma-near(-1, 0)-near(1, 0)-near(0, -1)-near(0, 1)) / 255
	if luma < 13 || luma > 242 {
		return score
	}
	r, g, bl, a := l.at(x, y)
	if lo, hi := min(r, g, bl), max(r, g, bl); hi > 0 {
		score += colourWeight * a * max(0, (hi-lo)/hi-0.4)
	}
	if luma > 51 {
		score += skinWeight * a * max(0, skin(r, g, bl)-0.8)
	}
	return score
}

// skin says how near a colour's direction is to that of human skin: 1 is the same. Complexions differ in brightness much
// more than in direction.
func skin(r, g, b float64) float64 {
	const sr, sg, sb = 0.78, 0.57, 0.44
	length := math.Sqrt(r*r + g*g + b*b)
	if length == 0 {
		return 0
	}
	return 1 - math.Sqrt(sq(r/length-sr/skinLen)+sq(g/length-sg/skinLen)+sq(b/length-sb/skinLen))
}

var skinLen = math.Sqrt(sq(0.78) + sq(0.57) + sq(0.44))

func sq(v float64) float64 { return v * v }
