package pixels

import (
	"errors"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/bep/imagemeta"
)

const (
	maxCameraLen  = 128
	maxTagLen     = 256 // bytes of a tag's value; the ones of interest are short
	maxTags       = 1000
	maxExifReads  = 1024 // reads of at most 4 KiB; imagemeta does one for each tag that it passes over
	exifTime      = "2006:01:02 15:04:05"
	exifNamespace = "IFD0"
)

var errTooMuchExif = errors.New("the EXIF takes too much work")

// exif takes orientation, camera and time from a block of EXIF, which is a TIFF without pixels, or from a TIFF. What is
// broken or missing is left as it was.
func (p *probe) exif(r io.ReadSeeker) {
	tags := exifTags(r)
	if o, ok := tags["Orientation"].(uint16); ok && o >= 1 && o <= 8 {
		p.facts.Orientation = int64(o)
	}
	text := func(name string) string {
		s, _ := tags[name].(string)
		return s
	}
	if c := cameraName(text("Make"), text("Model")); c != "" {
		p.facts.Camera = c
	}
	if a := cut(cleanText(text("Artist")), maxTagLen); a != "" {
		p.facts.Artist = a
	}
	if c := cut(cleanText(text("Copyright")), maxTagLen); c != "" {
		p.facts.Copyright = c
	}
	if t := takenAt(text("DateTimeOriginal"), text("OffsetTimeOriginal")); t != "" {
		p.facts.TakenAt = t
	}
}

// exifTags returns the tags of interest, by name. It returns what was read before a fault, and so never an error.
func exifTags(r io.ReadSeeker) (tags map[string]any) {
	tags = make(map[string]any)
	// The library recovers from its own panics; this is for those it does not foresee.
	defer func() { _ = recover() }()
	wanted := map[string]string{
		"Make": exifNamespace, "Model": exifNamespace, "Orientation": exifNamespace,
		"Artist": exifNamespace, "Copyright": exifNamespace,
		"DateTimeOriginal": exifNamespace + "/ExifIFDP", "OffsetTimeOriginal": exifNamespace + "/ExifIFDP",
	}
	_, _ = imagemeta.Decode(imagemeta.Options{
		R:               &frugal{ReadSeeker: r, reads: maxExifReads},
		ImageFormat:     imagemeta.TIFF,
		Sources:         imagemeta.EXIF,
		ShouldHandleTag: func(t imagemeta.TagInfo) bool { return wanted[t.Tag] == t.Namespace },
		HandleTag: func(t imagemeta.TagInfo) error {
			tags[t.Tag] = t.Value
			return nil
		},
		LimitNumTags: maxTags,
		LimitTagSize: maxTagLen,
	})
	return tags
}

// frugal ends after a number of reads, so that directories that overlap cannot keep the decoder busy.
type frugal struct {
	io.ReadSeeker
	reads int
}

func (f *frugal) Read(b []byte) (int, error) {
	if f.reads--; f.reads < 0 {
		return 0, errTooMuchExif
	}
	return f.ReadSeeker.Read(b)
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
