package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"darkroom/internal/table"
	"darkroom/internal/table/embedded"
	"darkroom/internal/table/open"
)

func TestOpenTwice(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, embedded.Options{})
	_, err := embedded.Open(t.Context(), dir, embedded.Options{})
	if !errors.Is(err, embedded.ErrInUse) || !strings.Contains(err.Error(), dir) {
		t.Errorf("the second Open says %v", err)
	}
	mustApply(t, s, band("a", 1)) // the first is none the worse
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	openStore(t, dir, embedded.Options{})
}

func TestOpenWhereNothingCanBe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := embedded.Open(t.Context(), file, embedded.Options{}); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("Open of a file says %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := embedded.Open(ctx, t.TempDir(), embedded.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Open with a context that has ended says %v", err)
	}
}

func TestRowsAreThereAfterAReopen(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, embedded.Options{})
	mustApply(t, s, band("a", 5))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir, embedded.Options{})
	mustApply(t, s, table.Mutation{Table: "hash_band", Row: band("a", 0).Row, Version: 4})
	row, err := s.Get(t.Context(), "hash_band", table.HashBands.Key(table.HashBand{Tenant: "t", Band: "sha256", Value: "v",
		ImageID: "a"}))
	if err != nil || row["version"] != int64(5) {
		t.Errorf("the row is %v, %v", row, err)
	}
}

// Whatever is under way while a store is closed ends with an answer or with ErrClosed.
func TestCloseDuringUse(t *testing.T) {
	b := startBroker(t)
	var beside []table.Mutation
	for i := range 1000 {
		beside = append(beside, band(fmt.Sprint("beside-", i), 1))
	}
	for range 3 {
		s := openStore(t, t.TempDir(), embedded.Options{Brokers: []string{b.addr()}})
		mustApply(t, s, beside...)
		started := make(chan struct{}, 8)
		var users sync.WaitGroup
		for user := range 8 {
			users.Go(func() { useUntilClosed(t, s, fmt.Sprint(user), started) })
		}
		for range 8 {
			<-started
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		users.Wait()
		if err := s.Ping(t.Context()); !errors.Is(err, embedded.ErrClosed) {
			t.Errorf("Ping says %v", err)
		}
	}
}

func useUntilClosed(t *testing.T, s *embedded.Store, user string, started chan<- struct{}) {
	for i := int64(1); ; i++ {
		err := s.Apply(t.Context(), []table.Mutation{band(user, i)})
		if err == nil {
			for _, scanErr := range s.Scan(t.Context(), table.Query{Table: "hash_band"}) {
				err = errors.Join(err, scanErr)
			}
		}
		if i == 2 {
			started <- struct{}{}
		}
		if errors.Is(err, embedded.ErrClosed) {
			return
		}
		if err != nil {
			t.Error(err)
			return
		}
	}
}

func TestOpenByName(t *testing.T) {
	bad := []string{"", "127.0.0.1:1", "tcp://", "tcp://host", "tcp://host:1/path", "cassandra://h", "tcp://h:x"}
	for _, dsn := range bad {
		if _, err := open.Open(t.Context(), dsn); err == nil || !strings.Contains(err.Error(), "the name must be ") {
			t.Errorf("%q gives %v", dsn, err)
		}
	}
}
