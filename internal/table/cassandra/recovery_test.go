package cassandra_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"

	"darkroom/internal/table"
	"darkroom/internal/table/cassandra"
)

// line is a wire to Cassandra that can be cut. While it is, connections end at once.
type line struct {
	net.Listener
	to    string
	mu    sync.Mutex
	cut   bool
	conns map[net.Conn]bool
}

func newLine(t *testing.T, to string) *line {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &line{Listener: l, to: to, conns: map[net.Conn]bool{}}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go w.carry(conn)
		}
	}()
	t.Cleanup(func() { l.Close(); w.setCut(true) })
	return w
}

func (w *line) carry(a net.Conn) {
	defer a.Close()
	b, err := net.Dial("tcp", w.to)
	if err != nil {
		return
	}
	defer b.Close()
	w.mu.Lock()
	cut := w.cut
	w.conns[a] = true
	w.mu.Unlock()
	if cut {
		return
	}
	go func() { _, _ = io.Copy(a, b); a.Close() }()
	_, _ = io.Copy(b, a)
}

func (w *line) setCut(cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = cut
	for conn := range w.conns {
		conn.Close()
		delete(w.conns, conn)
	}
}

// A store behind a line to the one node. The driver would connect to the address that the node tells.
func openBehind(t *testing.T, w *line) table.Store {
	t.Helper()
	c := config(t, newKeyspace(t))
	c.Hosts, c.NoHostLookup = []string{w.Addr().String()}, true
	s, err := cassandra.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// Calls go on over a cut of some seconds, and lose nothing.
func TestTheLineIsCut(t *testing.T) {
	w := newLine(t, address(t))
	s := openBehind(t, w)
	ctx := t.Context()
	const cuts = 3
	go func() {
		for range cuts {
			time.Sleep(500 * time.Millisecond)
			w.setCut(true)
			time.Sleep(2 * time.Second)
			w.setCut(false)
		}
	}()
	n := int64(0)
	for began := time.Now(); time.Since(began) < cuts*3*time.Second; n++ {
		if err := s.Apply(ctx, []table.Mutation{stats("a", n, 1), stats("b", n, 1)}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Get(ctx, "image_stats", removal(stats("b", n, 1), 0).Row); err != nil {
			t.Fatal(err)
		}
	}
	rows := int64(0)
	for _, err := range s.Scan(ctx, table.Query{Table: "image_stats"}) {
		if err != nil {
			t.Fatal(err)
		}
		rows++
	}
	if rows != 2*n {
		t.Errorf("%d rows, want %d", rows, 2*n)
	}
}

// A call over a line that stays cut ends with its context, and says what went wrong.
func TestTheLineStaysCut(t *testing.T) {
	w := newLine(t, address(t))
	s := openBehind(t, w)
	w.setCut(true)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	began := time.Now()
	err := s.Apply(ctx, []table.Mutation{stats("a", 1, 1)})
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 3*time.Second {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
	if err := s.Ping(t.Context()); err == nil {
		t.Error("a store that is cut off answers")
	}
	w.setCut(false)
	for began := time.Now(); s.Ping(t.Context()) != nil; time.Sleep(20 * time.Millisecond) {
		if time.Since(began) > 10*time.Second {
			t.Fatal("it does not answer again")
		}
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	_, err = cassandra.Open(ctx, cassandra.Config{Hosts: []string{l.Addr().String()}, Keyspace: "k"})
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("without a cluster Open says %v", err)
	}
	if _, err = cassandra.Open(t.Context(), cassandra.Config{Keyspace: "k"}); err == nil {
		t.Error("a configuration without hosts is taken")
	}
}

func TestRetryStopsAtWhatWillNotPass(t *testing.T) {
	for _, err := range []error{context.Canceled, gocql.ErrSessionClosed, gocql.MarshalError("x"), gocql.ErrNotFound} {
		if cassandra.Transient(err) {
			t.Errorf("%T %v is asked again", err, err)
		}
	}
	for _, err := range []error{gocql.ErrNoConnections, gocql.ErrTimeoutNoResponse, gocql.ErrConnectionClosed, io.EOF} {
		if !cassandra.Transient(err) {
			t.Errorf("%v is not asked again", err)
		}
	}
	calls := 0
	err := cassandra.Retry(t.Context(), func() error {
		if calls++; calls < 4 {
			return io.EOF
		}
		return gocql.ErrSessionClosed
	})
	if !errors.Is(err, gocql.ErrSessionClosed) || calls != 4 {
		t.Errorf("after %d calls: %v", calls, err)
	}
}

// The store after its Close fails at once.
func TestClosed(t *testing.T) {
	s := openStore(t, config(t, newKeyspace(t)))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for _, err := range []error{s.Apply(t.Context(), []table.Mutation{stats("a", 1, 1)}), s.Ping(t.Context())} {
		if err == nil || time.Since(began) > time.Second {
			t.Errorf("a closed store says %v after %s", err, time.Since(began))
		}
	}
}
