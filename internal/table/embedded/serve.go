package embedded

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/rpc"
	"sync"

	"darkroom/internal/patient"
	"darkroom/internal/table"
)

// server offers a store to other processes over net/rpc. Its methods have that package's form: exported, with a request,
// a reply, and an error for a message that cannot be read.
type server struct{ store *Store }

// Serve answers what Dial's stores ask, on the listener, until ctx ends; then it closes the listener and the connections,
// waits for the calls under way, and returns nil. It does not close the store. There is no authentication: listen where
// only the system itself can connect.
func Serve(ctx context.Context, l net.Listener, s *Store) error {
	srv := rpc.NewServer()
	if err := srv.RegisterName(serviceName, &server{s}); err != nil {
		return fmt.Errorf("serve table store: %w", err)
	}
	conns := &connections{open: map[net.Conn]bool{}}
	stop := context.AfterFunc(ctx, func() {
		_ = l.Close() // Accept tells
		conns.closeAll()
	})
	defer stop()
	var running sync.WaitGroup
	defer running.Wait()
	for accepting := (patient.Listener{Listener: l}); ; {
		conn, err := accepting.Accept()
		if err != nil {
			conns.closeAll()
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("serve table store: %w", err)
		}
		if !conns.add(conn) {
			continue
		}
		running.Go(func() {
			srv.ServeConn(conn) // returns when the connection is closed and its calls have ended
			conns.remove(conn)
		})
	}
}

// connections are those that are open, so that they can all be closed.
type connections struct {
	mu     sync.Mutex
	open   map[net.Conn]bool
	closed bool
}

// add reports false, and closes the connection, after closeAll.
func (c *connections) add(conn net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		_ = conn.Close()
		return false
	}
	c.open[conn] = true
	return true
}

func (c *connections) remove(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, conn)
}

func (c *connections) closeAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for conn := range c.open {
		_ = conn.Close()
	}
}

// Apply applies mutations.
func (s *server) Apply(req *ApplyRequest, out *Reply) error {
	muts := make([]table.Mutation, len(req.Mutations))
	for i, b := range req.Mutations {
		if err := muts[i].UnmarshalBinary(b); err != nil {
			return err
		}
	}
	out.fail(s.store.Apply(context.Background(), muts))
	return nil
}

// Get reads a row.
func (s *server) Get(req *GetRequest, out *Reply) error {
	var key table.Row
	if err := key.UnmarshalBinary(req.Key); err != nil {
		return err
	}
	row, err := s.store.Get(context.Background(), req.Table, key)
	if err == nil {
		err = out.add(row)
	}
	out.fail(err)
	return nil
}

// Scan reads a page of rows.
func (s *server) Scan(req *ScanRequest, out *Reply) error {
	q, err := req.query()
	if err == nil {
		err = q.Check()
	}
	if err != nil {
		out.fail(err)
		return nil
	}
	t, _ := table.Lookup(q.Table) // Check has found it
	sp := spanOf(t, q)
	if req.From != nil {
		sp.lower = req.From
	}
	rows, next, err := s.store.page(context.Background(), t, sp, req.Limit)
	for _, row := range rows {
		if err == nil {
			err = out.add(row)
		}
	}
	out.Next = next
	out.fail(err)
	return nil
}

// Ping answers.
func (s *server) Ping(_ *PingRequest, out *Reply) error {
	out.fail(s.store.Ping(context.Background()))
	return nil
}

func (r *Reply) add(row table.Row) error {
	b, err := row.MarshalBinary()
	r.Rows = append(r.Rows, b)
	return err
}

func (r *Reply) fail(err error) {
	if err == nil {
		return
	}
	r.Rows, r.Next, r.Message = nil, nil, err.Error()
	switch {
	case errors.Is(err, table.ErrNotFound):
		r.Code = codeNotFound
	case errors.Is(err, table.ErrInvalid):
		r.Code = codeInvalid
	case errors.Is(err, ErrClosed):
		r.Code = codeClosed
	default:
		r.Code = codeFailed
	}
}
