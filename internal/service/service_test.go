package service_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"darkroom/internal/service"
)

func engine(checks ...service.Check) *gin.Engine {
	return service.NewEngine("test", slog.New(slog.DiscardHandler), service.NewRegistry(), checks...)
}

func do(h http.Handler, method, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w
}

func TestEveryErrorIsAProblem(t *testing.T) {
	e := engine()
	e.GET("/panics", func(*gin.Context) { panic("on purpose") })
	for _, c := range []struct {
		method, path, slug string
		status             int
	}{
		{"GET", "/nowhere", "not-found", 404},
		{"GET", "/healthz/", "not-found", 404},
		{"POST", "/healthz", "method-not-allowed", 405},
		{"GET", "/panics", "internal", 500},
	} {
		w := do(e, c.method, c.path)
		var p service.Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
			t.Fatalf("%s %s: %v in %q", c.method, c.path, err, w.Body)
		}
		if w.Code != c.status || p.Status != c.status || p.Type != "urn:darkroom:problem:"+c.slug || p.Title == "" {
			t.Errorf("%s %s: status %d, problem %+v", c.method, c.path, w.Code, p)
		}
		if ct := w.Header().Get("Content-Type"); ct != "application/problem+json" {
			t.Errorf("%s %s: content type %q", c.method, c.path, ct)
		}
		if cc := w.Header().Get("Cache-Control"); cc != "no-store" {
			t.Errorf("%s %s: Cache-Control is %q", c.method, c.path, cc)
		}
	}
}

func TestWhatIsAllowedIsSaid(t *testing.T) {
	e := engine()
	e.POST("/things", func(c *gin.Context) { c.Status(http.StatusCreated) })
	for path, want := range map[string]string{"/healthz": "GET, HEAD", "/things": "POST"} {
		if got := do(e, http.MethodPut, path).Header().Get("Allow"); got != want {
			t.Errorf("%s allows %q, want %q", path, got, want)
		}
	}
}

// HEAD is there wherever GET is, says the same and sends no body.
func TestHEADIsAnsweredAsGET(t *testing.T) {
	e := engine(service.Check{Name: "s3", Ping: func(context.Context) error { return errors.New("away") }})
	e.GET("/things/:id", func(c *gin.Context) { c.String(http.StatusTeapot, c.Param("id")) })
	e.POST("/things", func(c *gin.Context) { c.Status(http.StatusCreated) })
	server := httptest.NewServer(e)
	defer server.Close()
	for path, want := range map[string]struct {
		status int
		length int64
	}{
		"/healthz": {200, int64(len(`{"status":"ok"}`))}, "/readyz": {503, -2}, "/metrics": {200, -2}, "/things/seven": {418, 5},
		"/things": {405, -2}, "/nowhere": {404, -2},
	} {
		res, err := http.Head(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		if allow := res.Header.Get("Allow"); (allow != "") != (res.StatusCode == 405) {
			t.Errorf("%s: status %d allows %q", path, res.StatusCode, allow)
		}
		body, err := io.ReadAll(res.Body)
		if res.Body.Close(); err != nil || len(body) > 0 || res.StatusCode != want.status || want.length > -2 && res.ContentLength != want.length {
			t.Errorf("%s: status %d, a length of %d, %q, %v; want %+v", path, res.StatusCode, res.ContentLength, body, err, want)
		}
	}
}

// An answer that a handler could not end must not look as if it were whole.
func TestAPanicCutsWhatWasBegun(t *testing.T) {
	e := engine()
	e.GET("/aborts", func(*gin.Context) { panic(http.ErrAbortHandler) })
	e.GET("/begins-and-aborts", func(c *gin.Context) {
		_, _ = c.Writer.WriteString("half")
		c.Writer.Flush()
		panic(http.ErrAbortHandler)
	})
	e.GET("/begins-and-panics", func(c *gin.Context) {
		_, _ = c.Writer.WriteString("half")
		c.Writer.Flush()
		panic("on purpose")
	})
	s := httptest.NewServer(e)
	defer s.Close()
	for _, path := range []string{"/aborts", "/begins-and-aborts", "/begins-and-panics"} {
		res, err := http.Get(s.URL + path)
		if err != nil {
			continue
		}
		body, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err == nil {
			t.Errorf("%s: %d, %q", path, res.StatusCode, body)
		}
	}
}

func TestReadyNamesWhatIsNotReady(t *testing.T) {
	var broken error
	e := engine(
		service.Check{Name: "kafka", Ping: func(context.Context) error { return broken }},
		service.Check{Name: "s3", Ping: func(context.Context) error { return nil }})
	if w := do(e, "GET", "/readyz"); w.Code != 200 {
		t.Fatalf("ready: %d %s", w.Code, w.Body)
	}
	broken = errors.New("connection refused")
	w := do(e, "GET", "/readyz")
	var got struct {
		NotReady []string          `json:"not_ready"`
		Checks   map[string]string `json:"checks"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if w.Code != 503 || len(got.NotReady) != 1 || got.NotReady[0] != "kafka" || got.Checks["kafka"] != "connection refused" {
		t.Fatalf("not ready: %d %s", w.Code, w.Body)
	}
}

func TestMetricsCountRequestsByRoute(t *testing.T) {
	e := engine()
	do(e, "GET", "/healthz")
	do(e, "GET", "/wrong/1")
	do(e, "GET", "/wrong/2")
	body := do(e, "GET", "/metrics").Body.String()
	for _, want := range []string{
		`darkroom_http_request_seconds_count{method="GET",route="/healthz",service="test",status="200"} 1`,
		`darkroom_http_request_seconds_count{method="GET",route="unknown",service="test",status="404"} 2`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in the metrics", want)
		}
	}
}

func TestServeEndsWithItsContext(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- service.Serve(ctx, l, engine()) }()
	r, err := http.Get("http://" + l.Addr().String() + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the server did not end")
	}
	if _, err := net.DialTimeout("tcp", l.Addr().String(), time.Second); err == nil {
		t.Fatal("the server still accepts")
	}
}
