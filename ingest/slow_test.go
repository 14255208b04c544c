package ingest_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"darkroom/internal/service"
)

// really serves as the command does, and not as httptest.
func (r *rig) really() *server {
	r.t.Helper()
	svc, _ := r.service()
	l, err := (&net.ListenConfig{}).Listen(r.t.Context(), "tcp", "127.0.0.1:0")
	must(r.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- service.Serve(ctx, l, svc.Handler()) }()
	r.t.Cleanup(func() {
		cancel()
		must(r.t, <-ended)
		must(r.t, svc.Close())
	})
	return &server{rig: r, url: "http://" + l.Addr().String()}
}

// TestASlowButSteadyClientIsNotCut takes a little, ten times in each StallAfter, which is long enough for a busy machine
// not to be what makes the client slow.
func TestASlowButSteadyClientIsNotCut(t *testing.T) {
	r := newRig(t)
	r.cfg.StallAfter = 2 * time.Second
	s := r.really()
	const size, piece = 12 << 20, 16 << 10
	img := s.post(big(1, size)).upload(t)
	conn, err := net.Dial("tcp", s.url[len("http://"):])
	must(t, err)
	defer conn.Close()
	must(t, conn.(*net.TCPConn).SetReadBuffer(64<<10))
	_, err = fmt.Fprintf(conn, "GET /v1/images/%s/content HTTP/1.1\r\nHost: x\r\n\r\n", img.ID)
	must(t, err)
	res, err := http.ReadResponse(bufio.NewReaderSize(conn, 4096), nil)
	must(t, err)
	defer res.Body.Close()
	total := int64(0)
	for begun := time.Now(); time.Since(begun) < 6*time.Second; time.Sleep(200 * time.Millisecond) {
		n, err := io.CopyN(io.Discard, res.Body, piece)
		if total += n; err != nil {
			t.Fatalf("after %v and %d bytes: %v", time.Since(begun), total, err)
		}
	}
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		t.Error("the rest:", err)
	}
}

func TestAClientThatTakesNothingIsCut(t *testing.T) {
	r := newRig(t)
	r.cfg.StallAfter = 200 * time.Millisecond
	s := r.really()
	img := s.post(big(1, 12<<20)).upload(t)
	conn, err := net.Dial("tcp", s.url[len("http://"):])
	must(t, err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "GET /v1/images/%s/content HTTP/1.1\r\nHost: x\r\n\r\n", img.ID)
	must(t, err)
	eventually(t, func() error {
		if n := s.metric(`darkroom_http_requests_in_flight{service="ingest"}`); n != 1 { // that for the metrics
			return fmt.Errorf("%v requests in flight", n)
		}
		return nil
	})
}

func BenchmarkDownload(b *testing.B) {
	s := newRig(b).really()
	const size = 64 << 20
	img := s.post(big(1, size)).upload(b)
	b.SetBytes(size)
	for b.Loop() {
		res, err := http.Get(s.url + "/v1/images/" + img.ID + "/content")
		must(b, err)
		n, err := io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if n != size || err != nil {
			b.Fatal(n, err)
		}
	}
}
