// Package embedded is the table store of one machine, in a folder, on pebble.
//
// A write is blind: pebble merges what was written to a row when somebody reads it, so writers take no locks and wait
// only for the disk, several of them for one sync. Every mutation is also appended to a log of changes, in the same
// batch, from which a publisher feeds Kafka; an entry is removed when Kafka has it.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"darkroom/internal/table"
)

// Options are what a store may be given.
type Options struct {
	Brokers []string     // that changes are published to; empty: there is no log of changes
	Log     *slog.Logger // default: slog's
}

// Store is the store. It implements table.Store.
type Store struct {
	db  *pebble.DB
	log *slog.Logger

	publisher *publisher // nil: changes are not published

	mu  sync.Mutex // orders the log of changes like the writes
	seq uint64     // the last number given

	closed atomic.Bool
}

// Open opens the store in the folder, and makes it if there is none. A second process is refused.
func Open(ctx context.Context, dir string, o Options) (*Store, error) {
	log := o.Log
	if log == nil {
		log = slog.Default()
	}
	db, err := pebble.Open(dir, &pebble.Options{
		FormatMajorVersion: pebble.FormatNewest, Merger: merger, Logger: quiet{log},
	})
	if err != nil {
		return nil, fmt.Errorf("open table store in %s: %w", dir, err)
	}
	s := &Store{db: db, log: log}
	if len(o.Brokers) == 0 {
		return s, nil
	}
	last, err := s.lastLogged()
	if err == nil {
		s.seq = last
		s.publisher, err = startPublisher(ctx, s, o.Brokers)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open table store in %s: %w", dir, err), db.Close())
	}
	return s, nil
}

// quiet passes on what pebble says only if it is an error.
type quiet struct{ log *slog.Logger }

func (quiet) Infof(string, ...any) {}
func (q quiet) Errorf(format string, args ...any) {
	q.log.Error("table store: " + fmt.Sprintf(format, args...))
}

// Fatalf must not return: pebble's state is not to be trusted afterwards.
func (q quiet) Fatalf(format string, args ...any) {
	panic("table store: " + fmt.Sprintf(format, args...))
}

// errClosed says that the store was closed; the caller has a bug.
var errClosed = errors.New("table store is closed")

// Apply implements table.Store. All of the mutations are applied or, if one of them does not fit its table, none.
func (s *Store) Apply(ctx context.Context, muts []table.Mutation) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.closed.Load() {
		return errClosed
	}
	batch := s.db.NewBatch()
	defer batch.Close()
	for _, m := range muts {
		if err := m.Check(); err != nil {
			return err
		}
		t, _ := table.Lookup(m.Table) // Check has found it
		value, err := cellsOf(t, m).encode()
		if err != nil {
			return fmt.Errorf("encode row of %s: %w", m.Table, err)
		}
		if err := batch.Merge(rowKey(t, m.Row), value, nil); err != nil {
			return fmt.Errorf("write row of %s: %w", m.Table, err)
		}
	}
	last, err := s.commit(batch, muts)
	if err != nil {
		return err
	}
	if err := batch.SyncWait(); err != nil {
		return fmt.Errorf("sync %d mutations: %w", len(muts), err)
	}
	if s.publisher != nil {
		s.publisher.synced(last)
	}
	return nil
}

// commit writes the batch, with the changes numbered in the order in which batches are written. The disk is waited for
// afterwards, outside the lock.
func (s *Store) commit(batch *pebble.Batch, muts []table.Mutation) (last uint64, err error) {
	if s.publisher == nil {
		return 0, s.db.ApplyNoSyncWait(batch, pebble.Sync)
	}
	entries := make([][]byte, len(muts))
	for i, m := range muts {
		if entries[i], err = m.MarshalBinary(); err != nil {
			return 0, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	last = s.seq
	for _, e := range entries {
		last++
		if err := batch.Set(logKey(last), e, nil); err != nil {
			return 0, fmt.Errorf("log change: %w", err)
		}
	}
	if err := s.db.ApplyNoSyncWait(batch, pebble.Sync); err != nil {
		return 0, fmt.Errorf("write %d mutations: %w", len(muts), err)
	}
	s.seq = last
	return last, nil
}

// Get implements table.Store.
func (s *Store) Get(ctx context.Context, name string, key table.Row) (table.Row, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if s.closed.Load() {
		return nil, errClosed
	}
	t, ok := table.Lookup(name)
	if !ok {
		return nil, fmt.Errorf("table %s: %w: there is none", name, table.ErrInvalid)
	}
	if err := t.CheckKey(key); err != nil {
		return nil, err
	}
	value, closer, err := s.db.Get(rowKey(t, key))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, table.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("get row of %s: %w", name, err)
	}
	defer closer.Close()
	row := make(table.Row, len(key)+len(t.Regular))
	for k, v := range key {
		row[k] = v
	}
	c, err := decodeCells(value)
	if err != nil {
		return nil, fmt.Errorf("get row of %s: %w", name, err)
	}
	if !c.row(row) {
		return nil, table.ErrNotFound
	}
	return row, nil
}

// Scan implements table.Store. It sees the store as it was when it began.
func (s *Store) Scan(ctx context.Context, q table.Query) iter.Seq2[table.Row, error] {
	return func(yield func(table.Row, error) bool) {
		for r, err := range s.scan(ctx, q, nil) {
			if !yield(r.row, err) {
				return
			}
		}
	}
}

// scanned is a row and its place.
type scanned struct {
	key []byte
	row table.Row
}

// scan yields the rows behind the given key, nil for all of the query's.
func (s *Store) scan(ctx context.Context, q table.Query, behind []byte) iter.Seq2[scanned, error] {
	return func(yield func(scanned, error) bool) {
		if err := errors.Join(ctx.Err(), q.Check()); err != nil {
			yield(scanned{}, err)
			return
		}
		if s.closed.Load() {
			yield(scanned{}, errClosed)
			return
		}
		t, _ := table.Lookup(q.Table) // Check has found it
		lower, upper := bounds(t, q)
		if behind != nil {
			lower = append(append([]byte(nil), behind...), 0)
		}
		it, err := s.db.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: lower, UpperBound: upper})
		if err != nil {
			yield(scanned{}, fmt.Errorf("scan %s: %w", q.Table, err))
			return
		}
		defer it.Close()
		n := 0
		for ok := it.First(); ok && ctx.Err() == nil; ok = it.Next() {
			r, live, err := readRow(t, it)
			if err != nil {
				yield(scanned{}, fmt.Errorf("scan %s: %w", q.Table, err))
				return
			}
			if !live {
				continue
			}
			if !yield(r, nil) {
				return
			}
			if n++; n == q.Limit {
				return
			}
		}
		if err := errors.Join(ctx.Err(), it.Error()); err != nil {
			yield(scanned{}, fmt.Errorf("scan %s: %w", q.Table, err))
		}
	}
}

func readRow(t table.Table, it *pebble.Iterator) (scanned, bool, error) {
	row, err := keyColumns(t, it.Key())
	if err != nil {
		return scanned{}, false, err
	}
	value, err := it.ValueAndErr()
	if err != nil {
		return scanned{}, false, err
	}
	c, err := decodeCells(value)
	if err != nil {
		return scanned{}, false, err
	}
	return scanned{append([]byte(nil), it.Key()...), row}, c.row(row), nil
}

// Ping implements table.Store.
func (s *Store) Ping(ctx context.Context) error {
	if s.closed.Load() {
		return errClosed
	}
	return ctx.Err()
}

// Backlog is the number of changes that Kafka does not have yet.
func (s *Store) Backlog() int64 {
	if s.publisher == nil {
		return 0
	}
	return s.publisher.backlog()
}

// Close stops the publisher and closes the store. Nothing may be using it. A second call does nothing.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	if s.publisher != nil {
		s.publisher.stop()
	}
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close table store: %w", err)
	}
	return nil
}
