package goengine

import (
	"bytes"
	"encoding/binary"
	"math"
)

// maxProfile bounds the bytes of a profile that is looked at. Profiles of displays have a few kilobytes.
const maxProfile = 4 << 20

// iccChunks gathers the profile that a JPEG carries in pieces (ICC.1:2022, B.4).
type iccChunks struct {
	parts [256][]byte
	count int
	size  int
}

func (c *iccChunks) add(segment []byte) {
	rest, ok := bytes.CutPrefix(segment, []byte("ICC_PROFILE\x00"))
	if !ok || len(rest) < 2 || c.size+len(rest) > maxProfile {
		return
	}
	if at := rest[0]; at > 0 && c.parts[at] == nil {
		c.parts[at] = rest[2:]
		c.count, c.size = int(rest[1]), c.size+len(rest)
	}
}

// bytes returns the profile; nil if there is none or a piece is missing.
func (c *iccChunks) bytes() []byte {
	var b []byte
	for i := 1; i <= c.count; i++ {
		if c.parts[i] == nil {
			return nil
		}
		b = append(b, c.parts[i]...)
	}
	return b
}

// profile converts RGB or grey samples to sRGB: a curve for each channel to linear light, a matrix to the linear light
// of sRGB, and the curve of sRGB.
type profile struct {
	grey   *[256]byte // of a grey profile: the whole conversion
	linear [3][256]int32
	matrix [3][3]int32 // with matrixBits fractional bits
}

const (
	linearBits = 14 // of a linear value of one
	matrixBits = 14
)

// Of the matrix from the profile connection space, XYZ adapted to D50, to linear sRGB.
var srgbFromXYZ = [3][3]float64{
	{3.1341359569, -1.6173863321, -0.4906619461},
	{-0.9787955320, 1.9162543773, 0.0334427312},
	{0.0719553731, -0.2289768264, 1.4053860351},
}

func srgbEncode(v float64) float64 {
	if v <= 0.0031308 {
		return 12.92 * v
	}
	return 1.055*math.Pow(v, 1/2.4) - 0.055
}

// encodeSRGB is the curve of sRGB, from a linear value of linearBits.
var encodeSRGB = func() *[1<<linearBits + 1]byte {
	var t [1<<linearBits + 1]byte
	for i := range t {
		t[i] = byte(math.Round(255 * srgbEncode(float64(i)/(1<<linearBits))))
	}
	return &t
}()

// parseProfile returns the conversion that an ICC profile tells. It is nil where there is nothing to convert or nothing
// known: no profile, one of sRGB, a broken one, one for CMYK, or one that has tables only. A broken profile is no error:
// other programs show the image without it.
func parseProfile(b []byte) *profile {
	if len(b) < 132 || len(b) > maxProfile || string(b[36:40]) != "acsp" || string(b[20:24]) != "XYZ " {
		return nil
	}
	tags := iccTags(b)
	switch string(b[16:20]) {
	case "GRAY":
		curve, ok := parseCurve(tags["kTRC"])
		if !ok {
			return nil
		}
		return greyProfile(curve)
	case "RGB ":
		return rgbProfile(tags)
	}
	return nil
}

// iccTags returns the data of the tags of interest.
func iccTags(b []byte) map[string][]byte {
	tags := make(map[string][]byte)
	n := min(int(binary.BigEndian.Uint32(b[128:])&0xffff), (len(b)-132)/12)
	for i := range n {
		e := b[132+12*i:]
		from, size := uint64(binary.BigEndian.Uint32(e[4:])), uint64(binary.BigEndian.Uint32(e[8:]))
		switch name := string(e[:4]); name {
		case "rXYZ", "gXYZ", "bXYZ", "rTRC", "gTRC", "bTRC", "kTRC":
			if from+size <= uint64(len(b)) {
				tags[name] = b[from : from+size]
			}
		}
	}
	return tags
}

func fixed16(b []byte) float64 { return float64(int32(binary.BigEndian.Uint32(b))) / 65536 }

// parseCurve returns the linear light, 0 to 1, of each of the 256 values (ICC.1:2022, 10.6 and 10.18).
func parseCurve(b []byte) (*[256]float64, bool) {
	if len(b) < 12 {
		return nil, false
	}
	var at func(x float64) float64
	switch string(b[:4]) {
	case "curv":
		at = sampledCurve(b)
	case "para":
		at = parametricCurve(b)
	}
	if at == nil {
		return nil, false
	}
	var c [256]float64
	for i := range c {
		v := at(float64(i) / 255)
		if math.IsNaN(v) {
			return nil, false
		}
		c[i] = min(max(v, 0), 1)
	}
	return &c, true
}

func sampledCurve(b []byte) func(x float64) float64 {
	n := int64(binary.BigEndian.Uint32(b[8:]))
	switch {
	case n > int64(len(b)-12)/2:
		return nil
	case n == 0:
		return func(x float64) float64 { return x }
	case n == 1:
		gamma := float64(binary.BigEndian.Uint16(b[12:])) / 256
		return func(x float64) float64 { return math.Pow(x, gamma) }
	}
	return func(x float64) float64 {
		place := x * float64(n-1)
		i := min(int(place), int(n)-2)
		low := float64(binary.BigEndian.Uint16(b[12+2*i:])) / 65535
		high := float64(binary.BigEndian.Uint16(b[14+2*i:])) / 65535
		return low + (high-low)*(place-float64(i))
	}
}

func parametricCurve(b []byte) func(x float64) float64 {
	kind := int(binary.BigEndian.Uint16(b[8:]))
	counts := []int{1, 3, 4, 5, 7}
	if kind >= len(counts) || len(b) < 12+4*counts[kind] {
		return nil
	}
	var p [7]float64 // g, a, b, c, d, e, f
	for i := range counts[kind] {
		p[i] = fixed16(b[12+4*i:])
	}
	g, a, bb, c, d, e, f := p[0], p[1], p[2], p[3], p[4], p[5], p[6]
	switch kind {
	case 0:
		return func(x float64) float64 { return math.Pow(x, g) }
	case 1, 2: // c is what is added, and what there is below the zero of the line
		return func(x float64) float64 {
			if a*x+bb >= 0 {
				return math.Pow(a*x+bb, g) + c
			}
			return c
		}
	}
	return func(x float64) float64 { // without e and f, these are zero
		if x >= d {
			return math.Pow(a*x+bb, g) + e
		}
		return c*x + f
	}
}

func greyProfile(curve *[256]float64) *profile {
	p := profile{grey: new([256]byte)}
	same := true
	for i, v := range curve {
		p.grey[i] = byte(math.Round(255 * srgbEncode(v)))
		same = same && near(int(p.grey[i]), i, 2)
	}
	if same {
		return nil
	}
	return &p
}

func near(a, b, by int) bool { return a-b <= by && b-a <= by }

func rgbProfile(tags map[string][]byte) *profile {
	var p profile
	var columns [3][3]float64
	for i, name := range []string{"r", "g", "b"} {
		xyz := tags[name+"XYZ"]
		curve, ok := parseCurve(tags[name+"TRC"])
		if !ok || len(xyz) < 20 || string(xyz[:4]) != "XYZ " {
			return nil
		}
		for j := range 3 {
			columns[i][j] = fixed16(xyz[8+4*j:])
		}
		for v, l := range curve {
			p.linear[i][v] = int32(math.Round(l * (1 << linearBits)))
		}
	}
	for row := range 3 {
		for col := range 3 {
			v := 0.0
			for j := range 3 {
				v += srgbFromXYZ[row][j] * columns[col][j]
			}
			// No real primaries come near the bound.
			if math.Abs(v) > 4 {
				return nil
			}
			p.matrix[row][col] = int32(math.Round(v * (1 << matrixBits)))
		}
	}
	if p.isSRGB() {
		return nil
	}
	return &p
}

// isSRGB tells whether the conversion alters no colour by more than rounding does.
func (p *profile) isSRGB() bool {
	for _, c := range [][3]byte{
		{255, 0, 0}, {0, 255, 0}, {0, 0, 255}, {255, 255, 255}, {128, 128, 128}, {30, 30, 30}, {200, 100, 50}, {20, 90, 160},
	} {
		r, g, b := p.convert(c[0], c[1], c[2])
		if !near(int(r), int(c[0]), 2) || !near(int(g), int(c[1]), 2) || !near(int(b), int(c[2]), 2) {
			return false
		}
	}
	return true
}

func (p *profile) convert(r, g, b byte) (byte, byte, byte) {
	lr, lg, lb := p.linear[0][r], p.linear[1][g], p.linear[2][b]
	var out [3]byte
	for i := range out {
		m := &p.matrix[i]
		v := (int64(m[0])*int64(lr) + int64(m[1])*int64(lg) + int64(m[2])*int64(lb) + 1<<(matrixBits-1)) >> matrixBits
		out[i] = encodeSRGB[min(max(v, 0), 1<<linearBits)]
	}
	return out[0], out[1], out[2]
}
