package pixelstest

import (
	"encoding/binary"
	"image/color"
	"math"
)

// The primaries of Display P3 and sRGB, adapted to D50, as the columns of a matrix to XYZ.
var (
	p3   = [3][3]float64{{0.51512, 0.29198, 0.15710}, {0.24120, 0.69225, 0.06657}, {-0.00105, 0.04189, 0.78407}}
	srgb = [3][3]float64{{0.43607, 0.38515, 0.14307}, {0.22249, 0.71687, 0.06061}, {0.01392, 0.09708, 0.71410}}
)

// p3Profile returns an ICC profile of Display P3.
func p3Profile() []byte {
	curve := []byte("para\x00\x00\x00\x00\x00\x03\x00\x00")
	for _, v := range []float64{2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045} {
		curve = append(curve, s15(v)...)
	}
	return iccProfile("RGB ", []iccTag{
		{"rXYZ", xyz(p3[0][0], p3[1][0], p3[2][0])}, {"gXYZ", xyz(p3[0][1], p3[1][1], p3[2][1])},
		{"bXYZ", xyz(p3[0][2], p3[1][2], p3[2][2])}, {"rTRC", curve}, {"gTRC", curve}, {"bTRC", curve},
	})
}

// linearGreyProfile returns an ICC profile of grey without a gamma.
func linearGreyProfile() []byte {
	return iccProfile("GRAY", []iccTag{{"kTRC", []byte("curv\x00\x00\x00\x00\x00\x00\x00\x00")}})
}

type iccTag struct {
	name string
	data []byte
}

func s15(v float64) []byte {
	return binary.BigEndian.AppendUint32(nil, uint32(int32(math.Round(v*65536))))
}

func xyz(x, y, z float64) []byte {
	b := append([]byte("XYZ \x00\x00\x00\x00"), s15(x)...)
	return append(append(b, s15(y)...), s15(z)...)
}

// iccProfile returns a profile of a display that has some tags beside those that all have.
func iccProfile(space string, tags []iccTag) []byte {
	be := binary.BigEndian
	text := func(s string) []byte {
		b := []byte("mluc\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x0cenUS")
		b = be.AppendUint32(b, uint32(2*len(s)))
		b = be.AppendUint32(b, 28)
		for _, c := range s {
			b = be.AppendUint16(b, uint16(c))
		}
		return b
	}
	tags = append([]iccTag{{"desc", text("Wide")}, {"cprt", text("None")}, {"wtpt", xyz(0.9642, 1, 0.8249)}}, tags...)
	header := make([]byte, 128)
	copy(header[8:], []byte{4, 0x30, 0, 0})
	copy(header[12:], "mntr"+space+"XYZ ")
	copy(header[36:], "acsp")
	copy(header[68:], xyz(0.9642, 1, 0.8249)[8:])
	table := be.AppendUint32(nil, uint32(len(tags)))
	var content []byte
	at := 128 + 4 + 12*len(tags)
	for _, t := range tags {
		table = append(table, t.name...)
		table = be.AppendUint32(table, uint32(at+len(content)))
		table = be.AppendUint32(table, uint32(len(t.data)))
		content = append(content, t.data...)
		for len(content)%4 != 0 {
			content = append(content, 0)
		}
	}
	profile := append(append(header, table...), content...)
	be.PutUint32(profile, uint32(len(profile)))
	return profile
}

// p3ToSRGB converts a colour of Display P3.
func p3ToSRGB(c color.NRGBA) color.NRGBA {
	var linear, pcs, rgb [3]float64
	for i, v := range [3]uint8{c.R, c.G, c.B} {
		x := float64(v) / 255
		if linear[i] = x / 12.92; x > 0.04045 {
			linear[i] = math.Pow((x+0.055)/1.055, 2.4)
		}
	}
	for i, row := range p3 {
		pcs[i] = row[0]*linear[0] + row[1]*linear[1] + row[2]*linear[2]
	}
	for i, row := range inverse(srgb) {
		x := row[0]*pcs[0] + row[1]*pcs[1] + row[2]*pcs[2]
		if rgb[i] = 12.92 * x; x > 0.0031308 {
			rgb[i] = 1.055*math.Pow(x, 1/2.4) - 0.055
		}
	}
	return color.NRGBA{clamp(255 * rgb[0]), clamp(255 * rgb[1]), clamp(255 * rgb[2]), c.A}
}

func inverse(m [3][3]float64) (out [3][3]float64) {
	minor := func(r, c int) float64 {
		a, b, d, e := (r+1)%3, (r+2)%3, (c+1)%3, (c+2)%3
		return m[a][d]*m[b][e] - m[a][e]*m[b][d]
	}
	det := m[0][0]*minor(0, 0) + m[0][1]*minor(0, 1) + m[0][2]*minor(0, 2)
	for r := range 3 {
		for c := range 3 {
			out[c][r] = minor(r, c) / det
		}
	}
	return out
}
