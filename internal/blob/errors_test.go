package blob_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"darkroom/internal/blob"
)

// calls are all that a store can do.
var calls = map[string]func(context.Context, *blob.Store) error{
	"EnsureBucket": func(ctx context.Context, s *blob.Store) error { return s.EnsureBucket(ctx) },
	"Ping":         func(ctx context.Context, s *blob.Store) error { return s.Ping(ctx) },
	"Put": func(ctx context.Context, s *blob.Store) error {
		_, err := s.Put(ctx, "k", []byte("x"), blob.PutOptions{})
		return err
	},
	"Put if absent": func(ctx context.Context, s *blob.Store) error {
		_, err := s.Put(ctx, "k", []byte("x"), blob.PutOptions{IfAbsent: true})
		return err
	},
	"PutStream": func(ctx context.Context, s *blob.Store) error {
		return s.PutStream(ctx, "k", strings.NewReader("x"), 1)
	},
	"PutStream, unknown": func(ctx context.Context, s *blob.Store) error {
		return s.PutStream(ctx, "k", strings.NewReader("x"), -1)
	},
	"PutStream, parts": func(ctx context.Context, s *blob.Store) error {
		return s.PutStream(ctx, "k", bytes.NewReader(make([]byte, part+1)), -1)
	},
	"Promote": func(ctx context.Context, s *blob.Store) error {
		return s.Promote(ctx, "k", "t", [32]byte{}, "image/png")
	},
	"Get": func(ctx context.Context, s *blob.Store) error {
		_, _, err := s.Get(ctx, "k")
		return err
	},
	"Open": func(ctx context.Context, s *blob.Store) error {
		_, err := s.Open(ctx, "k", "")
		return err
	},
	"Stat": func(ctx context.Context, s *blob.Store) error {
		_, err := s.Stat(ctx, "k")
		return err
	},
	"AbortUploads":  func(ctx context.Context, s *blob.Store) error { return s.AbortUploads(ctx, "", 0) },
	"Delete":        func(ctx context.Context, s *blob.Store) error { return s.Delete(ctx, "k") },
	"Delete of two": func(ctx context.Context, s *blob.Store) error { return s.Delete(ctx, "k", "l") },
	"List": func(ctx context.Context, s *blob.Store) (err error) {
		for _, err = range s.List(ctx, "") {
		}
		return err
	},
}

// each runs every call, side by side, and checks its error.
func each(t *testing.T, ctx context.Context, s *blob.Store, as func(error) bool) {
	t.Helper()
	var wg sync.WaitGroup
	for name, call := range calls {
		wg.Go(func() {
			if err := call(ctx, s); err == nil || !as(err) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	wg.Wait()
}

// TestErrorsAreBrief has them say what happened, and not what the SDK calls it.
func TestErrorsAreBrief(t *testing.T) {
	g, _ := gateway(t)
	wrong, gone := over(g.Config("photos")), over(g.Config("photos"))
	wrong.SecretKey, gone.Endpoint = "wrong", "http://127.0.0.1:1"
	for want, c := range map[string]blob.Config{
		"open k: S3 answers 403 SignatureDoesNotMatch: ":                        wrong,
		`open k: Get "http://127.0.0.1:1/photos/k?x-id=GetObject": dial tcp 12`: gone,
	} {
		s, err := blob.Open(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if _, _, err := s.Get(t.Context(), "k"); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("it says %v, want %s", err, want)
		}
	}
}

func TestUnavailableWhenTheGatewayIsStopped(t *testing.T) {
	g, s := gateway(t)
	put(t, s, "k", []byte("x"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	each(t, t.Context(), s, blob.Unavailable)
}

func TestNotUnavailableWhenTheCallerCancels(t *testing.T) {
	s := bucket(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	each(t, ctx, s, func(err error) bool { return errors.Is(err, context.Canceled) && !blob.Unavailable(err) })
}

// fake is an S3 that answers as it is told.
func fake(t *testing.T, answer http.HandlerFunc) *blob.Store {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	s, err := blob.Open(t.Context(), blob.Config{Endpoint: server.URL, Bucket: "b", AccessKey: "a", SecretKey: "s"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code><Message>on purpose</Message></Error>", code)
}

func TestUnavailableByAnswer(t *testing.T) {
	for _, c := range []struct {
		status int
		code   string
		want   bool
	}{
		{503, "SlowDown", true}, {500, "InternalError", true}, {503, "ServiceUnavailable", true},
		{429, "TooManyRequests", true},
		{403, "AccessDenied", false}, {404, "NoSuchBucket", false}, {400, "InvalidArgument", false},
	} {
		s := fake(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			refuse(w, c.status, c.code)
		})
		err := s.PutStream(t.Context(), "k", strings.NewReader("x"), 1)
		if err == nil || blob.Unavailable(err) != c.want || errors.Is(err, blob.ErrNotFound) {
			t.Errorf("%d %s: %v", c.status, c.code, err)
		}
	}
}

func TestUnavailableWhenNoAnswerComesInTime(t *testing.T) {
	held := make(chan struct{})
	s := fake(t, func(http.ResponseWriter, *http.Request) { <-held })
	defer close(held)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := s.Stat(ctx, "k"); !blob.Unavailable(err) {
		t.Error(err)
	}
}

func TestUnavailableWhenABodyIsCut(t *testing.T) {
	s := fake(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "half")
	})
	if _, _, err := s.Get(t.Context(), "k"); !blob.Unavailable(err) || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
}

// The headers come, or not even they, and then nothing more.
func TestUnavailableWhenAnAnswerStalls(t *testing.T) {
	t.Cleanup(blob.SetCallTimeout(50 * time.Millisecond))
	var headers atomic.Bool
	held := make(chan struct{})
	s := fake(t, func(w http.ResponseWriter, _ *http.Request) {
		if headers.Load() {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "half")
			w.(http.Flusher).Flush()
		}
		<-held
	})
	defer close(held)
	for _, name := range []string{"Get", "List", "Stat", "Ping", "EnsureBucket"} {
		for _, with := range []bool{false, true} {
			if headers.Store(with); with && name != "Get" && name != "List" {
				continue // a HEAD is its headers
			}
			ended := make(chan error, 1)
			go func() { ended <- calls[name](t.Context(), s) }()
			select {
			case err := <-ended:
				if !blob.Unavailable(err) {
					t.Errorf("%s, with headers %t: %v", name, with, err)
				}
			case <-time.After(2 * time.Second):
				t.Errorf("%s, with headers %t, does not end", name, with)
			}
		}
	}
}

func TestRetries(t *testing.T) {
	var tries atomic.Int32
	failures := func(n int32, answer func(w http.ResponseWriter)) http.HandlerFunc {
		tries.Store(0)
		return func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			if tries.Add(1) <= n {
				answer(w)
			}
		}
	}
	cut := func(http.ResponseWriter) { panic(http.ErrAbortHandler) }
	busy := func(w http.ResponseWriter) { refuse(w, 503, "SlowDown") }
	conflict := func(w http.ResponseWriter) { refuse(w, 409, "ConditionalRequestConflict") }
	absent := blob.PutOptions{IfAbsent: true}
	put := func(o blob.PutOptions) func(*blob.Store) error {
		return func(s *blob.Store) error {
			_, err := s.Put(t.Context(), "k", []byte("x"), o)
			return err
		}
	}
	stream := func(s *blob.Store) error { return s.PutStream(t.Context(), "k", strings.NewReader("x"), 1) }
	for _, c := range []struct {
		name   string
		server http.HandlerFunc
		call   func(*blob.Store) error
		ok     bool
		tries  int32
	}{
		{"a put is repeated", failures(1, busy), put(blob.PutOptions{}), true, 2},
		{"a put is given up", failures(9, busy), put(blob.PutOptions{}), false, 3},
		{"a put whose answer was lost is repeated", failures(1, cut), put(blob.PutOptions{}), true, 2},
		{"with a condition it is not: it may have been applied", failures(1, cut), put(absent), false, 1},
		{"one that was not applied is repeated", failures(1, busy), put(absent), true, 2},
		{"so is one that met another", failures(1, conflict), put(absent), true, 2},
		{"a stream is not repeated", failures(1, busy), stream, false, 1},
	} {
		tries.Store(0)
		err := c.call(fake(t, c.server))
		if (err == nil) != c.ok || tries.Load() != c.tries || !c.ok && !blob.Unavailable(err) {
			t.Errorf("%s: %v after %d tries, want %d", c.name, err, tries.Load(), c.tries)
		}
	}
}

// A server that computes no SHA-256, or another, is not believed.
func TestPromoteByAServerWithoutChecksums(t *testing.T) {
	var deleted atomic.Int32
	s := fake(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodHead:
			w.WriteHeader(http.StatusNotFound)
		case http.MethodPut:
			_, _ = fmt.Fprint(w, `<CopyObjectResult><ETag>"e"</ETag></CopyObjectResult>`)
		case http.MethodDelete:
			if r.Header.Get("If-Match") != `"e"` {
				t.Error("the copy was removed without a look at who made it")
			}
			deleted.Add(1)
			w.WriteHeader(http.StatusNoContent)
		}
	})
	err := s.Promote(t.Context(), "from", "to", [32]byte{}, "image/png")
	if !errors.Is(err, blob.ErrChecksum) || deleted.Load() != 1 {
		t.Errorf("%v, %d deletes", err, deleted.Load())
	}
}

// A target that is there counts by its checksum: the same is success, and another is replaced.
func TestPromoteMeetsAnother(t *testing.T) {
	const sum = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	for there, copies := range map[string]int32{sum: 0, "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=": 1} {
		var copied atomic.Int32
		s := fake(t, func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.Method == http.MethodPut && r.Header.Get("If-None-Match") == "*":
				refuse(w, 412, "PreconditionFailed")
			case r.Method == http.MethodPut:
				copied.Add(1)
				_, _ = fmt.Fprintf(w, `<CopyObjectResult><ChecksumSHA256>%s</ChecksumSHA256></CopyObjectResult>`, sum)
			default:
				w.Header().Set("X-Amz-Checksum-Sha256", there)
			}
		})
		if err := s.Promote(t.Context(), "from", "to", [32]byte{}, "image/png"); err != nil || copied.Load() != copies {
			t.Errorf("%s: %v, %d copies, want %d", there, err, copied.Load(), copies)
		}
	}
}

func TestRangeErrorFromTheAnswer(t *testing.T) {
	s := fake(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			t.Error("the size was in the answer")
		}
		w.Header().Set("Content-Range", "bytes */1234")
		refuse(w, 416, "InvalidRange")
	})
	_, err := s.Open(t.Context(), "k", "bytes=2000-")
	var outside *blob.RangeError
	if !errors.As(err, &outside) || outside.Total != 1234 {
		t.Error(err)
	}
}
