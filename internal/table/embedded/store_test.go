package embedded_test

import (
	"context"
	"net"
	"testing"

	"darkroom/internal/table"
	"darkroom/internal/table/embedded"
	"darkroom/internal/table/open"
	"darkroom/internal/table/tabletest"
)

func openStore(t *testing.T, dir string, o embedded.Options) *embedded.Store {
	t.Helper()
	s, err := embedded.Open(t.Context(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// serve offers the store at the address until the test ends or stop is called.
func serve(t *testing.T, addr string, s *embedded.Store) (at string, stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- embedded.Serve(ctx, l, s) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return l.Addr().String(), stop
}

func dial(t *testing.T, addr string) table.Store {
	t.Helper()
	s, err := open.Open(t.Context(), "tcp://"+addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestConformance(t *testing.T) {
	tabletest.Run(t, func(t *testing.T) table.Store { return openStore(t, t.TempDir(), embedded.Options{}) })
}

func TestConformanceRemote(t *testing.T) {
	tabletest.Run(t, func(t *testing.T) table.Store {
		addr, _ := serve(t, "127.0.0.1:0", openStore(t, t.TempDir(), embedded.Options{}))
		return dial(t, addr)
	})
}
