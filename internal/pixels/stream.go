package pixels

import (
	"bufio"
	"bytes"
	"io"
)

const bufferLen = 64 << 10

// stream reads forward only. Its methods return a CodeTruncated error where the underlying reader ends too early, and
// any other error of that reader unchanged, so that a fault of the source is never taken for a fault of the image.
type stream struct{ br *bufio.Reader }

func newStream(r io.Reader) *stream { return &stream{br: bufio.NewReaderSize(r, bufferLen)} }

func ended(err error) error {
	// Only io.EOF itself says that a reader ended properly; io.ErrUnexpectedEOF is what a cut connection gives.
	if err == io.EOF { //nolint:errorlint // see above
		return truncated()
	}
	return err
}

// peek returns up to n of the next bytes; fewer at the end of the stream. They are valid until the next call.
func (s *stream) peek(n int) ([]byte, error) {
	b, err := s.br.Peek(n)
	if err != nil && err != io.EOF {
		return nil, err
	}
	return b, nil
}

// fill reads len(b) bytes.
func (s *stream) fill(b []byte) error {
	for len(b) > 0 {
		n, err := s.br.Read(b)
		if b = b[n:]; err != nil && len(b) > 0 {
			return ended(err)
		}
	}
	return nil
}

func (s *stream) byte() (byte, error) {
	c, err := s.br.ReadByte()
	if err != nil {
		return 0, ended(err)
	}
	return c, nil
}

// each hands the next n bytes to f, piece by piece. A piece is valid during its call only.
func (s *stream) each(n int64, f func([]byte)) error {
	for n > 0 {
		if _, err := s.br.Peek(1); err != nil {
			return ended(err)
		}
		b, err := s.br.Peek(int(min(n, int64(s.br.Buffered()))))
		if err != nil {
			return ended(err)
		}
		f(b)
		if _, err := s.br.Discard(len(b)); err != nil {
			return ended(err)
		}
		n -= int64(len(b))
	}
	return nil
}

func (s *stream) skip(n int64) error { return s.each(n, func([]byte) {}) }

// skipThrough skips up to and including the next c.
func (s *stream) skipThrough(c byte) error {
	for {
		if _, err := s.br.Peek(1); err != nil {
			return ended(err)
		}
		b, err := s.br.Peek(s.br.Buffered())
		if err != nil {
			return ended(err)
		}
		i := bytes.IndexByte(b, c)
		n := i + 1
		if i < 0 {
			n = len(b)
		}
		if _, err := s.br.Discard(n); err != nil {
			return ended(err)
		}
		if i >= 0 {
			return nil
		}
	}
}

// drain reads the rest.
func (s *stream) drain() error {
	_, err := io.Copy(io.Discard, s.br)
	return err
}
