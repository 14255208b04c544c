package local_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"pgregory.net/rapid"

	"darkroom/internal/blob"
	"darkroom/internal/local"
)

// over is how to reach a gateway of this process over a connection: it is called by its other name.
func over(c blob.Config) blob.Config {
	c.Endpoint = strings.Replace(c.Endpoint, "127.0.0.1", "localhost", 1)
	return c
}

func store(t *testing.T, c blob.Config) *blob.Store {
	t.Helper()
	s, err := open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// fresh matches what differs from one answer to the next.
var fresh = regexp.MustCompile(`\(request \w+\)|called|connected`)

// TestS3AnswersACallAsAConnection does the same in two buckets, of which one is reached by calls.
func TestS3AnswersACallAsAConnection(t *testing.T) {
	g, _ := gateway(t, local.S3Options{Dir: t.TempDir()})
	stores := []*blob.Store{store(t, g.Config("called")), store(t, over(g.Config("connected")))}
	ctx := t.Context()
	rapid.Check(t, func(t *rapid.T) {
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			key := rapid.SampledFrom([]string{"a", "b c+d", "e/f", "ü%20"}).Draw(t, "key")
			data := make([]byte, rapid.SampledFrom([]int{0, 1, 700, 300_000}).Draw(t, "size"))
			_, _ = rand.NewChaCha8([32]byte{byte(len(data))}).Read(data)
			does := step(t, key, data)
			var was []string
			for _, s := range stores {
				was = append(was, fresh.ReplaceAllString(does(ctx, s), ""))
			}
			if was[0] != was[1] {
				t.Fatalf("called:    %s\nconnected: %s", was[0], was[1])
			}
		}
	})
}

// step draws what to do with a key, and returns what does it and says what came of it.
func step(t *rapid.T, key string, data []byte) func(context.Context, *blob.Store) string {
	switch rapid.IntRange(0, 7).Draw(t, "step") {
	case 0:
		o := blob.PutOptions{
			IfAbsent: rapid.Bool().Draw(t, "if absent"), ContentType: rapid.SampledFrom([]string{"", "text/plain"}).Draw(t, "type"),
		}
		return func(ctx context.Context, s *blob.Store) string {
			etag, err := s.Put(ctx, key, data, o)
			return fmt.Sprint("put ", etag, err)
		}
	case 1:
		return func(ctx context.Context, s *blob.Store) string {
			_, err := s.Put(ctx, key, data, blob.PutOptions{IfMatch: `"x"`})
			return fmt.Sprint("replace ", err)
		}
	case 2:
		size := rapid.SampledFrom([]int64{int64(len(data)), -1, 500}).Draw(t, "declared")
		return func(ctx context.Context, s *blob.Store) string {
			return fmt.Sprint("stream ", s.PutStream(ctx, key, bytes.NewReader(data), size))
		}
	case 3:
		return func(ctx context.Context, s *blob.Store) string {
			r := io.MultiReader(bytes.NewReader(data), iotest.ErrReader(errors.New("cut")))
			return fmt.Sprint("cut ", s.PutStream(ctx, key, r, int64(len(data)+1)))
		}
	case 4:
		return func(ctx context.Context, s *blob.Store) string {
			return fmt.Sprint("promote ", s.Promote(ctx, key, "promoted", sha256.Sum256(data), "image/png"))
		}
	case 5:
		return func(ctx context.Context, s *blob.Store) string {
			return fmt.Sprint("delete ", s.Delete(ctx, key, "promoted"))
		}
	case 6:
		return func(ctx context.Context, s *blob.Store) string {
			var all []string
			for info, err := range s.List(ctx, "") {
				all = append(all, fmt.Sprint(info.Key, info.Size, info.ETag, err))
			}
			return fmt.Sprint("list ", all)
		}
	}
	span := rapid.SampledFrom([]string{"", "bytes=0-9", "bytes=5-", "bytes=-3", "bytes=900000-"}).Draw(t, "range")
	return func(ctx context.Context, s *blob.Store) string {
		o, err := s.Open(ctx, key, span)
		if err != nil {
			return fmt.Sprint("open ", err)
		}
		all, err := io.ReadAll(o.Body)
		return fmt.Sprint("open ", o.Size, o.ETag, o.ContentType, o.ContentRange, sha256.Sum256(all), err, o.Body.Close())
	}
}

// lying is a reader that says that its bytes have another hash, which nobody can tell who does not hash them.
type lying struct{ io.Reader }

func (lying) SHA256() [sha256.Size]byte { return [sha256.Size]byte{1, 2, 3} }

// What uploads of a known or of an unknown size are, has been hashed on its way in; to do it twice costs a third.
func TestS3HashesNothingThatACallerHashes(t *testing.T) {
	g, _ := gateway(t, local.S3Options{Dir: t.TempDir()})
	for name, c := range map[string]blob.Config{"called": g.Config("photos"), "connected": over(g.Config("photos"))} {
		s := store(t, c)
		for _, size := range []int64{5, -1} {
			if err := s.PutStream(t.Context(), "in", lying{strings.NewReader("photo")}, size); err != nil {
				t.Fatal(err)
			}
			err := s.Promote(t.Context(), "in", "to", lying{}.SHA256(), "image/png")
			if name == "called" && err != nil || name == "connected" && !errors.Is(err, blob.ErrChecksum) {
				t.Errorf("%s, size %d: %v", name, size, err)
			}
			if err := s.Delete(t.Context(), "to"); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestS3IsCalledNoMoreAfterItsEnd has calls under way while the gateway ends, and another take its place.
func TestS3IsCalledNoMoreAfterItsEnd(t *testing.T) {
	dir := t.TempDir()
	for round := range 3 {
		g, s := gateway(t, local.S3Options{Dir: dir})
		var wg sync.WaitGroup
		for n := range 4 {
			wg.Go(func() {
				for i := 0; ; i++ {
					if _, err := s.Put(t.Context(), fmt.Sprintf("%d/%d/%d", round, n, i), []byte("x"), blob.PutOptions{}); err != nil {
						if !blob.Unavailable(err) {
							t.Error(err)
						}
						return
					}
				}
			})
		}
		time.Sleep(50 * time.Millisecond)
		if err := g.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
	}
}

// A caller that is refused before its body is read, has it read by nobody.
func TestS3ReadsNoBodyOfARefusedCall(t *testing.T) {
	g, _ := gateway(t, local.S3Options{Dir: t.TempDir()})
	s, err := blob.Open(t.Context(), g.Config("nothing"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	silent, end := io.Pipe()
	defer end.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := s.PutStream(ctx, "k", silent, 1000); err == nil || !strings.Contains(err.Error(), "NoSuchBucket") {
		t.Error(err)
	}
}

// A call too many is refused at once, whatever its body does.
func TestS3ReadsNoBodyOfACallTooMany(t *testing.T) {
	_, s := gateway(t, local.S3Options{Dir: t.TempDir()})
	silent, end := io.Pipe()
	var calls sync.WaitGroup
	defer calls.Wait()
	defer end.Close()
	for n := range 1024 { // as many as the gateway serves at once
		reads := make(chan struct{})
		r := &telling{Reader: silent, reads: reads}
		calls.Go(func() {
			_ = s.PutStream(t.Context(), fmt.Sprint(n), r, 1000)
			r.tell() // should it have failed before
		})
		<-reads
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := s.PutStream(ctx, "k", silent, 1000); err == nil || !strings.Contains(err.Error(), "SlowDown") {
		t.Error(err)
	}
}

// telling is a reader that tells when it is first read.
type telling struct {
	io.Reader
	once  sync.Once
	reads chan struct{}
}

func (r *telling) tell() { r.once.Do(func() { close(r.reads) }) }

func (r *telling) Read(p []byte) (int, error) {
	r.tell()
	return r.Reader.Read(p)
}

func TestS3EndsAnAnswerWithItsContext(t *testing.T) {
	_, s := gateway(t, local.S3Options{Dir: t.TempDir()})
	if _, err := s.Put(t.Context(), "k", make([]byte, 1<<20), blob.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	o, err := s.Open(ctx, "k", "")
	if err != nil {
		t.Fatal(err)
	}
	defer o.Body.Close()
	if _, err := io.ReadFull(o.Body, make([]byte, 10)); err != nil {
		t.Error(err)
	}
	cancel()
	if n, err := io.Copy(io.Discard, o.Body); !errors.Is(err, context.Canceled) {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// A call whose body never comes holds up neither the gateway's end nor the next one's start.
func TestS3EndsDespiteACallThatWaits(t *testing.T) {
	dir := t.TempDir()
	g, s := gateway(t, local.S3Options{Dir: dir})
	silent, end := io.Pipe()
	put, reads := make(chan error, 1), make(chan struct{})
	go func() { put <- s.PutStream(t.Context(), "k", &telling{Reader: silent, reads: reads}, 1000) }()
	<-reads
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	next, err := local.StartS3(t.Context(), local.S3Options{Dir: dir})
	if err != nil {
		t.Error(err)
	} else {
		defer next.Close()
	}
	end.Close()
	if err := <-put; err == nil {
		t.Error("a body that was cut was stored")
	}
}

// A connection on which nothing comes delays the gateway's end, but lets no call in after Close.
func TestS3TakesNoCallAfterClose(t *testing.T) {
	g, s := gateway(t, local.S3Options{Dir: t.TempDir()})
	conn, err := net.Dial("tcp", strings.TrimPrefix(g.Config("").Endpoint, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	time.Sleep(50 * time.Millisecond) // until it is accepted
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	if _, err := s.Put(t.Context(), "k", nil, blob.PutOptions{}); !blob.Unavailable(err) {
		t.Error(err)
	}
}
