package embedded

import (
	"context"
	"errors"
	"net"
	"net/rpc"
	"sync"

	"darkroom/internal/table"
)

const (
	pageRows  = 500
	pageBytes = 1 << 20
	service   = "Table"
)

// server offers a store to other processes, by net/rpc.
type server struct{ store *Store }

// The messages, exported for net/rpc only. Mutations and rows are in their own binary form.
type (
	ApplyRequest struct{ Mutations [][]byte }
	GetRequest   struct {
		Table string
		Key   []byte
	}
	ScanRequest struct {
		Query    QueryMessage
		Behind   []byte // key of the last row of the page before
		MaxRows  int
		MaxBytes int
	}
	QueryMessage struct {
		Table        string
		Whole        bool // no partition
		Partition    []byte
		From, To     []byte // rows with the bound's values under their clustering columns' names
		NoFrom, NoTo bool
	}
	Reply struct {
		Rows    [][]byte
		Behind  []byte // of the last row, when there may be more
		Missing bool   // table.ErrNotFound
		Invalid string // table.ErrInvalid, and what
		Failed  string // any other error
	}
)

// Serve answers on the listener until ctx ends. It does not close the store.
func Serve(ctx context.Context, l net.Listener, s *Store) error {
	srv := rpc.NewServer()
	if err := srv.RegisterName(service, &server{s}); err != nil {
		return err
	}
	var mu sync.Mutex
	conns := map[net.Conn]bool{}
	stop := context.AfterFunc(ctx, func() {
		l.Close()
		mu.Lock()
		defer mu.Unlock()
		for c := range conns {
			c.Close()
		}
	})
	defer stop()
	var running sync.WaitGroup
	defer running.Wait()
	for {
		conn, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil && errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		mu.Lock()
		conns[conn] = true
		mu.Unlock()
		if ctx.Err() != nil {
			conn.Close()
		}
		running.Go(func() {
			srv.ServeConn(conn)
			mu.Lock()
			delete(conns, conn)
			mu.Unlock()
		})
	}
}

// The methods below are net/rpc's: exported, with a request, a reply and an error that only a broken message gives.

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
	q, err := req.Query.query()
	if err != nil {
		return err
	}
	size := 0
	for r, err := range s.store.scan(context.Background(), q, req.Behind) {
		if err == nil {
			err = out.add(r.row)
		}
		if err != nil {
			out.fail(err)
			return nil
		}
		size += len(out.Rows[len(out.Rows)-1])
		if len(out.Rows) >= req.MaxRows || size >= req.MaxBytes {
			out.Behind = r.key
			return nil
		}
	}
	return nil
}

// Ping answers.
func (s *server) Ping(_ *GetRequest, out *Reply) error {
	out.fail(s.store.Ping(context.Background()))
	return nil
}

func (r *Reply) add(row table.Row) error {
	b, err := row.MarshalBinary()
	r.Rows = append(r.Rows, b)
	return err
}

func (r *Reply) fail(err error) {
	switch {
	case err == nil:
	case errors.Is(err, table.ErrNotFound):
		r.Missing = true
	case errors.Is(err, table.ErrInvalid):
		r.Invalid = err.Error()
	default:
		r.Failed = err.Error()
	}
}

// remoteInvalid is a table.ErrInvalid with the server's words.
type remoteInvalid string

func (e remoteInvalid) Error() string        { return string(e) }
func (e remoteInvalid) Is(target error) bool { return target == table.ErrInvalid }

func (r *Reply) err() error {
	switch {
	case r.Missing:
		return table.ErrNotFound
	case r.Invalid != "":
		return remoteInvalid(r.Invalid)
	case r.Failed != "":
		return errors.New(r.Failed)
	}
	return nil
}

func newQueryMessage(t table.Table, q table.Query) (m QueryMessage, err error) {
	m = QueryMessage{Table: q.Table, Whole: q.Partition == nil, NoFrom: q.From == nil, NoTo: q.To == nil}
	var errs [3]error
	m.Partition, errs[0] = q.Partition.MarshalBinary()
	m.From, errs[1] = prefixRow(t, q.From).MarshalBinary()
	m.To, errs[2] = prefixRow(t, q.To).MarshalBinary()
	return m, errors.Join(errs[:]...)
}

func prefixRow(t table.Table, prefix []any) table.Row {
	row := table.Row{}
	for i, v := range prefix {
		row[t.Clustering[i].Name] = v
	}
	return row
}

func (m QueryMessage) query() (table.Query, error) {
	q := table.Query{Table: m.Table}
	var rows [3]table.Row
	for i, b := range [][]byte{m.Partition, m.From, m.To} {
		if err := rows[i].UnmarshalBinary(b); err != nil {
			return q, err
		}
	}
	if !m.Whole {
		q.Partition = rows[0]
	}
	t, _ := table.Lookup(m.Table) // Scan checks it
	if !m.NoFrom {
		q.From = prefixOf(t, rows[1])
	}
	if !m.NoTo {
		q.To = prefixOf(t, rows[2])
	}
	return q, nil
}

func prefixOf(t table.Table, row table.Row) []any {
	prefix := []any{}
	for _, c := range t.Clustering {
		if v, ok := row[c.Name]; ok {
			prefix = append(prefix, v)
		}
	}
	return prefix
}
