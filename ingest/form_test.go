package ingest_test

import (
	"bytes"
	"fmt"
	"io"
	"net/url"
	"strings"
	"testing"
)

const boundary = "darkroom-test"

var formType = []string{"Content-Type", "multipart/form-data; boundary=" + boundary}

// onlyReader hides a reader's length, so that a request's body is sent in chunks.
type onlyReader struct{ io.Reader }

// part is a part of a form.
type part struct {
	field     string
	file      bool
	name      string // of the file, as it is written
	mediaType string
	data      []byte
}

// form writes a form as a browser does.
func form(parts ...part) []byte {
	var b bytes.Buffer
	for _, p := range parts {
		field := p.field
		if field == "" {
			field = "file"
		}
		fmt.Fprintf(&b, "--%s\r\nContent-Disposition: form-data; name=%q", boundary, field)
		if p.file {
			fmt.Fprintf(&b, `; filename="%s"`, p.name)
		}
		if p.mediaType != "" {
			fmt.Fprintf(&b, "\r\nContent-Type: %s", p.mediaType)
		}
		b.WriteString("\r\n\r\n")
		b.Write(p.data)
		b.WriteString("\r\n")
	}
	fmt.Fprintf(&b, "--%s--\r\n", boundary)
	return b.Bytes()
}

func TestForms(t *testing.T) {
	s := newRig(t).start()
	image := func(n int) part { return part{file: true, name: "a.jpg", mediaType: "image/jpeg", data: photo(n)} }
	text := part{field: "caption", data: []byte("the sea")}
	long := strings.Repeat("n", 300_000)
	many := make([]part, 40)
	for i := range many {
		many[i] = text
	}
	for _, c := range []struct {
		name   string
		body   []byte
		status int
		slug   string
	}{
		{"a file", form(image(1)), 201, ""},
		{"fields around the file", form(text, image(2), text), 201, ""},
		{"any field with a file name", form(part{field: "photo", file: true, name: "b.jpg", data: photo(3)}), 201, ""},
		{"field file without a file name", form(part{data: photo(4)}), 201, ""},
		{"octet-stream", form(part{file: true, name: "b", mediaType: "application/octet-stream", data: photo(5)}), 201, ""},
		{"something behind the form", append(form(image(6)), "epilogue"...), 201, ""},
		{"something before the form", append([]byte("preamble\r\n"), form(image(7))...), 201, ""},
		{"no line end at the end", bytes.TrimSuffix(form(image(8)), []byte("\r\n")), 201, ""},
		{"no file", form(text), 400, "malformed-multipart"},
		{"two files", form(image(10), image(11)), 400, "malformed-multipart"},
		{"two files without names", form(part{data: photo(10)}, part{data: photo(11)}), 400, "malformed-multipart"},
		{"a file and one without a name", form(image(10), part{data: photo(11)}), 400, "malformed-multipart"},
		{"many fields", form(append(many, image(12))...), 400, "malformed-multipart"},
		{"a long field", form(part{field: "x", data: make([]byte, 70_000)}, image(13)), 400, "malformed-multipart"},
		{"a long field behind", form(image(14), part{field: "x", data: make([]byte, 70_000)}), 400, "malformed-multipart"},
		{"a long epilogue", append(form(image(15)), make([]byte, 300_000)...), 400, "malformed-multipart"},
		{"a long header", form(part{file: true, name: long, data: photo(16)}), 400, "malformed-multipart"},
		{"an empty file", form(part{file: true, name: "a.jpg"}), 400, "empty-body"},
		{"a file that is no image", form(part{file: true, name: "a.jpg", data: []byte("text")}), 415, "not-an-image"},
		{"a wrong type", form(part{file: true, mediaType: "image/png", data: photo(17)}), 415, "media-type-mismatch"},
		{"no form", []byte("hello"), 400, "body-cut"},
		{"nothing", nil, 400, "body-cut"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, body := range []io.Reader{bytes.NewReader(c.body), onlyReader{bytes.NewReader(c.body)}} {
				if a := s.send("POST", "/v1/images", body, formType...); a.status != c.status || a.problem() != c.slug {
					t.Errorf("%s: want %d %s", a, c.status, c.slug)
				}
			}
		})
	}
	for _, params := range []string{"", "; boundary=", `; boundary="` + boundary} {
		ct := "multipart/form-data" + params
		if a := s.post(form(image(20)), "Content-Type", ct); a.problem() != "malformed-multipart" {
			t.Errorf("%s: %s", ct, a)
		}
	}
	s.settled()
	if blobs, events := s.keys("_"), s.published(); len(blobs) != 8 || len(events) != 8 {
		t.Errorf("%d blobs and %d events of 8 uploads", len(blobs), len(events))
	}
}

func TestFileNamesAreLabels(t *testing.T) {
	s := newRig(t).start()
	long := strings.Repeat("ü", 200)
	for i, c := range []struct{ name, want, disposition string }{
		{"sunset.jpg", "sunset.jpg", "inline; filename=sunset.jpg"},
		{"../../etc/passwd", "passwd", "inline; filename=passwd"},
		{"/etc/passwd", "passwd", "inline; filename=passwd"},
		{`C:\photos\sea.jpg`, "sea.jpg", "inline; filename=sea.jpg"},
		{"..", "", "inline"},
		{"", "", "inline"},
		{"a b.jpg", "a b.jpg", `inline; filename="a b.jpg"`},
		{"día.jpg", "día.jpg", "inline; filename*=utf-8''d%C3%ADa.jpg"},
		{"nul\x00\x1b[31m.jpg", "nul[31m.jpg", `inline; filename="nul[31m.jpg"`},
		{"evil\u202egpj.exe", "evilgpj.exe", "inline; filename=evilgpj.exe"},
		{"bad\xff\xfe.jpg", "bad\ufffd.jpg", "inline; filename*=utf-8''bad%EF%BF%BD.jpg"},
		{long, strings.Repeat("ü", 127), "inline; filename*=utf-8''" + strings.Repeat("%C3%BC", 127)},
		{"_journal/x", "x", "inline; filename=x"},
	} {
		// A header holds no control characters but in the coding of RFC 8187.
		disposition := `attachment; filename="` + strings.ReplaceAll(c.name, `\`, `\\`) + `"`
		if strings.ContainsAny(c.name, "\x00") {
			disposition = "attachment; filename*=utf-8''" + url.PathEscape(c.name)
		}
		raw := fmt.Appendf(nil, "--%s\r\nContent-Disposition: %s\r\n\r\n%s\r\n--%s--\r\n",
			boundary, strings.Replace(disposition, "attachment", "form-data", 1), photo(i), boundary)
		check := func(id string) {
			t.Helper()
			a := s.get("/v1/images/" + id)
			if img := decode[struct{ Filename string }](t, a); img.Filename != c.want {
				t.Errorf("%q has become %q, want %q", c.name, img.Filename, c.want)
			}
			if d := s.get("/v1/images/" + id + "/content").header.Get("Content-Disposition"); d != c.disposition {
				t.Errorf("%q is given as %q, want %q", c.name, d, c.disposition)
			}
		}
		check(s.post(raw, formType...).upload(t).ID)
		check(s.post(photo(100+i), "Content-Disposition", disposition).upload(t).ID)
	}
	for _, key := range s.keys("_") {
		if rest, ok := strings.CutPrefix(key, "default/"); !ok || len(rest) != 64 {
			t.Errorf("a blob is at %s", key)
		}
	}
}
