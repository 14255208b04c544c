package blob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

const (
	// partSize is the least that S3 takes for a part but the last. With its 10,000 parts an object has at most 48 GiB.
	partSize     = 5 << 20
	abortTimeout = 10 * time.Second
)

var parts = sync.Pool{New: func() any { return new([partSize]byte) }}

// PutStream stores what r yields until its end. It holds at most two parts of 5 MiB in memory, and with a known size
// nothing but a buffer. size is in bytes, -1 when it is not known.
//
// When r fails nothing is stored, what was at the key before stays, and the error is r's to errors.Is. A reader that
// yields fewer or more bytes than size says has failed so with ErrSize. r is read from another goroutine; no Read
// begins after PutStream has returned, but one may still be under way then. PutStream is not tried again.
func (s *Store) PutStream(ctx context.Context, key string, r io.Reader, size int64) error {
	if size > 0 {
		return s.putKnown(ctx, key, r, size)
	}
	if size == 0 {
		r = &source{r: r}
	}
	return s.putUnknown(ctx, key, r)
}

// putKnown sends r as one request's body, which is neither signed nor hashed on its way.
func (s *Store) putKnown(ctx context.Context, key string, r io.Reader, size int64) error {
	src := &source{r: r, left: size}
	defer src.close()
	in := &s3.PutObjectInput{Bucket: &s.bucket, Key: &key, Body: src, ContentLength: &size}
	_, err := s.client.PutObject(ctx, in, once, unsigned)
	if failed := src.failure(); failed != nil {
		return fmt.Errorf("put %s: %w", key, failed)
	}
	if err != nil {
		return fail("put "+key, err)
	}
	return nil
}

// unsigned leaves the body out of the request's signature (UNSIGNED-PAYLOAD): to sign it, it would be read twice.
func unsigned(o *s3.Options) {
	o.APIOptions = append(o.APIOptions, v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)
}

// putUnknown sends what fits into one part as one request, and the rest as a multipart upload.
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
	in := &s3.PutObjectInput{Bucket: &s.bucket, Key: &key, Body: bytes.NewReader(first[:n])}
	if _, err := s.client.PutObject(ctx, in, unsigned); err != nil {
		return fail("put "+key, err)
	}
	return nil
}

// fill reads until p is full or r ends, which last says. An r that ends just as p is full is found by one more read,
// whose byte, if there is one, stays with the caller's reader: see putParts.
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

// putParts runs a multipart upload: one part is on its way while the next is read.
func (s *Store) putParts(ctx context.Context, key string, r io.Reader, first *[partSize]byte) error {
	made, err := s.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &s.bucket, Key: &key})
	if err != nil {
		return fail("begin the upload of "+key, err)
	}
	done, err := s.sendParts(ctx, key, made.UploadId, r, first)
	if err == nil {
		_, err = s.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
			Bucket: &s.bucket, Key: &key, UploadId: made.UploadId,
			MultipartUpload: &types.CompletedMultipartUpload{Parts: done},
		})
		if err == nil {
			return nil
		}
		err = fail("complete the upload of "+key, err)
	}
	abort, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
	defer cancel()
	// The first error is the one to report: a bucket's lifecycle rule removes what an abort could not.
	_, _ = s.client.AbortMultipartUpload(abort, &s3.AbortMultipartUploadInput{
		Bucket: &s.bucket, Key: &key, UploadId: made.UploadId,
	})
	return err
}
