package stack_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"darkroom/internal/table"
	"darkroom/internal/table/embedded"
)

// tables is an embedded store that a pipeline reaches.
type tables struct {
	store table.Store
	dsn   string
}

func newTables(t *testing.T) tables {
	t.Helper()
	store, err := embedded.Open(t.Context(), filepath.Join(t.TempDir(), "table"), embedded.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- embedded.Serve(ctx, l, store) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return tables{store, "tcp://" + l.Addr().String()}
}

// compared are the tables that must be equal whatever ran the pipeline; progress is only of those without end.
var compared = []table.Table{table.Images.Table(), table.HashBands.Table(), table.AllImageStats.Table()}

// rows are all rows of the compared tables, each as JSON, with their number.
func (s tables) rows(t *testing.T) map[string]int {
	t.Helper()
	rows := map[string]int{}
	for _, tab := range compared {
		for row, err := range s.store.Scan(context.Background(), table.Query{Table: tab.Name}) {
			if err != nil {
				t.Fatal(err)
			}
			data, err := json.Marshal(row)
			if err != nil {
				t.Fatal(err)
			}
			rows[tab.Name+" "+string(data)]++
		}
	}
	return rows
}

// differ says how two sets of rows differ, in a few lines; empty if they do not.
func differ(got, want map[string]int) string {
	var text string
	n := 0
	for _, side := range []struct {
		what    string
		in, not map[string]int
	}{{"missing", want, got}, {"too much", got, want}} {
		for row, count := range side.in {
			if side.not[row] == count {
				continue
			}
			if n++; n <= 6 {
				text += fmt.Sprintf("\n  %s: %s", side.what, row)
			}
		}
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%d rows differ:%s", n, text)
}

// check holds the tables against the oracle.
func (in *input) check(t *testing.T, s tables) error {
	t.Helper()
	states := map[string]string{}
	for row, err := range s.store.Scan(context.Background(), table.Query{Table: table.Images.Table().Name}) {
		if err != nil {
			t.Fatal(err)
		}
		states[row["image_id"].(string)] = row["state"].(string)
	}
	for id, want := range in.states {
		if states[id] != want {
			return fmt.Errorf("image %s is %q, want %q", id, states[id], want)
		}
	}
	if len(states) != len(in.states) {
		return fmt.Errorf("%d images, want %d", len(states), len(in.states))
	}
	minutes := map[string]map[int64]sums{}
	for stats, err := range table.AllImageStats.Scan(context.Background(), s.store, table.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		if stats.Dimension != table.DimensionAll {
			continue
		}
		if minutes[stats.Tenant] == nil {
			minutes[stats.Tenant] = map[int64]sums{}
		}
		minutes[stats.Tenant][stats.WindowStart] = sums{stats.Images, stats.Bytes, stats.Pixels, stats.Rejected}
	}
	for tenant, want := range in.minutes {
		for at, s := range want {
			if minutes[tenant][at] != s {
				return fmt.Errorf("tenant %s at %v has %+v, want %+v", tenant, time.UnixMicro(at).UTC(), minutes[tenant][at], s)
			}
		}
		if len(minutes[tenant]) != len(want) {
			return fmt.Errorf("tenant %s has %d minutes, want %d", tenant, len(minutes[tenant]), len(want))
		}
	}
	return nil
}

// eventually waits for what must come true.
func eventually(t *testing.T, within time.Duration, check func() error) {
	t.Helper()
	for end := time.Now().Add(within); ; time.Sleep(200 * time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not within %v: %v", within, err)
		}
	}
}
