package blob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

const (
	// partSize is the least that S3 takes for a part but the last. With its 10,000 parts an object has at most 48 GiB.
	partSize = 5 << 20
	// partGrace is how long a part on its way may still take after the caller has cancelled.
	partGrace = 5 * time.Second
	// abortTimeout bounds the clearing up after a failed upload, whose own context may be over.
	abortTimeout = 10 * time.Second
)

var parts = sync.Pool{New: func() any { return new([partSize]byte) }}

// putUnknown sends what fits into one part as one request, and more as a multipart upload.
func (s *Store) putUnknown(ctx context.Context, key string, r io.Reader) error {
	first := parts.Get().(*[partSize]byte)
	defer parts.Put(first)
	n, last, err := fill(ctx, r, first[:])
	if err != nil {
		return fmt.Errorf("put %s: %w", key, err)
	}
	if !last {
		return s.putParts(ctx, key, r, first)
	}
	data := &piece{r: bytes.NewReader(first[:n])}
	defer data.close()
	in := &s3.PutObjectInput{Bucket: &s.bucket, Key: &key, Body: data}
	if _, err := s.client.PutObject(withHash(ctx, r), in, unsigned); err != nil {
		return fail("put "+key, err)
	}
	return nil
}

// fill reads until p is full or r ends; last reports the latter.
func fill(ctx context.Context, r io.Reader, p []byte) (n int, last bool, err error) {
	for n < len(p) {
		if err := ctx.Err(); err != nil {
			return n, false, err
		}
		k, err := r.Read(p[n:])
		n += k
		if err == io.EOF {
			return n, true, nil
		}
		if err != nil {
			return n, false, err
		}
	}
	return n, false, nil
}

// putParts runs a multipart upload of first and what r still has.
func (s *Store) putParts(ctx context.Context, key string, r io.Reader, first *[partSize]byte) error {
	made, err := s.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &s.bucket, Key: &key})
	if err != nil {
		return fail("begin the upload of "+key, err)
	}
	u := &upload{s: s, key: key, id: made.UploadId}
	err = u.send(ctx, r, first)
	if err == nil {
		err = u.complete(ctx)
	}
	if err != nil {
		u.abort(ctx)
	}
	return err
}

// upload is one multipart upload.
type upload struct {
	s    *Store
	key  string
	id   *string
	done []types.CompletedPart
}

// send uploads the parts in their order: one is on its way while the next is read. Whatever fails, it returns when none
// is on its way any more: S3 may keep a part that meets the abort of its upload.
func (u *upload) send(ctx context.Context, r io.Reader, first *[partSize]byte) error {
	second := parts.Get().(*[partSize]byte)
	defer parts.Put(second)
	parting, cancel := linger(ctx, partGrace)
	defer cancel()
	now, next := first, second
	for n, last := partSize, false; n > 0; now, next = next, now {
		sent := make(chan error, 1)
		go func(data []byte) { sent <- u.part(parting, data) }(now[:n])
		var failed error
		if n = 0; !last {
			n, last, failed = fill(ctx, r, next[:])
		}
		err := <-sent
		if failed != nil {
			return fmt.Errorf("put %s: %w", u.key, failed)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// linger returns a context that ends a while after ctx does.
func linger(ctx context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(grace, cancel) })
	return longer, func() {
		stop()
		cancel()
	}
}

func (u *upload) part(ctx context.Context, data []byte) error {
	number := int32(len(u.done) + 1)
	p := &piece{r: bytes.NewReader(data)}
	defer p.close()
	out, err := u.s.client.UploadPart(ctx, &s3.UploadPartInput{
		Bucket: &u.s.bucket, Key: &u.key, UploadId: u.id, PartNumber: &number, Body: p,
	}, unsigned)
	if err != nil {
		return fail(fmt.Sprintf("put part %d of %s", number, u.key), err)
	}
	u.done = append(u.done, types.CompletedPart{ETag: out.ETag, PartNumber: &number})
	return nil
}

func (u *upload) complete(ctx context.Context) error {
	_, err := u.s.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: &u.s.bucket, Key: &u.key, UploadId: u.id,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: u.done},
	})
	if err != nil {
		return fail("complete the upload of "+u.key, err)
	}
	return nil
}

// abort removes the parts. What it cannot remove, with S3 away, AbortUploads may: the error that led here is the one to
// report.
func (u *upload) abort(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
	defer cancel()
	_, _ = u.s.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{
		Bucket: &u.s.bucket, Key: &u.key, UploadId: u.id,
	})
}

// AbortUploads removes the parts of uploads to keys that begin with prefix and that began long ago: those of processes
// which died over them. No listing of objects shows them.
func (s *Store) AbortUploads(ctx context.Context, prefix string, age time.Duration) error {
	in := &s3.ListMultipartUploadsInput{Bucket: &s.bucket, Prefix: text(prefix)}
	var errs []error
	for pages := s3.NewListMultipartUploadsPaginator(s.client, in); pages.HasMorePages(); {
		page, err := nextPage(ctx, pages.NextPage)
		if err != nil {
			return errors.Join(append(errs, fail("list uploads to "+prefix, err))...)
		}
		for _, u := range page.Uploads {
			if time.Since(aws.ToTime(u.Initiated)) >= age {
				errs = append(errs, s.abortUpload(ctx, u))
			}
		}
	}
	return errors.Join(errs...)
}

func (s *Store) abortUpload(ctx context.Context, u types.MultipartUpload) error {
	ctx, cancel := context.WithTimeout(ctx, abortTimeout)
	defer cancel()
	_, err := s.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{
		Bucket: &s.bucket, Key: u.Key, UploadId: u.UploadId,
	})
	if err != nil && code(err) != "NoSuchUpload" { // it ended meanwhile
		return fail("abort the upload of "+aws.ToString(u.Key), err)
	}
	return nil
}

// piece is a request's body in a pooled buffer. The transport may read a body after its request is over; close keeps it
// from a buffer that is another's by then.
type piece struct {
	mu     sync.Mutex
	r      *bytes.Reader
	closed bool
}

func (p *piece) Read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return 0, errClosed
	}
	return p.r.Read(b)
}

// Seek lets the SDK learn the size, and send the piece again.
func (p *piece) Seek(offset int64, whence int) (int64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.r.Seek(offset, whence)
}

func (p *piece) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
}
