package vips

import (
	"encoding/binary"
	"math"
	"slices"
	"unsafe"
)

// Colours of sRGB's primaries in an ICC profile (adapted to D50), and how far a profile's rounding may be from them.
var srgbPrimaries = map[string][3]float64{
	"rXYZ": {0.4361, 0.2225, 0.0139}, "gXYZ": {0.3851, 0.7169, 0.0971}, "bXYZ": {0.1431, 0.0606, 0.7141},
}

const profileTolerance = 0.002

// isSRGB tells whether the picture's profile is one of the many of sRGB: most photographs have one, and a conversion
// from sRGB to sRGB takes longer than the encoding.
func (s *scope) isSRGB(im ref) bool {
	var data unsafe.Pointer
	var n uintptr
	if s.imageBlob(uintptr(im), profileField, &data, &n) != 0 {
		return false
	}
	return isSRGBProfile(unsafe.Slice((*byte)(data), n))
}

func isSRGBProfile(profile []byte) bool {
	if len(profile) < 132 || string(profile[16:20]) != "RGB " || string(profile[20:24]) != "XYZ " {
		return false
	}
	for _, tag := range []string{"A2B0", "A2B1"} {
		if profileTag(profile, tag) != nil { // a table, which goes before the primaries
			return false
		}
	}
	for tag, want := range srgbPrimaries {
		b := profileTag(profile, tag)
		if len(b) < 20 {
			return false
		}
		for i, w := range want {
			if math.Abs(fixed(b[8+4*i:])-w) > profileTolerance {
				return false
			}
		}
	}
	for _, tag := range []string{"rTRC", "gTRC", "bTRC"} {
		if !isSRGBCurve(profileTag(profile, tag)) {
			return false
		}
	}
	return true
}

// isSRGBCurve tells whether a tone curve is sRGB's, by a few of its points.
func isSRGBCurve(b []byte) bool {
	if len(b) < 12 {
		return false
	}
	switch string(b[:4]) {
	case "para": // of type 3 or 4: (a·x+b)^g from d on, c·x below
		if kind := binary.BigEndian.Uint16(b[8:]); kind != 3 && kind != 4 || len(b) < 32 {
			return false
		}
		got := [5]float64{fixed(b[12:]), fixed(b[16:]), fixed(b[20:]), fixed(b[24:]), fixed(b[28:])}
		for i, w := range [5]float64{2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045} {
			if math.Abs(got[i]-w) > profileTolerance {
				return false
			}
		}
		return true
	case "curv":
		n := int64(binary.BigEndian.Uint32(b[8:]))
		if n < 256 || int64(len(b)) < 12+2*n {
			return false
		}
		for _, x := range []float64{0.1, 0.25, 0.5, 0.75, 1} {
			at := int64(math.Round(x * float64(n-1)))
			got := float64(binary.BigEndian.Uint16(b[12+2*at:])) / 65535
			if math.Abs(got-math.Pow((float64(at)/float64(n-1)+0.055)/1.055, 2.4)) > profileTolerance {
				return false
			}
		}
		return true
	}
	return false
}

// profileTag returns the content of a tag; nil if it is not there or broken.
func profileTag(profile []byte, tag string) []byte {
	be := binary.BigEndian
	count := int64(be.Uint32(profile[128:]))
	table := profile[132:]
	for entry := range slices.Chunk(table[:min(int64(len(table)), 12*count)], 12) {
		if len(entry) == 12 && string(entry[:4]) == tag {
			at, n := int64(be.Uint32(entry[4:])), int64(be.Uint32(entry[8:]))
			if at+n > int64(len(profile)) {
				return nil
			}
			return profile[at : at+n]
		}
	}
	return nil
}

// fixed reads a number of ICC's type s15Fixed16.
func fixed(b []byte) float64 { return float64(int32(binary.BigEndian.Uint32(b))) / 65536 }
