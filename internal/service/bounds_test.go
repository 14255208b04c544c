package service_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"darkroom/internal/service"
)

const patience = 200 * time.Millisecond

// serve serves an engine and counts the requests that it is at.
func serve(t *testing.T, e *gin.Engine) (addr string) {
	t.Helper()
	t.Cleanup(service.SetPatience(patience))
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- service.Serve(ctx, l, e) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func dial(t *testing.T, addr, request string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	return conn
}

func TestABodyThatNeverComesHoldsNoConnection(t *testing.T) {
	e := engine()
	for _, method := range []string{"GET", "POST", "DELETE"} {
		e.Handle(method, "/small", func(c *gin.Context) { c.Status(http.StatusNoContent) })
		e.Handle(method, "/large", func(c *gin.Context) { c.String(http.StatusOK, strings.Repeat("x", 10_000)) })
		e.Handle(method, "/refused", func(c *gin.Context) {
			c.Header("Connection", "close")
			c.Status(http.StatusBadRequest)
		})
		e.Handle(method, "/cut", func(*gin.Context) { panic(http.ErrAbortHandler) })
	}
	addr := serve(t, e)
	for _, request := range []string{
		"GET /small HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n",
		"GET /large HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n",
		"DELETE /small HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
		"POST /refused HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n",
		"GET /cut HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n",
	} {
		conn := dial(t, addr, request)
		if err := conn.SetReadDeadline(time.Now().Add(3 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%.30q holds its connection", request)
		}
	}
}

func TestAnAnswerThatNobodyReadsHoldsNoConnection(t *testing.T) {
	e := engine()
	ended := make(chan struct{}, 1)
	e.GET("/large", func(c *gin.Context) {
		c.Data(http.StatusOK, "text/plain", make([]byte, 32<<20))
		ended <- struct{}{}
	})
	dial(t, serve(t, e), "GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
	select {
	case <-ended:
	case <-time.After(3 * time.Second):
		t.Error("the answer holds its connection")
	}
}

// A handler's own time is not the client's, nor are deadlines left for the connection's next request.
func TestPatienceIsWithTheClientAlone(t *testing.T) {
	e := engine()
	e.POST("/slow", func(c *gin.Context) {
		select {
		case <-time.After(2 * patience):
			c.String(http.StatusOK, "%s", strings.Repeat("x", 10_000))
		case <-c.Request.Context().Done():
		}
	})
	e.POST("/streams", func(c *gin.Context) { // sends a little now and then, and its client's body was sent
		for range 6 {
			_, _ = c.Writer.WriteString(strings.Repeat("x", 10_000))
			c.Writer.Flush()
			time.Sleep(patience / 2)
		}
		if err := c.Request.Context().Err(); err != nil {
			t.Error("the request was ended:", err)
		}
	})
	e.POST("/reads", func(c *gin.Context) { // with a deadline of its own
		conn := http.NewResponseController(c.Writer)
		if err := conn.SetReadDeadline(time.Now().Add(10 * patience)); err != nil {
			t.Error(err)
		}
		_, _ = c.Writer.WriteString("begun")
		n, err := io.Copy(io.Discard, c.Request.Body)
		if n != 4 || err != nil {
			t.Errorf("%d bytes, %v", n, err)
		}
	})
	conn := dial(t, serve(t, e), "")
	answers := bufio.NewReader(conn)
	ask := func(request string, pause time.Duration, rest string) {
		t.Helper()
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
		time.Sleep(pause)
		if _, err := io.WriteString(conn, rest); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatalf("%.20q: %v", request, err)
		}
		defer res.Body.Close()
		if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != http.StatusOK {
			t.Errorf("%.20q: %d, %v", request, res.StatusCode, err)
		}
	}
	for _, path := range []string{"/slow", "/streams"} {
		ask(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody", path), 0, "")
		ask(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\n\r\n", path), 0, "")
		time.Sleep(2 * patience) // the connection rests
	}
	ask("POST /reads HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n", 2*patience, "body")
}
