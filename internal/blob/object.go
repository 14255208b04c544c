package blob

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// deleteBatch is the most keys that one DeleteObjects takes (S3's API reference).
const deleteBatch = 1000

// EnsureBucket makes the bucket unless it is there. It may be called again and by many at once.
func (s *Store) EnsureBucket(ctx context.Context) error {
	err := s.headBucket(ctx)
	if err == nil {
		return nil
	}
	if !isMissing(err) {
		return fail("look for bucket "+s.bucket, err)
	}
	in := &s3.CreateBucketInput{Bucket: &s.bucket}
	if s.region != defaultRegion { // S3 refuses the default region's name here
		place := types.BucketLocationConstraint(s.region)
		in.CreateBucketConfiguration = &types.CreateBucketConfiguration{LocationConstraint: place}
	}
	_, err = s.client.CreateBucket(ctx, in)
	var ours *types.BucketAlreadyOwnedByYou
	if err != nil && !errors.As(err, &ours) {
		return fail("make bucket "+s.bucket, err)
	}
	return nil
}

// Ping asks S3 for the bucket.
func (s *Store) Ping(ctx context.Context) error {
	if err := s.headBucket(ctx); err != nil {
		return fail("ping bucket "+s.bucket, err)
	}
	return nil
}

func (s *Store) headBucket(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := s.client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &s.bucket})
	return err
}

// Put stores a small object and returns its ETag. Without a condition it replaces what is there. With one it is tried
// again only while S3 cannot have applied it: after any other error the caller reads the key to learn what is there.
func (s *Store) Put(ctx context.Context, key string, data []byte, o PutOptions) (etag string, err error) {
	in := &s3.PutObjectInput{Bucket: &s.bucket, Key: &key, Body: bytes.NewReader(data), ContentType: text(o.ContentType)}
	var options []func(*s3.Options)
	if len(o.SHA256) > 0 {
		in.ChecksumSHA256 = aws.String(base64.StdEncoding.EncodeToString(o.SHA256))
	}
	if o.IfAbsent {
		in.IfNoneMatch = aws.String("*")
	}
	if o.IfMatch != "" {
		in.IfMatch = aws.String(o.IfMatch)
	}
	if o.IfAbsent || o.IfMatch != "" {
		options = append(options, unapplied)
	}
	out, err := s.client.PutObject(ctx, in, options...)
	switch {
	case err == nil:
		return aws.ToString(out.ETag), nil
	case o.IfMatch != "" && (isRefused(err) || isMissing(err)):
		return "", fmt.Errorf("put %s: %w", key, ErrChanged)
	case o.IfAbsent && isRefused(err):
		return "", fmt.Errorf("put %s: %w", key, ErrExists)
	}
	return "", fail("put "+key, err)
}

// Get returns a small object, of at most MaxGet bytes, and its ETag. ErrNotFound, ErrTooLarge. An answer that stalls is
// given up.
func (s *Store) Get(ctx context.Context, key string) (data []byte, etag string, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	o, err := s.Open(ctx, key, "")
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = o.Body.Close() }()
	if o.Size > MaxGet {
		return nil, "", fmt.Errorf("get %s: %w: %d bytes", key, ErrTooLarge, o.Size)
	}
	data = make([]byte, o.Size)
	if _, err := io.ReadFull(o.Body, data); err != nil {
		return nil, "", fmt.Errorf("get %s: %w", key, err)
	}
	return data, o.ETag, nil
}

// Open opens an object, or the part of it that rangeHeader selects (an HTTP Range of one range, such as "bytes=0-99";
// empty: all of it). ErrNotFound; a [RangeError] when the object has no such bytes. How long Body may take is for
// ctx to say.
func (s *Store) Open(ctx context.Context, key, rangeHeader string) (*Object, error) {
	in := &s3.GetObjectInput{Bucket: &s.bucket, Key: &key, Range: text(rangeHeader)}
	out, err := s.client.GetObject(ctx, in)
	switch {
	case err == nil:
	case isMissing(err):
		return nil, fmt.Errorf("open %s: %w", key, ErrNotFound)
	case code(err) == "InvalidRange":
		return nil, s.rangeError(ctx, key, err)
	default:
		return nil, fail("open "+key, err)
	}
	return &Object{
		Body: &body{key: key, ReadCloser: out.Body}, Size: aws.ToInt64(out.ContentLength), ETag: aws.ToString(out.ETag),
		ContentType: aws.ToString(out.ContentType), ContentRange: aws.ToString(out.ContentRange),
		ModTime: aws.ToTime(out.LastModified),
	}, nil
}

// rangeError finds the object's size in S3's refusal ("Content-Range: bytes */SIZE"), which not every server sends.
func (s *Store) rangeError(ctx context.Context, key string, err error) error {
	var answer *smithyhttp.ResponseError
	if errors.As(err, &answer) && answer.Response != nil {
		total, ok := strings.CutPrefix(answer.Response.Header.Get("Content-Range"), "bytes */")
		if n, err := strconv.ParseInt(total, 10, 64); ok && err == nil {
			return fmt.Errorf("open %s: %w", key, &RangeError{Total: n})
		}
	}
	info, err := s.Stat(ctx, key)
	if err != nil {
		return err
	}
	return fmt.Errorf("open %s: %w", key, &RangeError{Total: info.Size})
}

// body makes a failed read of an object an error for which Unavailable holds.
type body struct {
	io.ReadCloser
	key string
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		cut := !errors.Is(err, context.Canceled)
		err = &callError{action: "read " + b.key, err: err, unavailable: cut}
	}
	return n, err
}

// Stat describes an object. ErrNotFound.
func (s *Store) Stat(ctx context.Context, key string) (Info, error) {
	out, err := s.head(ctx, &s3.HeadObjectInput{Bucket: &s.bucket, Key: &key})
	if isMissing(err) {
		return Info{}, fmt.Errorf("stat %s: %w", key, ErrNotFound)
	}
	if err != nil {
		return Info{}, fail("stat "+key, err)
	}
	return Info{
		Key: key, Size: aws.ToInt64(out.ContentLength), ETag: aws.ToString(out.ETag), ModTime: aws.ToTime(out.LastModified),
	}, nil
}

func (s *Store) head(ctx context.Context, in *s3.HeadObjectInput) (*s3.HeadObjectOutput, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return s.client.HeadObject(ctx, in)
}

// Delete removes objects. That one is not there is no error. Any that S3 could not remove are named in the error.
func (s *Store) Delete(ctx context.Context, keys ...string) error {
	if len(keys) == 1 {
		_, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.bucket, Key: &keys[0]})
		if err != nil && !isMissing(err) {
			return fail("delete "+keys[0], err)
		}
		return nil
	}
	var errs []error
	for len(keys) > 0 {
		n := min(len(keys), deleteBatch)
		errs = append(errs, s.deleteMany(ctx, keys[:n]))
		keys = keys[n:]
	}
	return errors.Join(errs...)
}

func (s *Store) deleteMany(ctx context.Context, keys []string) error {
	ids := make([]types.ObjectIdentifier, len(keys))
	for i := range keys {
		ids[i].Key = &keys[i]
	}
	in := &s3.DeleteObjectsInput{Bucket: &s.bucket, Delete: &types.Delete{Objects: ids, Quiet: aws.Bool(true)}}
	out, err := s.client.DeleteObjects(ctx, in)
	if err != nil {
		return fail(fmt.Sprintf("delete %d objects", len(keys)), err)
	}
	var errs []error
	for _, e := range out.Errors {
		if aws.ToString(e.Code) != "NoSuchKey" {
			why := fmt.Errorf("%s: %s", aws.ToString(e.Code), aws.ToString(e.Message))
			busy := aws.ToString(e.Code) == "SlowDown" || aws.ToString(e.Code) == "InternalError"
			errs = append(errs, &callError{action: "delete " + aws.ToString(e.Key), err: why, unavailable: busy})
		}
	}
	return errors.Join(errs...)
}

// List yields the objects whose keys begin with prefix, in the order of their keys, and reads the next page only when
// it is asked for. After an error it ends.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		in := &s3.ListObjectsV2Input{Bucket: &s.bucket, Prefix: text(prefix)}
		for pages := s3.NewListObjectsV2Paginator(s.client, in); pages.HasMorePages(); {
			page, err := nextPage(ctx, pages.NextPage)
			if err != nil {
				yield(Info{}, fail("list "+prefix, err))
				return
			}
			for _, o := range page.Contents {
				info := Info{
					Key: aws.ToString(o.Key), Size: aws.ToInt64(o.Size),
					ETag: aws.ToString(o.ETag), ModTime: aws.ToTime(o.LastModified),
				}
				if !yield(info, nil) {
					return
				}
			}
		}
	}
}

// nextPage reads a page of a listing in the time that a call may take.
func nextPage[T any](ctx context.Context, next func(context.Context, ...func(*s3.Options)) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return next(ctx)
}

// text returns nil for an empty string: the SDK sends no header for it then.
func text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
