package embedded

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"darkroom/internal/table"
)

// The change log lies beside the rows. A mutation's position is its number in the order of commits. An entry holds the
// mutations of one Apply, or a part of them:
//
//	'l' | position of the first mutation (8 bytes, big endian)  →  count × (length (uvarint) | mutation)
//
// and 'm' "published" holds the position before which all are published, so that positions never repeat.
var publishedKey = []byte{spaceMeta, 'p', 'u', 'b', 'l', 'i', 's', 'h', 'e', 'd'}

// An entry is closed when it is this large, in mutations and in bytes, which bounds what the publisher reads at once.
const (
	entryMutations = 1000
	entryBytes     = 256 << 10
)

// changeLog is the durable queue of changes to publish. Its lock makes the order of positions the order in which Pebble
// applies the batches; waiting for the disk happens outside of it, so that writers share one fsync.
type changeLog struct {
	db *pebble.DB

	mu   sync.Mutex
	next int64 // the position of the next mutation

	durable   atomic.Int64 // positions before this one survive a crash; only those are published
	published atomic.Int64 // positions before this one need not be published any more
	wake      chan struct{}
}

// entry is one stored entry.
type entry struct {
	position int64
	count    int64
	data     []byte
}

func openChangeLog(db *pebble.DB) (*changeLog, error) {
	l := &changeLog{db: db, wake: make(chan struct{}, 1)}
	published, err := readPublished(db)
	if err != nil {
		return nil, fmt.Errorf("open change log: %w", err)
	}
	first, next, err := logEnds(db, published)
	if err != nil {
		return nil, fmt.Errorf("open change log: %w", err)
	}
	l.next = next
	l.durable.Store(next)
	l.published.Store(first)
	return l, nil
}

func readPublished(db *pebble.DB) (int64, error) {
	value, closer, err := db.Get(publishedKey)
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	r := reader{rest: value}
	published := r.int64()
	if r.bad {
		err = errCorrupt
	}
	return published, errors.Join(err, closer.Close())
}

// logEnds returns the position of the first mutation in the log and the one after the last; both are empty when nothing
// is logged. It reads two entries only, however long an outage made the log.
func logEnds(db *pebble.DB, empty int64) (first, next int64, err error) {
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: logKey(empty), UpperBound: []byte{spaceLog + 1}})
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	if !it.First() {
		return empty, empty, it.Error()
	}
	oldest, err := readEntry(it)
	if err != nil || !it.Last() {
		return 0, 0, errors.Join(err, it.Error())
	}
	newest, err := readEntry(it)
	return oldest.position, newest.position + newest.count, err
}

func logKey(position int64) []byte {
	return binary.BigEndian.AppendUint64([]byte{spaceLog}, uint64(position))
}

// logEntries packs the mutations into entries whose positions are not yet known.
func logEntries(muts []table.Mutation) ([]entry, error) {
	var entries []entry
	var current entry
	var encoded []byte
	var err error
	for _, m := range muts {
		if encoded, err = m.AppendBinary(encoded[:0]); err != nil {
			return nil, err
		}
		current.count++
		current.data = binary.AppendUvarint(current.data, uint64(len(encoded)))
		current.data = append(current.data, encoded...)
		if current.count == entryMutations || len(current.data) >= entryBytes {
			entries = append(entries, current)
			current = entry{}
		}
	}
	if current.count > 0 {
		entries = append(entries, current)
	}
	return entries, nil
}

// commit adds the entries to the batch and commits it, durably.
func (l *changeLog) commit(batch *pebble.Batch, entries []entry) error {
	end, err := l.enqueue(batch, entries)
	if err != nil {
		return err
	}
	if err := batch.SyncWait(); err != nil {
		return err
	}
	// The log is written in order: with this batch all before it are durable, too.
	for {
		durable := l.durable.Load()
		if durable >= end || l.durable.CompareAndSwap(durable, end) {
			break
		}
	}
	select {
	case l.wake <- struct{}{}:
	default: // the publisher has been woken already
	}
	return nil
}

func (l *changeLog) enqueue(batch *pebble.Batch, entries []entry) (end int64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	position := l.next
	for _, e := range entries {
		if err := batch.Set(logKey(position), e.data, nil); err != nil {
			return 0, err
		}
		position += e.count
	}
	if err := l.db.ApplyNoSyncWait(batch, pebble.Sync); err != nil {
		return 0, err
	}
	l.next = position
	return position, nil
}

func (l *changeLog) backlog() int64 { return max(0, l.durable.Load()-l.published.Load()) }

// each calls do with the entries from a position on and before another, until it returns false.
func (l *changeLog) each(from, before int64, do func(entry) bool) (err error) {
	it, err := l.db.NewIter(&pebble.IterOptions{LowerBound: logKey(from), UpperBound: logKey(before)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for it.First(); it.Valid(); it.Next() {
		e, err := readEntry(it)
		if err != nil {
			return err
		}
		if !do(e) {
			break
		}
	}
	return it.Error()
}

// readEntry reads the entry at which the iterator stands.
func readEntry(it *pebble.Iterator) (entry, error) {
	e := entry{data: append([]byte{}, it.Value()...)}
	r := reader{rest: it.Key()[1:]}
	e.position = r.int64()
	if e.count = countMutations(e.data); r.bad || e.count < 0 {
		return entry{}, fmt.Errorf("read change log at %x: %w", it.Key(), errCorrupt)
	}
	return e, nil
}

// countMutations is the number of mutations in the data of an entry, or -1 when the data is corrupt.
func countMutations(data []byte) int64 {
	n := int64(0)
	for r := (reader{rest: data}); len(r.rest) > 0; n++ {
		if r.bytes(); r.bad {
			return -1
		}
	}
	return n
}

// mutations decodes the entry.
func (e entry) mutations() ([]table.Mutation, error) {
	muts := make([]table.Mutation, e.count)
	r := reader{rest: e.data}
	for i := range muts {
		if err := muts[i].UnmarshalBinary(r.bytes()); err != nil {
			return nil, fmt.Errorf("read change log at %d: %w", e.position+int64(i), err)
		}
	}
	return muts, nil
}

// forget deletes published entries, of which the last one ends before end. Nothing waits for the disk: what a crash
// brings back is published again.
func (l *changeLog) forget(entries []entry, end int64) error {
	batch := l.db.NewBatch()
	defer func() { _ = batch.Close() }()
	for _, e := range entries {
		// An entry's key is set once and deleted once, which is what SingleDelete asks for. With it, an entry that was
		// published before it was flushed never reaches a file.
		if err := batch.SingleDelete(logKey(e.position), nil); err != nil {
			return fmt.Errorf("forget published changes: %w", err)
		}
	}
	if err := batch.Set(publishedKey, binary.BigEndian.AppendUint64(nil, uint64(end)), nil); err != nil {
		return fmt.Errorf("forget published changes: %w", err)
	}
	if err := batch.Commit(pebble.NoSync); err != nil {
		return fmt.Errorf("forget published changes: %w", err)
	}
	l.published.Store(end)
	return nil
}
