// Package storage takes the place of Google's client for its Cloud Storage, which Beam's worker imports so that dumps of its
// heap can be uploaded there. Darkroom never asks for any, and the client, with all that it imports, is a sixth of the
// program and of what each of its processes occupies at its start. Here is what Beam calls, and each call fails.
package storage

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/api/option"
)

// ScopeReadWrite is the scope that Beam asks for.
const ScopeReadWrite = "https://www.googleapis.com/auth/devstorage.read_write"

var errLeftOut = errors.New("storage: Darkroom is built without Google Cloud Storage")

// ErrBucketNotExist is never returned.
var ErrBucketNotExist = errors.New("storage: bucket doesn't exist")

// The types that Beam names, each with the methods that it calls.
type (
	Client           struct{}
	BucketHandle     struct{}
	ObjectHandle     struct{}
	ObjectIterator   struct{}
	Copier           struct{}
	Query            struct{ Prefix string }
	SoftDeletePolicy struct{ RetentionDuration time.Duration }
	BucketAttrs      struct{ SoftDeletePolicy *SoftDeletePolicy }
	ObjectAttrs      struct {
		Name    string
		Size    int64
		Updated time.Time
	}
	Reader struct{ io.ReadCloser }
	Writer struct{}
)

// NewClient returns a client for nothing.
func NewClient(context.Context, ...option.ClientOption) (*Client, error) { return &Client{}, nil }

func (*Client) Close() error                { return nil }
func (*Client) Bucket(string) *BucketHandle { return &BucketHandle{} }

func (b *BucketHandle) UserProject(string) *BucketHandle                 { return b }
func (*BucketHandle) Attrs(context.Context) (*BucketAttrs, error)        { return nil, errLeftOut }
func (*BucketHandle) Create(context.Context, string, *BucketAttrs) error { return errLeftOut }
func (*BucketHandle) Object(string) *ObjectHandle                        { return &ObjectHandle{} }
func (*BucketHandle) Objects(context.Context, *Query) *ObjectIterator    { return &ObjectIterator{} }
func (*ObjectIterator) Next() (*ObjectAttrs, error)                      { return nil, errLeftOut }
func (*ObjectHandle) Attrs(context.Context) (*ObjectAttrs, error)        { return nil, errLeftOut }
func (*ObjectHandle) Delete(context.Context) error                       { return errLeftOut }
func (*ObjectHandle) NewReader(context.Context) (*Reader, error)         { return nil, errLeftOut }
func (*ObjectHandle) NewWriter(context.Context) *Writer                  { return &Writer{} }
func (*ObjectHandle) CopierFrom(*ObjectHandle) *Copier                   { return &Copier{} }
func (*Copier) Run(context.Context) (*ObjectAttrs, error)                { return nil, errLeftOut }
func (*Writer) Write([]byte) (int, error)                                { return 0, errLeftOut }
func (*Writer) Close() error                                             { return errLeftOut }
