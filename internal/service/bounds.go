package service

import (
	"net/http"
	"sync/atomic"
	"time"
)

// patience is how long a client may take over the rest of a body that nobody wanted, and over a piece of its answer.
// Tests lower it.
var patience = 30 * time.Second

// pieceSize is how much of an answer has a deadline of its own: large answers may go to slow clients.
const pieceSize = 32 << 10

// bounded cuts off clients that hold a connection. The clock runs only where the client is waited for: a handler may take
// its time; one that sets deadlines itself has them instead.
func bounded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b := &boundedWriter{ResponseWriter: w, conn: http.NewResponseController(w), body: r.Body != http.NoBody}
		// After the handler, or its panic, net/http sends the end of the answer and reads what is left of the body. Before
		// the connection's next request it takes the deadlines back.
		defer b.extend(true)
		next.ServeHTTP(b, r)
	})
}

type boundedWriter struct {
	http.ResponseWriter
	conn  *http.ResponseController
	body  bool // the request has one
	begun bool // the answer has

	ownRead, ownWrite atomic.Bool // the handler's deadlines count; its goroutines may set them
}

// extend sets the deadlines anew. A connection without deadlines, as a test's, has none.
func (b *boundedWriter) extend(last bool) {
	until := time.Now().Add(patience)
	if !b.ownWrite.Load() {
		_ = b.conn.SetWriteDeadline(until)
	}
	// net/http reads the rest of the body before the answer's header, or at the end. In between it may watch whether the
	// client goes away, and would take this deadline for that.
	if b.body && !b.ownRead.Load() && (last || !b.begun) {
		_ = b.conn.SetReadDeadline(until)
	}
	b.begun = true
}

// Write implements http.ResponseWriter.
func (b *boundedWriter) Write(p []byte) (n int, err error) {
	for {
		piece := p[n:min(len(p), n+pieceSize)]
		b.extend(false)
		k, err := b.ResponseWriter.Write(piece)
		if n += k; err != nil || n == len(p) {
			return n, err
		}
	}
}

// Flush implements http.Flusher, which Gin wants.
func (b *boundedWriter) Flush() {
	b.extend(false)
	_ = b.conn.Flush()
}

// SetReadDeadline is found by http.ResponseController, as SetWriteDeadline is.
func (b *boundedWriter) SetReadDeadline(t time.Time) error {
	b.ownRead.Store(true)
	return b.conn.SetReadDeadline(t)
}

// SetWriteDeadline makes the handler's deadline count.
func (b *boundedWriter) SetWriteDeadline(t time.Time) error {
	b.ownWrite.Store(true)
	return b.conn.SetWriteDeadline(t)
}

// Unwrap lets http.ResponseController find the rest.
func (b *boundedWriter) Unwrap() http.ResponseWriter { return b.ResponseWriter }
