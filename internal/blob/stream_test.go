package blob_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/iotest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"pgregory.net/rapid"

	"darkroom/internal/blob"
)

const part = 5 << 20

var errReader = errors.New("the client went away")

// stream hides all of a reader but Read.
type stream struct{ io.Reader }

func TestPutStream(t *testing.T) {
	s := bucket(t)
	for _, c := range []struct {
		size  int
		known bool
	}{
		{0, true}, {1, true}, {100_000, true}, {20 << 20, true},
		{0, false}, {1, false}, {part - 1, false}, {part, false}, {part + 1, false}, {20 << 20, false},
	} {
		data, declared, key := noise(c.size), int64(-1), fmt.Sprintf("stream/%d-%t", c.size, c.known)
		if c.known {
			declared = int64(c.size)
		}
		if err := s.PutStream(t.Context(), key, stream{bytes.NewReader(data)}, declared); err != nil {
			t.Errorf("%s: %v", key, err)
		} else if !bytes.Equal(read(t, s, key), data) {
			t.Errorf("%s: other bytes came back", key)
		}
	}
}

func TestAFailedStreamLeavesNothing(t *testing.T) {
	g, s := gateway(t)
	put(t, s, "before", []byte("kept"))
	short, long := noise(300_000), noise(2*part+1000)
	for _, c := range []struct {
		name string
		r    io.Reader
		size int64
		want error
	}{
		{"at once", iotest.ErrReader(errReader), 300_000, errReader},
		{"midway", io.MultiReader(bytes.NewReader(short), iotest.ErrReader(errReader)), 400_000, errReader},
		{"instead of its end", io.MultiReader(bytes.NewReader(short), iotest.ErrReader(errReader)), 300_000, errReader},
		{"late", io.MultiReader(bytes.NewReader(long), iotest.ErrReader(errReader)), int64(len(long)) + 1, errReader},
		{"too short", bytes.NewReader(short), 300_001, blob.ErrSize},
		{"too long", bytes.NewReader(short), 299_999, blob.ErrSize},
		{"not empty", bytes.NewReader(short), 0, blob.ErrSize},
		{"empty", bytes.NewReader(nil), 1, blob.ErrSize},
		{"unknown, at once", iotest.ErrReader(errReader), -1, errReader},
		{"unknown, midway", io.MultiReader(bytes.NewReader(short), iotest.ErrReader(errReader)), -1, errReader},
		{"unknown, in a late part", io.MultiReader(bytes.NewReader(long), iotest.ErrReader(errReader)), -1, errReader},
	} {
		for _, key := range []string{"before", "fresh"} {
			var once bytes.Buffer // the same bytes for both keys
			err := s.PutStream(t.Context(), key, io.TeeReader(c.r, &once), c.size)
			if !errors.Is(err, c.want) || blob.Unavailable(err) {
				t.Errorf("%s: %v, want %v", c.name, err, c.want)
			}
			c.r = io.MultiReader(&once, c.r)
		}
	}
	if got := keys(t, s, ""); len(got) != 1 || string(read(t, s, "before")) != "kept" {
		t.Errorf("left: %v", got)
	}
	if open := uploads(t, over(g.Config("photos"))); open != 0 {
		t.Errorf("%d multipart uploads are left", open)
	}
}

// client is one of S3 without what a Store does.
func client(c blob.Config) *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: &c.Endpoint, Region: c.Region, UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(c.AccessKey, c.SecretKey, ""),
	})
}

// uploads counts the multipart uploads under way.
func uploads(t *testing.T, c blob.Config) int {
	t.Helper()
	out, err := client(c).ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: aws.String(c.Bucket)})
	if err != nil {
		t.Fatal(err)
	}
	return len(out.Uploads)
}

func TestUploadsOfTheDeadAreAborted(t *testing.T) {
	g, s := gateway(t)
	c := over(g.Config("photos"))
	for _, key := range []string{"dead/1", "dead/2", "other"} {
		made, err := client(c).CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: &c.Bucket, Key: &key})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client(c).UploadPart(t.Context(), &s3.UploadPartInput{
			Bucket: &c.Bucket, Key: &key, UploadId: made.UploadId, PartNumber: aws.Int32(1), Body: bytes.NewReader(noise(1000)),
		}); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct {
		prefix string
		age    time.Duration
		left   int
	}{{"dead/", time.Hour, 3}, {"dead/", 0, 1}, {"dead/", 0, 1}, {"", 0, 0}} {
		if err := s.AbortUploads(t.Context(), step.prefix, step.age); err != nil {
			t.Error(err)
		}
		if open := uploads(t, c); open != step.left {
			t.Errorf("%q, older than %v: %d multipart uploads are left, want %d", step.prefix, step.age, open, step.left)
		}
	}
}

func TestACancelledStreamLeavesNothing(t *testing.T) {
	g, s := gateway(t)
	for name, size := range map[string]int64{"known": 3 * part, "unknown": -1} {
		ctx, cancel := context.WithCancel(t.Context())
		sent := 0
		r := readFunc(func(p []byte) (int, error) {
			if sent += len(p); sent > 2*part {
				cancel()
			}
			return len(p), nil
		})
		err := s.PutStream(ctx, name, io.LimitReader(r, 3*part), size)
		if !errors.Is(err, context.Canceled) || blob.Unavailable(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := keys(t, s, ""); got != nil {
		t.Errorf("left: %v", got)
	}
	if open := uploads(t, over(g.Config("photos"))); open != 0 {
		t.Errorf("%d multipart uploads are left", open)
	}
}

func TestACancelledStreamDoesNotWaitForItsReader(t *testing.T) {
	s := bucket(t)
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	defer func() { _ = w.Close() }()
	go func() {
		_, _ = w.Write(noise(1000)) // then nothing comes for ever
		cancel()
	}()
	if err := s.PutStream(ctx, "stuck", r, 2000); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

// A stream is stored exactly when it has its declared size, however its reader hands it out.
func TestPutStreamStoresExactlyWhatWasDeclared(t *testing.T) {
	s := bucket(t)
	rapid.Check(t, func(t *rapid.T) {
		data := rapid.SliceOfN(rapid.Byte(), 0, 40_000).Draw(t, "data")
		declared := rapid.OneOf(
			rapid.Just(int64(-1)), rapid.Just(int64(len(data))), rapid.Int64Range(0, 40_000)).Draw(t, "declared")
		kind := rapid.SampledFrom([]func(io.Reader) io.Reader{
			iotest.HalfReader, iotest.DataErrReader, iotest.OneByteReader, func(r io.Reader) io.Reader { return r },
		}).Draw(t, "reader")
		if err := s.Delete(context.Background(), "k"); err != nil {
			t.Fatal(err)
		}
		err := s.PutStream(context.Background(), "k", kind(stream{bytes.NewReader(data)}), declared)
		got, _, missing := s.Get(context.Background(), "k")
		if declared == -1 || declared == int64(len(data)) {
			if err != nil || missing != nil || !bytes.Equal(got, data) {
				t.Fatalf("put: %v, get: %v", err, missing)
			}
		} else if !errors.Is(err, blob.ErrSize) || !errors.Is(missing, blob.ErrNotFound) {
			t.Fatalf("put: %v, get: %v", err, missing)
		}
	})
}
