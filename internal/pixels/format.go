package pixels

import (
	"encoding/binary"
	"mime"
	"strings"
)

// Format is the name of an image format, such as "jpeg".
type Format string

// The formats that Sniff knows.
const (
	JPEG Format = "jpeg"
	PNG  Format = "png"
	GIF  Format = "gif"
	WebP Format = "webp"
	BMP  Format = "bmp"
	TIFF Format = "tiff"
	AVIF Format = "avif"
	HEIC Format = "heic"
	JXL  Format = "jxl"
)

// SniffLen is how many of the first bytes Sniff considers. What follows never alters its answer.
const SniffLen = 64

// mediaTypes has the registered media type of each format first, then the other names in use for it.
var mediaTypes = map[Format][]string{
	JPEG: {"image/jpeg", "image/jpg", "image/pjpeg", "image/jfif", "image/x-jpeg"},
	PNG:  {"image/png", "image/x-png", "image/apng", "image/vnd.mozilla.apng"},
	GIF:  {"image/gif", "image/x-gif"},
	WebP: {"image/webp", "image/x-webp"},
	BMP:  {"image/bmp", "image/x-bmp", "image/x-ms-bmp", "image/x-windows-bmp"},
	TIFF: {"image/tiff", "image/tif", "image/x-tiff", "image/x-tif"},
	AVIF: {"image/avif", "image/avif-sequence"},
	HEIC: {"image/heic", "image/heif", "image/heic-sequence", "image/heif-sequence"},
	JXL:  {"image/jxl", "image/x-jxl"},
}

var formatOf = func() map[string]Format {
	m := make(map[string]Format)
	for f, names := range mediaTypes {
		for _, n := range names {
			m[n] = f
		}
	}
	return m
}()

// MediaType returns the format's media type, such as "image/jpeg"; application/octet-stream for an unknown format.
func (f Format) MediaType() string {
	if names, ok := mediaTypes[f]; ok {
		return names[0]
	}
	return "application/octet-stream"
}

// FormatOfMediaType returns the format that a Content-Type names, by its registered name or a usual alias such as
// image/jpg. Case and parameters do not matter.
func FormatOfMediaType(s string) (Format, bool) {
	t, _, err := mime.ParseMediaType(s)
	if err != nil {
		// A broken parameter leaves the type itself readable.
		t, _, _ = strings.Cut(s, ";")
		t = strings.ToLower(strings.TrimSpace(t))
	}
	f, ok := formatOf[t]
	return f, ok
}

// Sniff tells the format of an image by its first bytes. SniffLen of them suffice; fewer do for most formats.
func Sniff(prefix []byte) (Format, bool) {
	b := prefix[:min(len(prefix), SniffLen)]
	has := func(at int, s string) bool { return len(b) >= at+len(s) && string(b[at:at+len(s)]) == s }
	switch {
	case has(0, "\xff\xd8\xff"):
		return JPEG, true
	case has(0, pngSignature):
		return PNG, true
	case has(0, "GIF87a"), has(0, "GIF89a"):
		return GIF, true
	case has(0, "RIFF") && has(8, "WEBP"):
		return WebP, true
	case has(0, "BM") && len(b) >= 18 && bmpHeaderLen(binary.LittleEndian.Uint32(b[14:])):
		return BMP, true
	case has(0, "II*\x00"), has(0, "MM\x00*"), has(0, "II+\x00"), has(0, "MM\x00+"):
		return TIFF, true
	case has(0, "\xff\x0a"), has(0, "\x00\x00\x00\x0cJXL \r\n\x87\n"):
		return JXL, true
	case has(4, "ftyp"):
		return sniffBrands(b)
	}
	return "", false
}

// sniffBrands tells AVIF and HEIC by the brands of a file type box (ISO/IEC 14496-12, 4.3). Both may carry the generic
// brands mif1 and msf1, so these decide only when no other does.
func sniffBrands(b []byte) (Format, bool) {
	end := min(int64(binary.BigEndian.Uint32(b)), int64(len(b)))
	var generic bool
	for at := int64(8); at+4 <= end; at += 4 {
		if at == 12 { // the minor version, which is no brand
			continue
		}
		switch string(b[at : at+4]) {
		case "avif", "avis":
			return AVIF, true
		case "heic", "heix", "heim", "heis", "hevc", "hevx", "hevm", "hevs":
			return HEIC, true
		case "mif1", "msf1":
			generic = true
		}
	}
	if generic {
		return HEIC, true
	}
	return "", false
}

// Extension is the usual ending of a file's name in the format, without a dot.
func (f Format) Extension() string {
	switch f {
	case JPEG:
		return "jpg"
	case TIFF:
		return "tif"
	default:
		return string(f)
	}
}
