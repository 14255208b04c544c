package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

const (
	// How long Pebble rests after a flush or compaction that failed. By itself it tries again at once, for ever.
	troublePause = 100 * time.Millisecond
	// How often the log tells of them.
	troubleEvery = 10 * time.Second
	// How long an Open may go on after the first of them: it waits for its flush, without end.
	troubleInOpen = time.Second
)

// trouble is told of what Pebble fails to do in the background, most of all for want of room on the disk.
type trouble struct {
	log   *slog.Logger
	begun chan error // the first of it

	mu   sync.Mutex
	last time.Time // when the log told of it last
}

func newTrouble(log *slog.Logger) *trouble { return &trouble{log: log, begun: make(chan error, 1)} }

func (t *trouble) happened(err error) {
	select {
	case t.begun <- err:
	default:
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := time.Now(); now.Sub(t.last) >= troubleEvery {
		t.last = now
		t.log.Error("table store: cannot tidy up, trying on", "error", err.Error()) // it would come with its stack
	}
	time.Sleep(troublePause)
}

// open opens Pebble, or releases the lock in its options. When Pebble cannot flush what it recovers, or ctx ends, it is
// left alone in its wait, and the directory stays locked until that ends.
func (t *trouble) open(ctx context.Context, dir string, o *pebble.Options) (*pebble.DB, error) {
	type result struct {
		db  *pebble.DB
		err error
	}
	opened := make(chan result, 1)
	go func() {
		db, err := pebble.Open(dir, o)
		opened <- result{db, err}
	}()
	var err error
	begun, late := t.begun, (<-chan time.Time)(nil)
	for {
		select {
		case r := <-opened:
			if r.err != nil {
				return nil, errors.Join(r.err, o.Lock.Close())
			}
			return r.db, nil
		case err = <-begun:
			begun, late = nil, time.After(troubleInOpen)
			continue
		case <-late:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		go func() {
			if r := <-opened; r.err == nil {
				_ = r.db.Close() // nobody wants it
			}
			_ = o.Lock.Close()
		}()
		return nil, err
	}
}

// logger passes Pebble's errors on. Its information, some lines for each compaction, is dropped.
type logger struct{ log *slog.Logger }

func (logger) Infof(string, ...any) {}

func (l logger) Errorf(format string, args ...any) {
	l.log.Error("table store", "error", fmt.Sprintf(format, args...))
}

// Fatalf must not return. Pebble calls it when its log cannot be written, after which nothing that it holds in memory
// can be trusted; the next Open recovers all that was acknowledged.
func (l logger) Fatalf(format string, args ...any) {
	l.log.Error("table store: its log cannot be written, so this process ends; what was acknowledged is there at the next start",
		"error", fmt.Sprintf(format, args...))
	os.Exit(1)
}
