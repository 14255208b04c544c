package tabletest

import (
	"context"
	"errors"
	"maps"
	"math"
	"strings"
	"testing"

	"darkroom/internal/table"
)

// Run tests the stores that open returns. Each test opens its own; open may return the same one again, and closes what
// it opens by t.Cleanup.
func Run(t *testing.T, open func(*testing.T) table.Store) {
	tests := []struct {
		name string
		run  func(fixture)
	}{
		{"upsert by version", testVersions},
		{"ties", testTies},
		{"extreme versions", testExtremeVersions},
		{"partial upserts and deleted cells", testPartialUpserts},
		{"row deletion", testRowDeletion},
		{"order and repetition", testOrderAndRepetition},
		{"one batch, one row", testOneBatchOneRow},
		{"not found", testNotFound},
		{"every type", testEveryType},
		{"invalid", testInvalid},
		{"context", testContext},
		{"ping", testPing},
		{"scan of a partition", testScanPartition},
		{"scan of a range", testScanRange},
		{"scan by bytes and booleans", testScanBytes},
		{"scan without clustering columns", testScanSingle},
		{"scan of all", testScanAll},
		{"scan with a limit", testScanLimit},
		{"scan that stops", testScanStops},
		{"scan of large rows", testScanLargeRows},
		{"scan over deleted rows", testScanDeleted},
		{"batch of 10,000", testLargeBatch},
		{"concurrent writers", testConcurrentWriters},
		{"reads during writes", testReadsDuringWrites},
		{"scans during writes", testScansDuringWrites},
		{"model", testModel},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.run(newFixture(t, open)) })
	}
}

func testVersions(f fixture) {
	f.apply(f.upsert(20, table.Row{"text": "new"}))
	f.apply(f.upsert(10, table.Row{"text": "old"}))
	f.wantCells(table.Row{"text": "new"})
	f.apply(f.upsert(21, table.Row{"text": "newest"}))
	f.wantCells(table.Row{"text": "newest"})
	f.apply(f.upsert(-5, table.Row{"text": "before 1970", "count": int64(1)}))
	f.wantCells(table.Row{"text": "newest", "count": int64(1)})
}

// At equal versions a deletion beats a value, and of two values the one whose serialised bytes are greater wins.
func testTies(f fixture) {
	ties := []struct {
		column     string
		less, more any
	}{
		{"text", "a", "b"}, {"text", "", "a"}, {"text", "a", "aa"}, {"text", "z", "é"}, {"text", "z", nil},
		{"text", "", nil},
		{"data", []byte{1}, []byte{0xff}}, {"data", []byte{}, []byte{0}}, {"data", []byte{0xff}, nil},
		{"flag", false, true}, {"flag", true, nil},
		{"count", int64(1), int64(2)}, {"count", int64(256), int64(257)},
		{"count", int64(math.MaxInt64), int64(-1)}, // as bytes, a negative number is the greater
		{"count", int64(math.MinInt64), int64(-1)}, {"count", int64(-1), nil},
	}
	version := int64(0)
	for _, tie := range ties {
		want := table.Row{}
		if tie.more != nil {
			want[tie.column] = tie.more
		}
		for _, order := range [][]any{{tie.less, tie.more}, {tie.more, tie.less}} {
			version += 2
			f.apply(f.remove(version - 1))
			for _, value := range order {
				f.apply(f.upsert(version, table.Row{tie.column: value}))
			}
			f.wantCells(want)
		}
	}
}

func testExtremeVersions(f fixture) {
	f.apply(f.upsert(math.MinInt64+1, table.Row{"text": "least"}))
	f.wantCells(table.Row{"text": "least"})
	f.apply(f.upsert(math.MaxInt64, table.Row{"text": "greatest"}))
	f.wantCells(table.Row{"text": "greatest"})
	f.apply(f.remove(math.MaxInt64))
	f.wantGone()
	lowest := f.upsert(math.MinInt64, table.Row{"text": "no version at all"})
	if err := f.Apply(f.ctx, []table.Mutation{lowest}); !errors.Is(err, table.ErrInvalid) {
		f.t.Errorf("the version that Cassandra reserves gives %v", err)
	}
}

func testPartialUpserts(f fixture) {
	f.apply(f.upsert(10, table.Row{"text": "a", "count": int64(1)}))
	f.apply(f.upsert(20, table.Row{"count": int64(2), "flag": true}))
	f.wantCells(table.Row{"text": "a", "count": int64(2), "flag": true})
	f.apply(f.upsert(30, table.Row{"text": nil, "flag": nil}))
	f.wantCells(table.Row{"count": int64(2)})
	f.apply(f.upsert(25, table.Row{"text": "late", "count": int64(3)}))
	f.wantCells(table.Row{"count": int64(3)})
	f.apply(f.upsert(31, table.Row{"text": "back"}))
	f.wantCells(table.Row{"text": "back", "count": int64(3)})
	f.apply(f.upsert(40, table.Row{"text": nil, "count": nil}))
	f.wantCells(nil) // the marker keeps a row without cells
	f.apply(f.remove(39))
	f.wantCells(nil)
}

func testRowDeletion(f fixture) {
	f.apply(f.upsert(10, table.Row{"text": "a"}))
	f.apply(f.remove(10)) // hides also what has its own version
	f.wantGone()
	f.apply(f.upsert(9, table.Row{"text": "late"}))
	f.wantGone()
	f.apply(f.upsert(11, table.Row{"count": int64(1)}))
	f.wantCells(table.Row{"count": int64(1)})
	f.apply(f.remove(5))
	f.wantCells(table.Row{"count": int64(1)})
	f.apply(f.upsert(20, table.Row{"flag": true}))
	f.apply(f.remove(15))
	f.wantCells(table.Row{"flag": true})
	if rows := f.scan(table.Query{Table: "tabletest_item", Partition: f.partition()}); len(rows) != 1 {
		f.t.Errorf("the partition holds %v", rows)
	}
	f.apply(f.remove(20))
	f.wantGone()
	if rows := f.scan(table.Query{Table: "tabletest_item", Partition: f.partition()}); len(rows) != 0 {
		f.t.Errorf("the partition still holds %v", rows)
	}
}

func testOrderAndRepetition(f fixture) {
	muts := []table.Mutation{
		f.upsert(10, table.Row{"text": "a", "count": int64(1)}), f.upsert(20, table.Row{"text": "b"}),
		f.remove(15), f.upsert(16, table.Row{"flag": true}), f.upsert(20, table.Row{"text": "c", "data": []byte("x")}),
	}
	for range 2 {
		for i := range muts {
			f.apply(muts[len(muts)-1-i])
		}
		for _, m := range muts {
			f.apply(m)
		}
		f.wantCells(table.Row{"text": "c", "flag": true, "data": []byte("x")})
	}
}

func testOneBatchOneRow(f fixture) {
	f.apply(f.upsert(30, table.Row{"text": "c"}), f.upsert(10, table.Row{"text": "a", "count": int64(1)}), f.remove(5),
		f.upsert(20, table.Row{"text": "b", "flag": true}))
	f.wantCells(table.Row{"text": "c", "count": int64(1), "flag": true})
	f.apply()
}

func testNotFound(f fixture) {
	f.wantGone()
	other := items.Key(item{Run: f.run, Part: 1, Num: 2, Name: "row\x00"})
	f.apply(f.upsert(1, nil))
	if row, err := f.Get(f.ctx, "tabletest_item", other); !errors.Is(err, table.ErrNotFound) {
		f.t.Errorf("a row beside gives %v, %v", row, err)
	}
}

func testEveryType(f fixture) {
	for _, want := range []item{
		{Run: f.run, Part: math.MinInt64, Num: math.MaxInt64, Name: "", Version: 1},
		{Run: f.run, Name: "\x00\u00ff\U0010ffff", Text: "\x00", Data: []byte{0, 255}, Flag: true, Count: -1, Version: 2},
		{Run: f.run, Num: -1, Name: strings.Repeat("é", 1000), Text: strings.Repeat("x", 5000), Count: math.MinInt64,
			Data: make([]byte, 20000), Version: math.MaxInt64},
	} {
		m := items.Mutation(want)
		f.apply(m)
		got, err := f.Get(f.ctx, "tabletest_item", items.Key(want))
		if err != nil || !equalRows(got, m.Row) {
			f.t.Errorf("got %v, %v, want %v", got, err, m.Row)
		}
	}
	for _, want := range []single{{Run: f.run, Data: []byte{0, 1, 255}, Flag: true, Note: "a"}, {Run: f.run, Note: "b"}} {
		f.apply(singles.Mutation(want))
		row, err := f.Get(f.ctx, "tabletest_single", singles.Key(want))
		got, readErr := singles.FromRow(row)
		if err != nil || readErr != nil || got.Note != want.Note {
			f.t.Errorf("got %+v, %v, %v, want %+v", got, err, readErr, want)
		}
	}
}

func testInvalid(f fixture) {
	missing := f.upsert(1, nil)
	delete(missing.Row, "num")
	bad := map[string]table.Mutation{
		"unknown table":       {Table: "tabletest_absent", Row: f.key(), Version: 1},
		"unknown column":      f.upsert(1, table.Row{"zoo": "x"}),
		"missing key":         missing,
		"nil key":             f.upsert(1, table.Row{"num": nil}),
		"wrong type":          f.upsert(1, table.Row{"count": "1"}),
		"int for int64":       f.upsert(1, table.Row{"count": 1}),
		"not UTF-8":           f.upsert(1, table.Row{"text": "\xff"}),
		"deletion with cells": {Table: "tabletest_item", Row: f.upsert(1, table.Row{"text": "a"}).Row, Delete: true},
	}
	for name, m := range bad {
		good := f.upsert(1, table.Row{"text": "a"})
		if err := f.Apply(f.ctx, []table.Mutation{good, m, good}); !errors.Is(err, table.ErrInvalid) {
			f.t.Errorf("%s gives %v", name, err)
		}
	}
	f.wantGone() // nothing of a bad batch was applied
	short := maps.Clone(f.key())
	delete(short, "name")
	for name, key := range map[string]table.Row{"short": short, "long": f.upsert(1, table.Row{"text": "a"}).Row} {
		if row, err := f.Get(f.ctx, "tabletest_item", key); !errors.Is(err, table.ErrInvalid) {
			f.t.Errorf("a %s key gives %v, %v", name, row, err)
		}
	}
	if _, err := f.Get(f.ctx, "tabletest_absent", f.key()); !errors.Is(err, table.ErrInvalid) {
		f.t.Errorf("Get from an unknown table gives %v", err)
	}
	for name, q := range map[string]table.Query{
		"unknown table":    {Table: "tabletest_absent"},
		"half a partition": {Table: "tabletest_item", Partition: table.Row{"run": f.run}},
		"wrong bound":      {Table: "tabletest_item", Partition: f.partition(), From: []any{"1"}},
		"bounds of all":    {Table: "tabletest_item", From: []any{int64(1)}},
	} {
		count := 0
		for row, err := range f.Scan(f.ctx, q) {
			if count++; !errors.Is(err, table.ErrInvalid) {
				f.t.Errorf("a scan with %s gives %v, %v", name, row, err)
			}
		}
		if count != 1 {
			f.t.Errorf("a scan with %s yields %d times", name, count)
		}
	}
}

func testContext(f fixture) {
	ctx, cancel := context.WithCancel(f.ctx)
	cancel()
	if err := f.Apply(ctx, []table.Mutation{f.upsert(1, nil)}); !errors.Is(err, context.Canceled) {
		f.t.Errorf("Apply gives %v", err)
	}
	if _, err := f.Get(ctx, "tabletest_item", f.key()); !errors.Is(err, context.Canceled) {
		f.t.Errorf("Get gives %v", err)
	}
	errs := 0
	for _, err := range f.Scan(ctx, table.Query{Table: "tabletest_item", Partition: f.partition()}) {
		if errs++; !errors.Is(err, context.Canceled) {
			f.t.Errorf("Scan gives %v", err)
		}
	}
	if errs != 1 {
		f.t.Errorf("Scan yields %d times", errs)
	}
}

func testPing(f fixture) {
	if err := f.Ping(f.ctx); err != nil {
		f.t.Error(err)
	}
}

func (f fixture) partition() table.Row { return table.Row{"run": f.run, "part": int64(1)} }

func (f fixture) wantGone() {
	f.t.Helper()
	if row, err := f.Get(f.ctx, "tabletest_item", f.key()); !errors.Is(err, table.ErrNotFound) || row != nil {
		f.t.Errorf("the row is %v, %v, want none", row, err)
	}
}
