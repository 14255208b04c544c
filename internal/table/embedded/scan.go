package embedded

import (
	"context"
	"fmt"
	"iter"

	"github.com/cockroachdb/pebble/v2"

	"darkroom/internal/table"
)

// A scan reads so much at a time, in rows and in stored bytes.
const (
	pageRows  = 1024
	pageBytes = 1 << 20
)

// Scan implements table.Store. It reads in pages, so that a slow consumer holds neither files nor more than a page of
// memory, and may write to the store or close it meanwhile. A row that is written during the scan may or may not show.
func (s *Store) Scan(ctx context.Context, q table.Query) iter.Seq2[table.Row, error] {
	return func(yield func(table.Row, error) bool) {
		if err := q.Check(); err != nil {
			yield(nil, fmt.Errorf("scan: %w", err))
			return
		}
		t, _ := table.Lookup(q.Table)
		left := q.Limit
		for span := spanOf(t, q); span.lower != nil; {
			rows, next, err := s.page(ctx, t, span, left)
			if err != nil {
				yield(nil, fmt.Errorf("scan %s: %w", q.Table, err))
				return
			}
			for _, row := range rows {
				if !yield(row, nil) {
					return
				}
			}
			if left -= len(rows); q.Limit > 0 && left == 0 {
				return
			}
			left = max(left, 0)
			span.lower = next
		}
	}
}

// page reads the next rows of the span, at most limit unless that is 0. It returns the key at which to go on, which is
// nil at the end of the span.
func (s *Store) page(ctx context.Context, t table.Table, sp span, limit int) (rows []table.Row, next []byte, err error) {
	done, err := s.use(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer done()
	it, err := s.db.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: sp.lower, UpperBound: sp.upper})
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if closeErr := it.Close(); err == nil && closeErr != nil {
			err = closeErr
		}
	}()
	if limit == 0 || limit > pageRows {
		limit = pageRows
	}
	size := 0
	for it.First(); it.Valid(); it.Next() {
		if len(rows) >= limit || size >= pageBytes {
			return rows, append([]byte{}, it.Key()...), nil
		}
		row, err := readRow(t, it.Key(), it.Value())
		if err != nil {
			return nil, nil, err
		}
		// Deleted rows count as well, so that a page of them ends and the context is looked at.
		size += len(it.Key()) + len(it.Value()) + rowOverhead
		if row != nil {
			rows = append(rows, row)
		}
	}
	return rows, nil, it.Error()
}

// rowOverhead is about what a row takes in memory besides its bytes.
const rowOverhead = 512
