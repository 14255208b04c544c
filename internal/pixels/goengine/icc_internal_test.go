package goengine

import (
	"encoding/binary"
	"math"
	"testing"
)

// makeProfile is a profile with the primaries of a colour space, adapted to D50, and a curve.
func makeProfile(space string, xyz [3][3]float64, curve []byte) []byte {
	b := make([]byte, 132)
	copy(b[16:], space)
	copy(b[20:], "XYZ ")
	copy(b[36:], "acsp")
	type tag struct {
		name string
		body []byte
	}
	tags := []tag{{"kTRC", curve}}
	if space == "RGB " {
		tags = nil
		for i, name := range []string{"r", "g", "b"} {
			v := append([]byte("XYZ "), 0, 0, 0, 0)
			for _, c := range xyz[i] {
				v = binary.BigEndian.AppendUint32(v, uint32(int32(math.Round(c*65536))))
			}
			tags = append(tags, tag{name + "XYZ", v}, tag{name + "TRC", curve})
		}
	}
	binary.BigEndian.PutUint32(b[128:], uint32(len(tags)))
	at := len(b) + 12*len(tags)
	var bodies []byte
	for _, t := range tags {
		b = append(b, t.name...)
		b = binary.BigEndian.AppendUint32(b, uint32(at+len(bodies)))
		b = binary.BigEndian.AppendUint32(b, uint32(len(t.body)))
		bodies = append(bodies, t.body...)
	}
	return append(b, bodies...)
}

func parametric(kind uint16, values ...float64) []byte {
	b := binary.BigEndian.AppendUint16(append([]byte("para"), 0, 0, 0, 0), kind)
	b = append(b, 0, 0)
	for _, v := range values {
		b = binary.BigEndian.AppendUint32(b, uint32(int32(math.Round(v*65536))))
	}
	return b
}

func gammaCurve(g float64) []byte {
	b := append([]byte("curv"), 0, 0, 0, 0, 0, 0, 0, 1)
	return binary.BigEndian.AppendUint16(b, uint16(math.Round(g*256)))
}

var (
	srgbCurve = parametric(3, 2.4, 1/1.055, 0.055/1.055, 1/12.92, 0.04045)
	displayP3 = [3][3]float64{{0.51512, 0.24120, -0.00105}, {0.29198, 0.69225, 0.04189}, {0.15710, 0.06657, 0.78407}}
	adobeRGB  = [3][3]float64{{0.60974, 0.31111, 0.01947}, {0.20528, 0.62567, 0.06087}, {0.14919, 0.06322, 0.74457}}
	srgb      = [3][3]float64{{0.43607, 0.22249, 0.01392}, {0.38515, 0.71687, 0.09708}, {0.14307, 0.06061, 0.71410}}
)

func TestProfilesGiveKnownColours(t *testing.T) {
	for _, c := range []struct {
		name     string
		profile  []byte
		in, want [3]byte
	}{
		{"P3 grey", makeProfile("RGB ", displayP3, srgbCurve), [3]byte{128, 128, 128}, [3]byte{128, 128, 128}},
		{"P3 white", makeProfile("RGB ", displayP3, srgbCurve), [3]byte{255, 255, 255}, [3]byte{255, 255, 255}},
		// color(display-p3 .5 .3 .2) is rgb(134 75 46) in CSS.
		{"P3 brown", makeProfile("RGB ", displayP3, srgbCurve), [3]byte{128, 77, 51}, [3]byte{135, 75, 46}},
		{"P3 red, beyond sRGB", makeProfile("RGB ", displayP3, srgbCurve), [3]byte{255, 0, 0}, [3]byte{255, 0, 0}},
		{"Adobe RGB grey", makeProfile("RGB ", adobeRGB, gammaCurve(2.19921875)), [3]byte{128, 128, 128}, [3]byte{128, 128, 128}},
		{"Adobe RGB", makeProfile("RGB ", adobeRGB, gammaCurve(2.19921875)), [3]byte{100, 150, 200}, [3]byte{66, 151, 203}},
	} {
		p := parseProfile(c.profile)
		if p == nil {
			t.Errorf("%s: no profile", c.name)
			continue
		}
		r, g, b := p.convert(c.in[0], c.in[1], c.in[2])
		if !near(int(r), int(c.want[0]), 1) || !near(int(g), int(c.want[1]), 1) || !near(int(b), int(c.want[2]), 1) {
			t.Errorf("%s: %v became %d %d %d, not %v", c.name, c.in, r, g, b, c.want)
		}
	}
}

func TestProfilesThatAlterNothing(t *testing.T) {
	for name, b := range map[string][]byte{
		"sRGB": makeProfile("RGB ", srgb, srgbCurve), "CMYK": makeProfile("CMYK", srgb, srgbCurve), "none": nil,
		"broken": makeProfile("RGB ", srgb, []byte("curv\x00\x00\x00\x00\xff\xff\xff\xff")), "grey of sRGB": makeProfile("GRAY", srgb, srgbCurve),
	} {
		if parseProfile(b) != nil {
			t.Errorf("%s has something to convert", name)
		}
	}
	if p := parseProfile(makeProfile("GRAY", srgb, gammaCurve(1))); p == nil || p.grey[55] != 128 {
		t.Errorf("linear grey: %v", p)
	}
}

func FuzzICC(f *testing.F) {
	f.Add(makeProfile("RGB ", displayP3, srgbCurve))
	f.Add(makeProfile("RGB ", adobeRGB, gammaCurve(2.2)))
	f.Add(makeProfile("GRAY", srgb, parametric(4, 2, 1, 0, 1, 0.1, 0, 0)))
	f.Fuzz(func(_ *testing.T, b []byte) {
		if p := parseProfile(b); p != nil && p.grey == nil {
			for i := range 256 {
				p.convert(byte(i), byte(255-i), byte(i*7))
			}
		}
	})
}
