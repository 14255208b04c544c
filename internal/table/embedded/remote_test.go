package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"darkroom/internal/table"
	"darkroom/internal/table/embedded"
)

// Calls go on over a restart of the server, those under way included.
func TestRemoteOutlivesItsServer(t *testing.T) {
	s := openStore(t, t.TempDir(), embedded.Options{})
	addr, stop := serve(t, "127.0.0.1:0", s)
	r := dial(t, addr)
	const writers, writes = 4, 100
	half := make(chan struct{}, writers)
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range writes {
				if err := r.Apply(t.Context(), []table.Mutation{band(fmt.Sprint(w, "-", i), 1)}); err != nil {
					t.Error(err)
				}
				if i == writes/2 {
					half <- struct{}{}
				}
			}
		})
	}
	<-half
	stop()
	serve(t, addr, s)
	all.Wait()
	n := 0
	for _, err := range r.Scan(t.Context(), table.Query{Table: "hash_band"}) {
		if n++; err != nil {
			t.Fatal(err)
		}
	}
	if n != writers*writes {
		t.Errorf("there are %d rows, want %d", n, writers*writes)
	}
}

// busy is the listener of a process that has too many files open, for its first calls.
type busy struct {
	net.Listener
	calls atomic.Int32
}

func (b *busy) Accept() (net.Conn, error) {
	if b.calls.Add(1) <= 3 {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	return b.Listener.Accept()
}

// A moment without open files passes.
func TestServeOutlivesAMomentWithoutFiles(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := openStore(t, t.TempDir(), embedded.Options{})
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- embedded.Serve(ctx, &busy{Listener: l}, s) }()
	calling, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	if err := dial(t, l.Addr().String()).Apply(calling, []table.Mutation{band("a", 1)}); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// A scan that a restart interrupts goes on where it was.
func TestRemoteScanOutlivesItsServer(t *testing.T) {
	s := openStore(t, t.TempDir(), embedded.Options{})
	addr, stop := serve(t, "127.0.0.1:0", s)
	r := dial(t, addr)
	const rows = 5000
	var muts []table.Mutation
	for i := range rows {
		muts = append(muts, band(fmt.Sprintf("%06d", i), 1))
	}
	mustApply(t, r, muts...)
	n := 0
	for row, err := range r.Scan(t.Context(), table.Query{Table: "hash_band"}) {
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("%06d", n); row["image_id"] != want {
			t.Fatalf("row %d is %v", n, row)
		}
		if n++; n == 10 {
			stop()
			_, stop = serve(t, addr, s)
		}
	}
	if n != rows {
		t.Errorf("the scan yields %d rows, want %d", n, rows)
	}
}

// A call without a server ends when its context does.
func TestRemoteWithoutAServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := dial(t, l.Addr().String())
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.Ping(t.Context()); err == nil {
		t.Error("Ping finds a server")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := r.Apply(ctx, []table.Mutation{band("a", 1)}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Apply says %v", err)
	}
}

// A server that takes the connection and never answers holds nobody beyond the context.
func TestRemoteWithASilentServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	r := dial(t, l.Addr().String())
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := r.Get(ctx, "progress", table.Row{"pipeline": "live"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Get says %v", err)
	}
}

// One that does not even read holds nobody either, however much is sent.
func TestRemoteWithAServerThatDoesNotRead(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	r := dial(t, l.Addr().String())
	large := band("a", 1)
	large.Row["image_id"] = strings.Repeat("a", 32<<10)
	muts := slices.Repeat([]table.Mutation{large}, 100)
	ended := make(chan error)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	const calls = 8
	for range calls {
		go func() { ended <- r.Apply(ctx, muts) }()
	}
	for range calls {
		select {
		case err := <-ended:
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Apply says %v", err)
			}
		case <-time.After(patience):
			t.Fatal("a call outlives its context")
		}
	}
}

func TestRemoteIsClosed(t *testing.T) {
	addr, _ := serve(t, "127.0.0.1:0", openStore(t, t.TempDir(), embedded.Options{}))
	r := dial(t, addr)
	mustApply(t, r, band("a", 1))
	for range 2 {
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Apply(t.Context(), []table.Mutation{band("a", 2)}); !errors.Is(err, embedded.ErrClosed) {
		t.Errorf("Apply says %v", err)
	}
}

// Bytes that are no message end their connection and nothing else.
func TestServerOutlivesNonsense(t *testing.T) {
	addr, _ := serve(t, "127.0.0.1:0", openStore(t, t.TempDir(), embedded.Options{}))
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("GET / HTTP/1.1\r\n\r\n\xff\xff\xff\xff\x00\x01\x02")); err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	mustApply(t, dial(t, addr), band("a", 1))
}
