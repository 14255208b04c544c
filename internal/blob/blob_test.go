package blob_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"

	"darkroom/internal/blob"
	"darkroom/internal/local"
)

// over is how to reach a gateway of this process over a connection: it is called by its other name.
func over(c blob.Config) blob.Config {
	c.Endpoint = strings.Replace(c.Endpoint, "127.0.0.1", "localhost", 1)
	return c
}

// gateway starts an S3 gateway and opens an empty bucket of it.
func gateway(t testing.TB) (*local.S3, *blob.Store) {
	t.Helper()
	g, err := local.StartS3(t.Context(), local.S3Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	s, err := blob.Open(t.Context(), over(g.Config("photos")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(s.Close(), g.Close()); err != nil {
			t.Error(err)
		}
	})
	if err := s.EnsureBucket(t.Context()); err != nil {
		t.Fatal(err)
	}
	return g, s
}

func bucket(t testing.TB) *blob.Store {
	t.Helper()
	_, s := gateway(t)
	return s
}

// noise is n bytes that no compression or repetition could hide a mistake in.
func noise(n int) []byte {
	b := make([]byte, n)
	var seed [32]byte
	_, _ = rand.NewChaCha8(seed).Read(b)
	return b
}

func put(t testing.TB, s *blob.Store, key string, data []byte) (etag string) {
	t.Helper()
	etag, err := s.Put(t.Context(), key, data, blob.PutOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return etag
}

// read returns all of an object, of any size.
func read(t testing.TB, s *blob.Store, key string) []byte {
	t.Helper()
	o, err := s.Open(t.Context(), key, "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = o.Body.Close() }()
	data, err := io.ReadAll(o.Body)
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(data)) != o.Size {
		t.Errorf("%s has %d bytes and says %d", key, len(data), o.Size)
	}
	return data
}

func keys(t testing.TB, s *blob.Store, prefix string) []string {
	t.Helper()
	var all []string
	for info, err := range s.List(t.Context(), prefix) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, info.Key)
	}
	return all
}

func TestConfigValidate(t *testing.T) {
	for _, c := range []struct {
		config blob.Config
		want   string
	}{
		{blob.Config{Bucket: "b"}, ""},
		{blob.Config{Bucket: "b", Endpoint: "https://s3.example:9000", AccessKey: "a", SecretKey: "s"}, ""},
		{blob.Config{}, "bucket"},
		{blob.Config{Bucket: "b", AccessKey: "a"}, "secret key"},
		{blob.Config{Bucket: "b", SecretKey: "s"}, "secret key"},
		{blob.Config{Bucket: "b", Endpoint: "127.0.0.1:9000"}, "endpoint"},
		{blob.Config{Bucket: "b", Endpoint: "ftp://host"}, "endpoint"},
		{blob.Config{Bucket: "b", Endpoint: "http://"}, "endpoint"},
	} {
		err := c.config.Validate()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.config, err, c.want)
		}
		if _, opened := blob.Open(t.Context(), c.config); c.want != "" && opened == nil {
			t.Errorf("%+v was opened", c.config)
		}
	}
}

func TestEnsureBucketByManyAtOnce(t *testing.T) {
	g, _ := gateway(t)
	s, err := blob.Open(t.Context(), over(g.Config("another")))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if err := s.Ping(t.Context()); err == nil {
		t.Fatal("a bucket that is not there answers")
	}
	var group errgroup.Group
	for range 8 {
		group.Go(func() error { return s.EnsureBucket(t.Context()) })
	}
	if err := errors.Join(group.Wait(), s.EnsureBucket(t.Context()), s.Ping(t.Context())); err != nil {
		t.Fatal(err)
	}
}

func TestPutGetStatDelete(t *testing.T) {
	s := bucket(t)
	etag, err := s.Put(t.Context(), "a/b c", []byte("hello"), blob.PutOptions{ContentType: "text/plain"})
	if err != nil || etag == "" {
		t.Fatalf("ETag %q, %v", etag, err)
	}
	data, got, err := s.Get(t.Context(), "a/b c")
	if err != nil || string(data) != "hello" || got != etag {
		t.Errorf("%q with ETag %q, %v; want that of Put, %q", data, got, err, etag)
	}
	info, err := s.Stat(t.Context(), "a/b c")
	if err != nil || info.Key != "a/b c" || info.Size != 5 || info.ETag != etag || info.ModTime.IsZero() {
		t.Errorf("%+v, %v", info, err)
	}
	o, err := s.Open(t.Context(), "a/b c", "")
	if err != nil || o.ContentType != "text/plain" || !o.ModTime.Equal(info.ModTime) || o.ContentRange != "" {
		t.Errorf("%+v, %v", o, err)
	}
	_ = o.Body.Close()
	if replaced := put(t, s, "a/b c", []byte("other")); replaced == etag {
		t.Error("other bytes have the same ETag")
	}
	for range 2 {
		if err := s.Delete(t.Context(), "a/b c"); err != nil {
			t.Fatal(err)
		}
	}
	_, _, get := s.Get(t.Context(), "a/b c")
	_, stat := s.Stat(t.Context(), "a/b c")
	_, open := s.Open(t.Context(), "a/b c", "bytes=0-1")
	for name, err := range map[string]error{"Get": get, "Stat": stat, "Open": open} {
		if !errors.Is(err, blob.ErrNotFound) || blob.Unavailable(err) || !strings.Contains(err.Error(), "a/b c") {
			t.Errorf("%s of a deleted object: %v", name, err)
		}
	}
}

func TestGetIsBounded(t *testing.T) {
	s := bucket(t)
	put(t, s, "fits", noise(blob.MaxGet))
	if data, _, err := s.Get(t.Context(), "fits"); err != nil || len(data) != blob.MaxGet {
		t.Errorf("%d bytes, %v", len(data), err)
	}
	put(t, s, "large", noise(blob.MaxGet+1))
	if _, _, err := s.Get(t.Context(), "large"); !errors.Is(err, blob.ErrTooLarge) {
		t.Error(err)
	}
}

// winners runs 16 puts at once and counts those that succeed; the others must have lost with the given error.
func winners(t *testing.T, s *blob.Store, key string, o blob.PutOptions, lost error) (won int) {
	t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			_, err := s.Put(t.Context(), key, fmt.Append(nil, o, " writer ", i), o) // the bytes decide the ETag
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won++
			} else if !errors.Is(err, lost) || blob.Unavailable(err) {
				t.Errorf("put: %v", err)
			}
		})
	}
	wg.Wait()
	return won
}

func TestOneOfManyConditionalPutsWins(t *testing.T) {
	s := bucket(t)
	for i := range 5 {
		key := fmt.Sprint("race/", i)
		if won := winners(t, s, key, blob.PutOptions{IfAbsent: true}, blob.ErrExists); won != 1 {
			t.Fatalf("IfAbsent: %d winners", won)
		}
		info, err := s.Stat(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if won := winners(t, s, key, blob.PutOptions{IfMatch: info.ETag}, blob.ErrChanged); won != 1 {
			t.Fatalf("IfMatch: %d winners", won)
		}
	}
}

func TestIfMatch(t *testing.T) {
	s := bucket(t)
	first := put(t, s, "k", []byte("one"))
	second, err := s.Put(t.Context(), "k", []byte("two"), blob.PutOptions{IfMatch: first})
	if err != nil || second == first {
		t.Fatalf("%q, %v", second, err)
	}
	_, err = s.Put(t.Context(), "k", []byte("three"), blob.PutOptions{IfMatch: first})
	if !errors.Is(err, blob.ErrChanged) {
		t.Errorf("with an old ETag: %v", err)
	}
	if got := read(t, s, "k"); string(got) != "two" {
		t.Errorf("%q", got)
	}
	if err := s.Delete(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	_, err = s.Put(t.Context(), "k", []byte("four"), blob.PutOptions{IfMatch: second})
	if !errors.Is(err, blob.ErrChanged) {
		t.Errorf("of a deleted object: %v", err)
	}
	if left := keys(t, s, ""); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func TestOpenRange(t *testing.T) {
	s := bucket(t)
	put(t, s, "k", []byte("0123456789"))
	for _, c := range []struct{ header, want, contentRange string }{
		{"", "0123456789", ""},
		{"bytes=0-3", "0123", "bytes 0-3/10"},
		{"bytes=4-", "456789", "bytes 4-9/10"},
		{"bytes=-2", "89", "bytes 8-9/10"},
		{"bytes=8-99", "89", "bytes 8-9/10"},
	} {
		o, err := s.Open(t.Context(), "k", c.header)
		if err != nil {
			t.Errorf("%q: %v", c.header, err)
			continue
		}
		got, err := io.ReadAll(o.Body)
		o.Body.Close()
		if err != nil || string(got) != c.want || o.Size != int64(len(c.want)) || o.ContentRange != c.contentRange {
			t.Errorf("%q: %q of %d bytes, range %q, %v", c.header, got, o.Size, o.ContentRange, err)
		}
	}
	_, err := s.Open(t.Context(), "k", "bytes=10-")
	var outside *blob.RangeError
	if !errors.Is(err, blob.ErrRange) || !errors.As(err, &outside) || outside.Total != 10 || blob.Unavailable(err) {
		t.Errorf("a range outside: %v", err)
	}
}

func TestListPagesAndDeletesManyAtOnce(t *testing.T) {
	s := bucket(t)
	const n = 1010
	want := make([]string, n)
	var group errgroup.Group
	group.SetLimit(8)
	for i := range want {
		want[i] = fmt.Sprintf("many/%04d", i)
		group.Go(func() error {
			_, err := s.Put(t.Context(), want[i], []byte{1, 2}, blob.PutOptions{})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	put(t, s, "other/1", nil)
	if got := keys(t, s, "many/"); !slices.Equal(got, want) {
		t.Errorf("%d keys of %d, in order %t", len(got), n, slices.IsSorted(got))
	}
	for info, err := range s.List(t.Context(), "many/000") {
		if err != nil || info.Size != 2 || info.ETag == "" || info.ModTime.IsZero() {
			t.Errorf("%+v, %v", info, err)
		}
		break // must not go on
	}
	if err := s.Delete(t.Context(), append(want, "many/none")...); err != nil {
		t.Fatal(err)
	}
	if got := keys(t, s, ""); !slices.Equal(got, []string{"other/1"}) {
		t.Errorf("after the delete: %d keys", len(got))
	}
	if err := s.Delete(t.Context()); err != nil {
		t.Errorf("of no key: %v", err)
	}
}

func TestListOfNothingAndOfNoBucket(t *testing.T) {
	g, s := gateway(t)
	if got := keys(t, s, "none/"); got != nil {
		t.Error(got)
	}
	missing, err := blob.Open(t.Context(), over(g.Config("missing")))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = missing.Close() }()
	seen := 0
	for _, err := range missing.List(t.Context(), "") {
		if seen++; err == nil || blob.Unavailable(err) || errors.Is(err, blob.ErrNotFound) {
			t.Errorf("no bucket: %v", err)
		}
	}
	if seen != 1 {
		t.Errorf("%d results", seen)
	}
}

func ExampleStore_PutStream() {
	ctx := context.Background()
	s, err := blob.Open(ctx, blob.Config{Bucket: "photos", Endpoint: "http://127.0.0.1:1", AccessKey: "a", SecretKey: "s"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = s.Close() }()
	photo := bytes.NewReader([]byte("…"))
	if err := s.PutStream(ctx, "incoming/1", photo, photo.Size()); blob.Unavailable(err) {
		fmt.Println("S3 is away: answer 503, with Retry-After")
	}
	// Output: S3 is away: answer 503, with Retry-After
}
