package local

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/gofiber/fiber/v3"
	"github.com/valyala/fasthttp"

	"darkroom/internal/blob"
)

// calls gives the requests of this process's own clients to the gateway's handler, without a connection. The handler
// shows itself to the gateway's middleware, with the first request.
type calls struct {
	endpoint string
	shown    sync.Once
	handler  fasthttp.RequestHandler
	leave    func()
	refused  sync.Once
	underway sync.RWMutex  // held for reading by each call, and for good by refuse
	over     chan struct{} // closed when calls are refused and none is under way
	late     <-chan time.Time
}

func newCalls(endpoint string) *calls {
	return &calls{endpoint: endpoint, over: make(chan struct{})}
}

// begin has the gateway show its handler: it asks for something, over a connection. Should that fail, which it does
// when nobody can connect, all go on to try so.
func (c *calls) begin(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, showTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodHead, c.endpoint, nil)
	if err != nil {
		return
	}
	alone := &http.Transport{DisableKeepAlives: true}
	if res, err := alone.RoundTrip(r); err == nil {
		_ = res.Body.Close()
	}
}

const showTimeout = 5 * time.Second

// middleware takes part in every request.
func (c *calls) middleware(ctx fiber.Ctx) error {
	c.shown.Do(func() {
		c.handler = ctx.App().Server().Handler
		c.leave = blob.InProcess(c.endpoint, c)
	})
	if b, ok := ctx.Request().BodyStream().(*body); ok {
		b.Reader = b.of.Body
		defer func() { b.Reader = http.NoBody }()
	}
	return ctx.Next()
}

// refuse lets no more calls begin.
func (c *calls) refuse() {
	c.refused.Do(func() {
		c.shown.Do(func() { c.leave = func() {} })
		c.leave()
		c.late = time.After(callPatience)
		go func() {
			c.underway.Lock()
			close(c.over)
		}()
	})
}

// end lets no more calls begin, and waits for those that are under way, but not as long as a slow body may take.
func (c *calls) end() {
	c.refuse()
	select {
	case <-c.over:
	case <-c.late:
	}
}

const callPatience = 2 * time.Second

// body is a call's body. It is closed by who called. It is empty but within the middleware: what is left unread, and all
// of a call too many or of one that panics, the gateway would read, to keep a connection in use.
type body struct {
	io.Reader
	of *http.Request
}

// RoundTrip implements http.RoundTripper.
func (c *calls) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		defer r.Body.Close()
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	if !c.underway.TryRLock() {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED} // as a connection would be
	}
	defer c.underway.RUnlock()
	ctx := new(fasthttp.RequestCtx)
	ctx.Init2(nil, nil, false)
	request(ctx, r)
	c.handler(ctx)
	return response(&ctx.Response, r), nil
}

// request makes the gateway's request of a client's.
func request(ctx *fasthttp.RequestCtx, r *http.Request) {
	to := &ctx.Request
	to.Header.SetMethod(r.Method)
	to.SetRequestURI(r.URL.RequestURI())
	for name, values := range r.Header {
		if name == "Expect" { // which asks the connection
			continue
		}
		for _, v := range values {
			to.Header.Add(name, v)
		}
	}
	host := r.Host
	if host == "" {
		host = r.URL.Host
	}
	to.Header.SetHost(host)
	to.Header.SetContentLength(int(r.ContentLength))
	if r.Body != nil && r.Body != http.NoBody {
		to.SetBodyStream(&body{http.NoBody, r}, int(r.ContentLength))
	}
	if h := blob.HashOf(r.Context()); h != nil {
		ctx.SetUserValue(hashKey{}, h)
	}
}

// hashKey is the key of what knows the hash of a call's body.
type hashKey struct{}

// answer is a stream that ends with its request's context, as one over a connection does.
type answer struct {
	io.ReadCloser
	ctx context.Context
}

func (a *answer) Read(p []byte) (int, error) {
	if err := a.ctx.Err(); err != nil {
		return 0, err
	}
	return a.ReadCloser.Read(p)
}

// response makes a client's response of the gateway's.
func response(from *fasthttp.Response, r *http.Request) *http.Response {
	status := from.StatusCode()
	to := &http.Response{
		Request: r, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{},
		StatusCode: status, Status: strconv.Itoa(status) + " " + http.StatusText(status),
		ContentLength: int64(from.Header.ContentLength()), Body: http.NoBody,
	}
	for name, value := range from.Header.All() {
		to.Header.Add(string(name), string(value))
	}
	stream := from.BodyStream()
	switch closer, ok := stream.(io.ReadCloser); {
	case r.Method == http.MethodHead:
		if ok {
			_ = closer.Close()
		}
	case ok:
		to.Body = &answer{closer, r.Context()}
	case stream != nil:
		to.Body = io.NopCloser(stream)
	default:
		to.ContentLength = int64(len(from.Body()))
		to.Body = io.NopCloser(bytes.NewReader(from.Body()))
	}
	return to
}
