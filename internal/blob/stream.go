package blob

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// PutStream stores what r yields until its end. It holds at most two parts of 5 MiB in memory, and with a known size
// no more than a connection's buffer. size is in bytes, -1 when it is not known. A server in this process takes the
// SHA-256 of r if it is [Hashed].
//
// When r fails nothing is stored, what was at the key before stays, and the error is r's to errors.Is. A reader that
// yields fewer or more bytes than size says has failed so, with ErrSize. r is read by another goroutine; no Read begins
// after PutStream has returned, but when ctx ends one may still be under way then. With no known size PutStream waits
// for that Read, so that it should end with ctx. PutStream is not tried again.
func (s *Store) PutStream(ctx context.Context, key string, r io.Reader, size int64) error {
	if size < 0 {
		return s.putUnknown(ctx, key, r)
	}
	src := &source{r: r, left: size}
	if size == 0 {
		return s.putUnknown(ctx, key, src)
	}
	defer src.close()
	put := make(chan error, 1)
	go func() {
		in := &s3.PutObjectInput{Bucket: &s.bucket, Key: &key, Body: src, ContentLength: &size}
		_, err := s.client.PutObject(withHash(ctx, r), in, once, unsigned)
		put <- err
	}()
	var err error
	select {
	case err = <-put:
	case <-ctx.Done(): // net/http may wait for the reader even then
		err = ctx.Err()
	}
	if failed := src.failure(); failed != nil {
		return fmt.Errorf("put %s: %w", key, failed)
	}
	if err != nil {
		return fail("put "+key, err)
	}
	return nil
}

// Hashed is a reader that knows the SHA-256 of what it yielded, once it has ended.
type Hashed interface {
	io.Reader
	SHA256() [sha256.Size]byte
}

type hashKey struct{}

func withHash(ctx context.Context, r io.Reader) context.Context {
	if h, ok := r.(Hashed); ok {
		return context.WithValue(ctx, hashKey{}, h)
	}
	return ctx
}

// HashOf returns what knows the SHA-256 of the body of a request with this context, or nil. A server in this process
// reads the very bytes that were hashed, and may spare itself doing so again.
func HashOf(ctx context.Context) Hashed {
	h, _ := ctx.Value(hashKey{}).(Hashed)
	return h
}

// unsigned leaves the body out of the request's signature (UNSIGNED-PAYLOAD): to sign it, it would be read twice.
func unsigned(o *s3.Options) {
	o.APIOptions = append(o.APIOptions, v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)
}

// source is the body of a streamed put. It hands out its last bytes only once r has ended, so that S3 never holds a
// whole object from a reader that fails, or goes on, after as many bytes as it was to have.
type source struct {
	r    io.Reader
	left int64 // bytes still to come; used by the reading goroutine alone

	mu     sync.Mutex
	err    error // why r failed
	closed bool
}

func (s *source) Read(p []byte) (int, error) {
	s.mu.Lock()
	ended := s.closed
	s.mu.Unlock()
	if ended {
		return 0, errClosed
	}
	var n int
	var err error
	if p = p[:min(int64(len(p)), s.left)]; len(p) > 0 {
		n, err = s.r.Read(p)
		s.left -= int64(n)
	}
	if s.left == 0 && err == nil {
		err = s.end()
	}
	switch {
	case err == nil:
		return n, nil
	case err == io.EOF && s.left == 0: //nolint:errorlint // as io.Reader says
		return n, io.EOF
	case err == io.EOF: //nolint:errorlint // as io.Reader says
		err = fmt.Errorf("%w: %d bytes are missing", ErrSize, s.left)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
	return 0, err
}

// end returns io.EOF when r has no more bytes.
func (s *source) end() error {
	var one [1]byte
	for {
		n, err := s.r.Read(one[:])
		if n > 0 {
			return fmt.Errorf("%w: it goes on after its last byte", ErrSize)
		}
		if err != nil {
			return err
		}
	}
}

func (s *source) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func (s *source) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
}

// errClosed ends a body that the transport still reads after its request is over.
var errClosed = errors.New("the put is over")
