package embedded

import (
	"context"
	"net"
	"testing"
	"time"

	"darkroom/internal/table"
)

// A server that hangs is given up, and asked anew on another connection.
func TestRemoteLeavesAServerThatHangs(t *testing.T) {
	was := callTimeout
	callTimeout = 500 * time.Millisecond
	t.Cleanup(func() { callTimeout = was })
	s, err := Open(t.Context(), t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r, err := Dial(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	applied := make(chan error, 1)
	go func() {
		applied <- r.Apply(context.Background(), []table.Mutation{
			table.Progresses.Mutation(table.Progress{Pipeline: "live", CompleteTo: 1, Version: 1}),
		})
	}()
	hung, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer hung.Close()
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, l, s) }()
	select {
	case err := <-applied:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the call waits on")
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}
