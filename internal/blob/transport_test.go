package blob_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"testing"

	"darkroom/internal/blob"
)

type server func(*http.Request) (*http.Response, error)

func (s server) RoundTrip(r *http.Request) (*http.Response, error) { return s(r) }

// known is a reader that knows its hash before it has been read, which only a test can.
type known struct{ io.Reader }

func (known) SHA256() [sha256.Size]byte { return [sha256.Size]byte{1} }

func TestAServerOfThisProcessIsCalled(t *testing.T) {
	const endpoint = "http://127.0.0.1:1" // where nobody listens
	s, err := blob.Open(t.Context(), blob.Config{Endpoint: endpoint, Bucket: "b", AccessKey: "a", SecretKey: "s"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var hashes, calls int
	end := blob.InProcess(endpoint, server(func(r *http.Request) (*http.Response, error) {
		calls++
		if h := blob.HashOf(r.Context()); h != nil && h.SHA256() == [sha256.Size]byte{1} {
			hashes++
		}
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return nil, err
		}
		return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
	}))
	for _, size := range []int64{3, -1} {
		if err := s.PutStream(t.Context(), "k", known{bytes.NewReader([]byte("abc"))}, size); err != nil {
			t.Errorf("size %d: %v", size, err)
		}
		if err := s.PutStream(t.Context(), "k", bytes.NewReader([]byte("abc")), size); err != nil {
			t.Errorf("size %d: %v", size, err)
		}
	}
	if calls != 4 || hashes != 2 {
		t.Errorf("%d calls, %d with a hash", calls, hashes)
	}
	end()
	if err := s.PutStream(t.Context(), "k", bytes.NewReader([]byte("abc")), 3); !blob.Unavailable(err) || calls != 4 {
		t.Errorf("after its end: %v", err)
	}
}

func TestACallThatFailsIsAnErrorOfTheWay(t *testing.T) {
	const endpoint = "http://127.0.0.1:2"
	s, err := blob.Open(t.Context(), blob.Config{Endpoint: endpoint, Bucket: "b", AccessKey: "a", SecretKey: "s"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	failed := errors.New("failed")
	defer blob.InProcess(endpoint, server(func(*http.Request) (*http.Response, error) { return nil, failed }))()
	if _, err := s.Put(context.Background(), "k", nil, blob.PutOptions{}); !blob.Unavailable(err) || !errors.Is(err, failed) {
		t.Error(err)
	}
}
