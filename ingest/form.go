package ingest

import (
	"bufio"
	"errors"
	"io"
	"mime/multipart"
)

const (
	maxAround = 128 << 10 // bytes of a form before its file, and again after it
	maxParts  = 32        // parts of a form, beside the file
	maxField  = 64 << 10  // bytes of a field that is passed over

	formBuffer = 64 << 10
)

// form reads multipart/form-data (RFC 7578) as it arrives. Its errors are refusals.
type form struct {
	body  *quota
	parts *multipart.Reader
	seen  int // parts, beside the file
}

// newForm reads the body in larger pieces than mime/multipart would.
func newForm(body io.Reader, boundary string) *form {
	q := &quota{r: bufio.NewReaderSize(body, formBuffer), left: maxAround}
	return &form{body: q, parts: multipart.NewReader(q, boundary)}
}

// file is the form's file.
type file struct {
	io.Reader
	declared string // its media type, empty if the form does not say
	label    string
}

// fileOfPart reports whether a part is a file: it has a file name or is named "file".
func fileOfPart(part *multipart.Part) (name string, isFile bool) {
	field, name, isFile := dispositionOf(part.Header.Get("Content-Disposition"))
	return name, isFile || field == "file"
}

// file goes to the first part that is a file. The file may have limit bytes; more than one beyond it cannot be read.
func (f *form) file(limit int64) (file, error) {
	for {
		part, err := f.parts.NextPart()
		if err == io.EOF {
			return file{}, refuse(kindMalformedMultipart, "The form has no file: give one part a file name.")
		}
		if err != nil {
			return file{}, formError(err)
		}
		if name, isFile := fileOfPart(part); isFile {
			f.body.left = limit + maxAround
			return file{Reader: partReader{part}, declared: part.Header.Get("Content-Type"), label: name}, nil
		}
		if err := f.skip(part); err != nil {
			return file{}, err
		}
	}
}

// skip passes over a field.
func (f *form) skip(part *multipart.Part) error {
	if f.seen++; f.seen > maxParts {
		return refuse(kindMalformedMultipart, "The form has more than %d fields.", maxParts)
	}
	n, err := io.Copy(io.Discard, io.LimitReader(part, maxField+1))
	if err != nil {
		return formError(err)
	}
	if n > maxField {
		return refuse(kindMalformedMultipart, "A field of the form has more than %d bytes.", maxField)
	}
	return nil
}

// end reads what follows the file, up to the form's end: without its closing boundary a form was cut.
func (f *form) end() error {
	f.body.left = maxAround
	for {
		part, err := f.parts.NextPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			return formError(err)
		}
		if _, isFile := fileOfPart(part); isFile {
			return refuse(kindMalformedMultipart, "The form has a second file. Upload one image at a time.")
		}
		if err := f.skip(part); err != nil {
			return err
		}
	}
	// The body may go on behind the boundary, and only its own end says that it was not cut there.
	if _, err := io.Copy(io.Discard, f.body); err != nil {
		return formError(err)
	}
	return nil
}

// partReader is a part whose errors are refusals.
type partReader struct{ part *multipart.Part }

func (p partReader) Read(b []byte) (int, error) {
	n, err := p.part.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		err = formError(err)
	}
	return n, err
}

// formError is the refusal for an error of the form's reader. A body that ended within the form was cut.
func formError(err error) error {
	var r *refusal
	switch {
	case errors.As(err, &r):
		return r
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return errCut()
	}
	return refuse(kindMalformedMultipart, "The form cannot be read. See RFC 7578.")
}

// quota lets so many bytes pass.
type quota struct {
	r    io.Reader
	left int64
}

func (q *quota) Read(p []byte) (int, error) {
	if q.left <= 0 {
		return 0, refuse(kindMalformedMultipart, "The form has more than %d bytes beside its file.", maxAround)
	}
	n, err := q.r.Read(p[:min(int64(len(p)), q.left)])
	q.left -= int64(n)
	return n, err
}
