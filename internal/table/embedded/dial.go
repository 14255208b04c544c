package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/rpc"
	"sync"
	"time"

	"darkroom/internal/table"
)

const (
	dialTimeout = 2 * time.Second
	callTries   = 5 // with pauses that double: a server may be starting again
	callPause   = 50 * time.Millisecond
)

// remote is a store in another process.
type remote struct {
	addr string

	mu     sync.Mutex
	client *rpc.Client
	closed bool
}

// Dial returns the store that a server at the address offers. It makes no connection yet. A call that fails because the
// connection broke is made again on a new one: everything that a store does may be done twice.
func Dial(addr string) (table.Store, error) {
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return nil, fmt.Errorf("table store at %q: %w", addr, err)
	}
	return &remote{addr: addr}, nil
}

func (r *remote) connection(ctx context.Context) (*rpc.Client, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, errClosed
	}
	if r.client != nil {
		return r.client, nil
	}
	conn, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "tcp", r.addr)
	if err != nil {
		return nil, fmt.Errorf("reach table store: %w", err)
	}
	r.client = rpc.NewClient(conn)
	return r.client, nil
}

// drop forgets a connection that broke.
func (r *remote) drop(c *rpc.Client) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.client == c {
		r.client = nil
		_ = c.Close() // it is broken
	}
}

func (r *remote) call(ctx context.Context, method string, req any) (*Reply, error) {
	var err error
	for i, pause := 0, callPause; i < callTries; i, pause = i+1, 2*pause {
		var out *Reply
		if out, err = r.callOnce(ctx, method, req); err == nil {
			return out, out.err()
		}
		if ctx.Err() != nil || errors.Is(err, errClosed) || !broken(err) {
			break
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pause):
		}
	}
	return nil, err
}

func (r *remote) callOnce(ctx context.Context, method string, req any) (*Reply, error) {
	c, err := r.connection(ctx)
	if err != nil {
		return nil, err
	}
	out := &Reply{}
	call := c.Go(service+"."+method, req, out, make(chan *rpc.Call, 1))
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-call.Done:
	}
	if broken(call.Error) {
		r.drop(c)
	}
	if call.Error != nil {
		return nil, fmt.Errorf("ask table store: %w", call.Error)
	}
	return out, nil
}

// broken tells a fault of the connection from an answer.
func broken(err error) bool {
	var op net.Error
	return errors.Is(err, rpc.ErrShutdown) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) ||
		errors.As(err, &op)
}

// Apply implements table.Store.
func (r *remote) Apply(ctx context.Context, muts []table.Mutation) error {
	req := &ApplyRequest{make([][]byte, len(muts))}
	for i, m := range muts {
		if err := m.Check(); err != nil {
			return err
		}
		var err error
		if req.Mutations[i], err = m.MarshalBinary(); err != nil {
			return err
		}
	}
	_, err := r.call(ctx, "Apply", req)
	return err
}

// Get implements table.Store.
func (r *remote) Get(ctx context.Context, name string, key table.Row) (table.Row, error) {
	b, err := key.MarshalBinary()
	if err != nil {
		return nil, err
	}
	out, err := r.call(ctx, "Get", &GetRequest{name, b})
	if err != nil {
		return nil, err
	}
	var row table.Row
	return row, row.UnmarshalBinary(out.Rows[0])
}

// Scan implements table.Store. It reads page by page, so rows that are written meanwhile may or may not be in it.
func (r *remote) Scan(ctx context.Context, q table.Query) iter.Seq2[table.Row, error] {
	return func(yield func(table.Row, error) bool) {
		if err := q.Check(); err != nil {
			yield(nil, err)
			return
		}
		t, _ := table.Lookup(q.Table) // Check has found it
		message, err := newQueryMessage(t, q)
		if err != nil {
			yield(nil, err)
			return
		}
		req, left := &ScanRequest{Query: message, MaxBytes: pageBytes}, q.Limit
		for {
			req.MaxRows = pageRows
			if q.Limit > 0 {
				req.MaxRows = min(left, pageRows)
			}
			out, err := r.call(ctx, "Scan", req)
			if err != nil {
				yield(nil, err)
				return
			}
			for _, b := range out.Rows {
				var row table.Row
				if err := row.UnmarshalBinary(b); err != nil {
					yield(nil, fmt.Errorf("read answer of table store: %w", err))
					return
				}
				if !yield(row, nil) {
					return
				}
			}
			left -= len(out.Rows)
			if out.Behind == nil || q.Limit > 0 && left == 0 {
				return
			}
			req.Behind = out.Behind
		}
	}
}

// Ping implements table.Store.
func (r *remote) Ping(ctx context.Context) error {
	_, err := r.call(ctx, "Ping", &GetRequest{})
	return err
}

// Close implements table.Store.
func (r *remote) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed = true; r.client == nil {
		return nil
	}
	if err := r.client.Close(); !errors.Is(err, rpc.ErrShutdown) {
		return err
	}
	return nil
}
