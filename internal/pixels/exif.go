package pixels

import (
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	maxCameraLen = 128
	maxTagLen    = 256 // bytes of artist and copyright
	exifTime     = "2006:01:02 15:04:05"
)

// exif takes orientation, camera and time from a block of EXIF, which is a TIFF without pixels, or from a TIFF. What is
// broken or missing is left as it was.
func (p *probe) exif(src exifSource) {
	tags := readExifTags(src)
	if o := tags.numbers[exifOrientation]; o >= 1 && o <= 8 {
		p.facts.Orientation = int64(o)
	}
	if c := cameraName(tags.texts[exifMake], tags.texts[exifModel]); c != "" {
		p.facts.Camera = c
	}
	if a := cut(cleanText(tags.texts[exifArtist]), maxTagLen); a != "" {
		p.facts.Artist = a
	}
	if c := cut(cleanText(tags.texts[exifCopyright]), maxTagLen); c != "" {
		p.facts.Copyright = c
	}
	if t := takenAt(tags.texts[exifTimeOriginal], tags.texts[exifOffsetOriginal]); t != "" {
		p.facts.TakenAt = t
	}
}

// cameraName joins make and model, or leaves the make out if the model begins with it, wholly ("Canon", "Canon EOS 5D")
// or in its first word ("NIKON CORPORATION", "NIKON D80").
func cameraName(maker, model string) string {
	maker, model = cleanText(maker), cleanText(model)
	name := model
	if !repeats(maker, model) {
		name = strings.TrimSpace(maker + " " + model)
	}
	return strings.TrimSpace(cut(name, maxCameraLen))
}

func repeats(maker, model string) bool {
	brand, _, _ := strings.Cut(maker, " ")
	first, _, _ := strings.Cut(model, " ")
	return len(model) >= len(maker) && strings.EqualFold(model[:len(maker)], maker) || strings.EqualFold(brand, first)
}

// cleanText makes one line of valid, printable UTF-8 of what a camera wrote.
func cleanText(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	return strings.Join(strings.Fields(s), " ")
}

// cut shortens valid UTF-8 to at most n bytes, at the start of a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// takenAt returns the time as RFC 3339 writes it, without an offset where the camera gave no valid one; empty where the
// time itself is not valid, as with the zeros of a camera whose clock was never set.
func takenAt(at, offset string) string {
	t, err := time.Parse(exifTime, strings.TrimSpace(strings.TrimRight(at, "\x00")))
	if err != nil {
		return ""
	}
	s := t.Format("2006-01-02T15:04:05")
	offset = strings.TrimSpace(strings.TrimRight(offset, "\x00"))
	if _, err := time.Parse("-07:00", offset); err == nil {
		s += offset
	}
	return s
}
