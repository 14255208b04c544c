package ingest

import (
	"mime"
	"strings"
	"unicode"
	"unicode/utf8"
)

const maxLabel = 255 // bytes

// label is what is kept of a client's file name: the part behind the last slash or backslash, in valid UTF-8 without
// control and formatting characters (which could turn the writing around), of at most 255 bytes. It is shown, and never
// used as a path.
func label(name string) string {
	name = name[strings.LastIndexAny(name, `/\`)+1:]
	name = strings.ToValidUTF8(name, string(utf8.RuneError))
	name = strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) {
			return -1
		}
		return r
	}, name))
	if name == "." || name == ".." {
		return ""
	}
	if len(name) <= maxLabel {
		return name
	}
	end := maxLabel
	for !utf8.RuneStart(name[end]) {
		end--
	}
	return strings.TrimSpace(name[:end])
}

// dispositionOf reads a Content-Disposition: the name of the form's field and the file's, and whether it has one. One
// that cannot be read has neither.
func dispositionOf(header string) (field, file string, isFile bool) {
	_, params, err := mime.ParseMediaType(header)
	if err != nil {
		return "", "", false
	}
	file, isFile = params["filename"]
	return params["name"], label(file), isFile
}

// contentDisposition tells a browser to show the image, and under which name to save it (RFC 6266).
func contentDisposition(label string) string {
	if label != "" {
		if v := mime.FormatMediaType("inline", map[string]string{"filename": label}); v != "" {
			return v
		}
	}
	return "inline"
}
