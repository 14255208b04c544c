// Package embedded is a table.Store in one directory of one process, on Pebble (https://github.com/cockroachdb/pebble),
// with the semantics that package table describes and the same change stream that Debezium makes of Cassandra.
//
// A row is one key. A mutation is written without reading the row, as a Pebble merge operand, and operands are joined
// when they are read or compacted; joining is commutative, associative and idempotent. Concurrent writes share one
// fsync. A deleted row leaves a key of a few bytes behind for ever, which is what keeps an older write from bringing it
// back. A reader may see a write a moment before its Apply returns.
//
// When Kafka brokers are given, each mutation is also appended to a change log, in the same atomic batch. A publisher
// moves the log to Kafka in its order and forgets what the brokers have acknowledged: at least once, also over kill -9,
// and as soon as Kafka answers again after it was away.
//
// Serve and Dial let other processes use the store, which only one process can open.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"darkroom/internal/table"
)

// ErrInUse is returned by Open while this or another process has the directory open. The caller stops the other one, or
// dials it.
var ErrInUse = errors.New("in use by another store")

// ErrClosed is returned by a store after its Close. The caller opens it again.
var ErrClosed = errors.New("table store is closed")

// Options configure a store.
type Options struct {
	// Brokers are the Kafka brokers, host:port, that changes are published to. Without brokers no change log is kept:
	// what is written then will never be published. Changes that an earlier Open left in the log stay there.
	Brokers []string
	Logger  *slog.Logger // nil: slog.Default()

	fs vfs.FS // nil: that of the system
}

// Sizes in bytes. A store takes about their sum in memory.
const (
	blockCacheSize = 32 << 20
	memTableSize   = 16 << 20
)

// Store is the embedded table.Store. It is safe for concurrent use.
type Store struct {
	db        *pebble.DB
	lock      *pebble.Lock
	log       *changeLog // nil: none is kept
	publisher *publisher // nil: none is kept

	mu     sync.RWMutex // held for reading by each use of db
	closed bool
}

var _ table.Store = (*Store)(nil)

// Open opens the store in dir, which it makes when there is none. The context bounds the opening only.
func Open(ctx context.Context, dir string, o Options) (*Store, error) {
	s, err := open(ctx, dir, o)
	if err != nil {
		return nil, fmt.Errorf("open table store in %s: %w", dir, err)
	}
	return s, nil
}

func open(ctx context.Context, dir string, o Options) (*Store, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	lock, err := lockDirectory(dir)
	if err != nil {
		return nil, err
	}
	t := newTrouble(o.Logger)
	db, err := t.open(ctx, dir, pebbleOptions(o, lock, t))
	if err != nil {
		return nil, err
	}
	s := &Store{db: db, lock: lock}
	if len(o.Brokers) > 0 {
		if err := s.startPublishing(o); err != nil {
			return nil, errors.Join(err, db.Close(), lock.Close())
		}
	}
	return s, nil
}

func lockDirectory(dir string) (*pebble.Lock, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	lock, err := pebble.LockDirectory(dir, vfs.Default)
	if err == nil {
		return lock, nil
	}
	// fcntl does not tell a process from itself, so Pebble keeps a list for its own process and has no error value.
	if errors.Is(err, syscall.EAGAIN) || strings.Contains(err.Error(), "lock held by current process") {
		return nil, ErrInUse
	}
	if pathErr := (*fs.PathError)(nil); errors.As(err, &pathErr) {
		return nil, pathErr
	}
	return nil, err
}

func pebbleOptions(opts Options, lock *pebble.Lock, t *trouble) *pebble.Options {
	o := &pebble.Options{
		FormatMajorVersion: pebble.FormatNewest,
		Merger:             merger,
		Lock:               lock,
		CacheSize:          blockCacheSize,
		MemTableSize:       memTableSize,
		Logger:             logger{opts.Logger},
		EventListener:      &pebble.EventListener{BackgroundError: t.happened},
		FS:                 opts.fs,
	}
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	return o
}

func (s *Store) startPublishing(o Options) error {
	log, err := openChangeLog(s.db)
	if err != nil {
		return err
	}
	s.log = log
	s.publisher, err = startPublisher(log, o.Brokers, o.Logger)
	return err
}

// use keeps the database open until the caller calls done.
func (s *Store) use(ctx context.Context) (done func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.RLock()
	if s.closed {
		s.mu.RUnlock()
		return nil, ErrClosed
	}
	return s.mu.RUnlock, nil
}

// Apply implements table.Store. When one mutation does not fit its table, none is applied; the error, a
// table.ErrInvalid, tells which.
func (s *Store) Apply(ctx context.Context, muts []table.Mutation) error {
	for i, m := range muts {
		if err := m.Check(); err != nil {
			return fmt.Errorf("apply mutation %d of %d: %w", i+1, len(muts), err)
		}
	}
	done, err := s.use(ctx)
	if err != nil {
		return fmt.Errorf("apply: %w", err)
	}
	defer done()
	if len(muts) == 0 {
		return nil
	}
	if err := s.apply(muts); err != nil {
		return fmt.Errorf("apply %d mutations: %w", len(muts), err)
	}
	return nil
}

func (s *Store) apply(muts []table.Mutation) error {
	batch := s.db.NewBatch()
	defer func() { _ = batch.Close() }()
	var key, value []byte
	for _, m := range muts {
		t, _ := table.Lookup(m.Table) // Check has found it
		key = appendRowKey(key[:0], t, m.Row)
		value = stateOf(t, m).appendTo(value[:0])
		if err := batch.Merge(key, value, nil); err != nil {
			return err
		}
	}
	if s.log == nil {
		return batch.Commit(pebble.Sync)
	}
	entries, err := logEntries(muts)
	if err != nil {
		return err
	}
	return s.log.commit(batch, entries)
}

// Get implements table.Store.
func (s *Store) Get(ctx context.Context, name string, key table.Row) (table.Row, error) {
	t, ok := table.Lookup(name)
	if !ok {
		return nil, fmt.Errorf("get: table %q: %w: no such table", name, table.ErrInvalid)
	}
	if err := t.CheckKey(key); err != nil {
		return nil, fmt.Errorf("get: %w", err)
	}
	done, err := s.use(ctx)
	if err != nil {
		return nil, fmt.Errorf("get row of %s: %w", name, err)
	}
	defer done()
	rowKey := appendRowKey(nil, t, key)
	value, closer, err := s.db.Get(rowKey)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, table.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("get row of %s: %w", name, err)
	}
	row, err := readRow(t, rowKey, value)
	if err := errors.Join(err, closer.Close()); err != nil {
		return nil, fmt.Errorf("get row of %s: %w", name, err)
	}
	if row == nil {
		return nil, table.ErrNotFound
	}
	return row, nil
}

// readRow is the row that is stored under the key; nil when it is deleted.
func readRow(t table.Table, key, value []byte) (table.Row, error) {
	state, err := decodeState(value, nil)
	if err != nil {
		return nil, err
	}
	row, err := keyRow(t, key)
	if err != nil || !state.addTo(row) {
		return nil, err
	}
	return row, nil
}

// Ping implements table.Store.
func (s *Store) Ping(ctx context.Context) error {
	done, err := s.use(ctx)
	if err != nil {
		return err
	}
	done()
	return nil
}

// Backlog is how many applied mutations are durable and not yet published. It is zero when no change log is kept.
func (s *Store) Backlog() int64 {
	if s.log == nil {
		return 0
	}
	return s.log.backlog()
}

// Close stops the publisher, waits for running calls and closes the files. Changes that are not yet published stay in
// the log for the next Open. Calls after the first do nothing.
func (s *Store) Close() error {
	s.mu.Lock()
	already := s.closed
	s.closed = true
	s.mu.Unlock()
	if already {
		return nil
	}
	if s.publisher != nil {
		s.publisher.stop()
	}
	if err := errors.Join(s.db.Close(), s.lock.Close()); err != nil {
		return fmt.Errorf("close table store: %w", err)
	}
	return nil
}
