package blob

import (
	"context"
	"errors"
	"io"
	"iter"
)

var errSkeleton = errors.New("blob: not built yet")

// EnsureBucket makes the bucket unless it is there.
func (s *Store) EnsureBucket(ctx context.Context) error { return errSkeleton }

// Ping asks S3 whether the bucket is there.
func (s *Store) Ping(ctx context.Context) error { return errSkeleton }

// PutStream stores what r yields.
func (s *Store) PutStream(ctx context.Context, key string, r io.Reader, size int64) error {
	return errSkeleton
}

// Put stores a small object.
func (s *Store) Put(ctx context.Context, key string, data []byte, o PutOptions) (etag string, err error) {
	return "", errSkeleton
}

// Promote copies from to the content-addressed key to.
func (s *Store) Promote(ctx context.Context, from, to string, sha256 [32]byte, contentType string) error {
	return errSkeleton
}

// Get returns a small object.
func (s *Store) Get(ctx context.Context, key string) (data []byte, etag string, err error) {
	return nil, "", errSkeleton
}

// Open opens an object.
func (s *Store) Open(ctx context.Context, key, rangeHeader string) (*Object, error) {
	return nil, errSkeleton
}

// Stat describes an object.
func (s *Store) Stat(ctx context.Context, key string) (Info, error) { return Info{}, errSkeleton }

// Delete removes objects.
func (s *Store) Delete(ctx context.Context, keys ...string) error { return errSkeleton }

// List yields the objects.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) { yield(Info{}, errSkeleton) }
}

// Unavailable reports whether S3 cannot be reached.
func Unavailable(err error) bool { return false }
