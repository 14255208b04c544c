package embedded

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/rpc"
	"sync"
	"time"

	"darkroom/internal/table"
)

// A call that finds no server, or loses it, is made again for retryFor, with pauses that double.
const (
	dialTimeout = 2 * time.Second
	retryFor    = 10 * time.Second
	firstPause  = 20 * time.Millisecond
	longPause   = 500 * time.Millisecond
)

// callTimeout is how long a call waits for its answer. It is far more than any takes, also on a slow disk: a server that
// is silent for as long hangs, or is gone without a word, which TCP would notice much later. Tests lower it.
var callTimeout = 30 * time.Second

// applyBytes is about how large a message with mutations gets; longer batches are sent in several, one after the other.
const applyBytes = 4 << 20

// remote is a store in another process.
type remote struct {
	addr string

	mu     sync.Mutex
	client *rpc.Client // nil: none is connected
	closed bool
}

// Dial returns the store that Serve offers at the address, host:port. It connects at the first call, not before. Calls
// share one connection and do not wait for each other. A call whose connection breaks is made again on a new one, for
// ten seconds, so that a server may restart: whatever a store does may be done twice. Ping alone is tried only once. A
// server that does not answer for half a minute counts as gone.
func Dial(addr string) (table.Store, error) {
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return nil, fmt.Errorf("dial table store at %q: %w", addr, err)
	}
	return &remote{addr: addr}, nil
}

// Apply implements table.Store.
func (r *remote) Apply(ctx context.Context, muts []table.Mutation) error {
	encoded := make([][]byte, len(muts))
	for i, m := range muts {
		err := m.Check()
		if err == nil {
			encoded[i], err = m.MarshalBinary()
		}
		if err != nil {
			return fmt.Errorf("apply mutation %d of %d: %w", i+1, len(muts), err)
		}
	}
	for start := 0; start < len(encoded) || start == 0; {
		end, size := start, 0
		for end < len(encoded) && size < applyBytes {
			size += len(encoded[end])
			end++
		}
		if _, err := r.call(ctx, "Apply", &ApplyRequest{encoded[start:end]}); err != nil {
			return err
		}
		if start = end; len(encoded) == 0 {
			break
		}
	}
	return nil
}

// Get implements table.Store.
func (r *remote) Get(ctx context.Context, name string, key table.Row) (table.Row, error) {
	b, err := key.MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("get row of %s: %w: %w", name, table.ErrInvalid, err)
	}
	out, err := r.call(ctx, "Get", &GetRequest{name, b})
	if err != nil {
		return nil, err
	}
	rows, err := out.rows()
	if err != nil || len(rows) != 1 {
		return nil, fmt.Errorf("get row of %s: the server answers %d rows: %w", name, len(rows), err)
	}
	return rows[0], nil
}

// Scan implements table.Store. Like the store's own scan it reads in pages, each of which may come from a server that
// has restarted meanwhile.
func (r *remote) Scan(ctx context.Context, q table.Query) iter.Seq2[table.Row, error] {
	return func(yield func(table.Row, error) bool) {
		if err := q.Check(); err != nil {
			yield(nil, fmt.Errorf("scan: %w", err))
			return
		}
		req, err := newScanRequest(q)
		for left, more := q.Limit, err == nil; more; {
			req.Limit = left
			var rows []table.Row
			if rows, req.From, err = r.page(ctx, req); err != nil {
				break
			}
			for _, row := range rows {
				if !yield(row, nil) {
					return
				}
			}
			left -= len(rows)
			more = req.From != nil && (q.Limit == 0 || left > 0)
			left = max(left, 0)
		}
		if err != nil {
			yield(nil, fmt.Errorf("scan %s: %w", q.Table, err))
		}
	}
}

func (r *remote) page(ctx context.Context, req *ScanRequest) ([]table.Row, []byte, error) {
	out, err := r.call(ctx, "Scan", req)
	if err != nil {
		return nil, nil, err
	}
	rows, err := out.rows()
	return rows, out.Next, err
}

func (r *Reply) rows() ([]table.Row, error) {
	rows := make([]table.Row, len(r.Rows))
	for i, b := range r.Rows {
		if err := rows[i].UnmarshalBinary(b); err != nil {
			return nil, fmt.Errorf("read answer of table store: %w", err)
		}
	}
	return rows, nil
}

// Ping implements table.Store.
func (r *remote) Ping(ctx context.Context) error {
	_, err := r.callOnce(ctx, "Ping", &PingRequest{})
	return err
}

// Close implements table.Store. Calls under way end with ErrClosed.
func (r *remote) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	client := r.client
	r.client, r.closed = nil, true
	if client == nil {
		return nil
	}
	if err := client.Close(); err != nil && !errors.Is(err, rpc.ErrShutdown) {
		return fmt.Errorf("close table store: %w", err)
	}
	return nil
}

// call makes a call until it is answered. The server's ErrClosed counts as no answer: it is about to go.
func (r *remote) call(ctx context.Context, method string, req any) (*Reply, error) {
	deadline := time.Now().Add(retryFor)
	for pause := firstPause; ; pause = min(2*pause, longPause) {
		out, err := r.callOnce(ctx, method, req)
		lost := errors.Is(err, errLost) || (errors.Is(err, ErrClosed) && !r.isClosed())
		if !lost || time.Now().After(deadline) {
			return out, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w; before: %w", ctx.Err(), err)
		case <-time.After(pause):
		}
	}
}

// errLost marks a call that was not answered, since the connection could not be made or broke.
var errLost = errors.New("no connection")

func (r *remote) callOnce(ctx context.Context, method string, req any) (*Reply, error) {
	client, err := r.connection(ctx)
	if err != nil {
		return nil, err
	}
	out := &Reply{}
	done := make(chan *rpc.Call, 1)
	go func() { // Go waits until the server has read what was sent before
		silent := time.AfterFunc(callTimeout, func() { r.drop(client) }) // also when nobody waits for the answer any more
		defer silent.Stop()
		done <- <-client.Go(serviceName+"."+method, req, out, make(chan *rpc.Call, 1)).Done
	}()
	var call *rpc.Call
	select {
	case <-ctx.Done():
		return nil, ctx.Err() // the answer, if it comes, is dropped
	case call = <-done:
	}
	if refused := rpc.ServerError(""); errors.As(call.Error, &refused) {
		return nil, fmt.Errorf("ask table store at %s: %w", r.addr, call.Error)
	}
	if call.Error != nil {
		if r.drop(client) {
			return nil, ErrClosed
		}
		return nil, fmt.Errorf("ask table store at %s: %w: %w", r.addr, errLost, call.Error)
	}
	return out, out.err()
}

// connection returns the connection, or makes it. Of several that are made at once, the first stays.
func (r *remote) connection(ctx context.Context) (*rpc.Client, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r.mu.Lock()
	client, closed := r.client, r.closed
	r.mu.Unlock()
	if closed {
		return nil, ErrClosed
	}
	if client != nil {
		return client, nil
	}
	conn, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "tcp", r.addr)
	if err != nil {
		return nil, fmt.Errorf("reach table store: %w: %w", errLost, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.client != nil {
		_ = conn.Close()
		if r.closed {
			return nil, ErrClosed
		}
		return r.client, nil
	}
	r.client = rpc.NewClient(conn)
	return r.client, nil
}

// drop forgets a connection that broke. It reports whether the store was closed.
func (r *remote) drop(client *rpc.Client) (closed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.client == client {
		r.client = nil
	}
	_ = client.Close() // it is broken
	return r.closed
}

func (r *remote) isClosed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closed
}
