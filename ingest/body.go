package ingest

import (
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"darkroom/internal/pixels"
)

// bodyReader reads a request's body and gives up on a client that sends nothing for a while. Every error but io.EOF is
// a refusal.
type bodyReader struct {
	r     io.Reader
	conn  *http.ResponseController
	stall time.Duration
	set   time.Time // when the deadline was set
	alive func()    // is called now and then while bytes arrive
	ended bool

	mu      sync.Mutex
	givenUp bool
}

func (b *bodyReader) Read(p []byte) (int, error) {
	// To set the deadline costs something, so it is not set for every read.
	if now := time.Now(); now.Sub(b.set) > b.stall/16 {
		b.set = now
		b.deadline(now.Add(b.stall))
		b.alive()
	}
	n, err := b.r.Read(p)
	switch {
	case err == nil:
		return n, nil
	case err == io.EOF:
		b.ended = true
		b.deadline(time.Time{}) // else it would end the request's context
		return n, err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return n, refuse(kindBodyStalled, "No byte of the body arrived for %v. Nothing was stored.", b.stall)
	}
	return n, errCut()
}

// deadline bounds the reading. A connection without deadlines, as a test's, is read without.
func (b *bodyReader) deadline(t time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.givenUp {
		_ = b.conn.SetReadDeadline(t)
	}
}

// giveUp ends a Read that is under way. The connection is of no further use.
func (b *bodyReader) giveUp() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.givenUp = true
	_ = b.conn.SetReadDeadline(time.Unix(1, 0))
}

// usable reports whether the connection may serve another request.
func (b *bodyReader) usable() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ended && !b.givenUp
}

func errCut() error {
	return refuse(kindBodyCut, "The body ended before its end. Nothing was stored.")
}

// image is an upload's image while it arrives: it counts, bounds and hashes the bytes on their way.
type image struct {
	format pixels.Format
	label  string
	size   int64 // as declared, -1 if it is not known
	body   *bodyReader

	r     io.Reader
	limit int64
	end   func() error // looks at what comes after the image, once

	hash  hash.Hash
	bytes int64
	ended bool
}

// Read implements io.Reader. Every error but io.EOF is a refusal.
func (im *image) Read(p []byte) (int, error) {
	n, err := im.r.Read(p)
	im.bytes += int64(n)
	if im.bytes > im.limit {
		return 0, refuseTooLarge(im.limit)
	}
	im.hash.Write(p[:n])
	if err == io.EOF && !im.ended {
		if err := im.end(); err != nil {
			return n, err
		}
		im.ended = true
	}
	return n, err
}

// sum returns the SHA-256 and the length of what was read, and whether that was all.
func (im *image) sum() (sha [sha256.Size]byte, n int64, ok bool) {
	im.hash.Sum(sha[:0])
	return sha, im.bytes, im.ended
}

// readPrefix reads the first bytes of r, as many as tell the format, or all if there are fewer.
func readPrefix(r io.Reader) ([]byte, error) {
	prefix := make([]byte, pixels.SniffLen)
	n := 0
	for n < len(prefix) {
		k, err := r.Read(prefix[n:])
		n += k
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	return prefix[:n], nil
}

// buffers are for moving bytes.
var buffers = sync.Pool{New: func() any { return new([256 << 10]byte) }}

// move copies r to w through a buffer of ours, whatever shortcuts the two offer.
func move(w io.Writer, r io.Reader) error {
	b := buffers.Get().(*[256 << 10]byte)
	defer buffers.Put(b)
	_, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, b[:])
	return err
}
