// Package tabletest holds the tests that every table.Store passes. They make the store's semantics, and not one store,
// the interface.
//
// The tests write to partitions of their own, named anew in each run, so that they may share a store with each other
// and with what it already holds. A store that must know its tables beforehand takes them from table.Tables.
package tabletest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"sync/atomic"
	"testing"
	"time"

	"darkroom/internal/table"
)

// item is clustered by a number and a text.
type item struct {
	Run     string `cql:"run,partition"`
	Part    int64  `cql:"part,partition"`
	Num     int64  `cql:"num,clustering"`
	Name    string `cql:"name,clustering"`
	Text    string `cql:"text"`
	Data    []byte `cql:"data"`
	Flag    bool   `cql:"flag"`
	Count   int64  `cql:"count"`
	Version int64  `cql:"version,version"`
}

// lump is clustered by a boolean and bytes.
type lump struct {
	Run     string `cql:"run,partition"`
	Flag    bool   `cql:"flag,clustering"`
	Data    []byte `cql:"data,clustering"`
	Note    string `cql:"note"`
	Version int64  `cql:"version,version"`
}

// single has one row a partition, and keys of every other type.
type single struct {
	Run     string `cql:"run,partition"`
	Data    []byte `cql:"data,partition"`
	Flag    bool   `cql:"flag,partition"`
	Note    string `cql:"note"`
	Version int64  `cql:"version,version"`
}

var (
	items   = table.Define[item]("tabletest_item")
	lumps   = table.Define[lump]("tabletest_lump")
	singles = table.Define[single]("tabletest_single")
)

var runs atomic.Int64

// newRun names partitions that nothing has been written to.
func newRun() string { return fmt.Sprintf("%x-%d", time.Now().UnixNano(), runs.Add(1)) }

// fixture is a store under test, with the checks that most tests need.
type fixture struct {
	table.Store
	t   testing.TB
	ctx context.Context
	run string
}

func newFixture(t *testing.T, open func(*testing.T) table.Store) fixture {
	return fixture{Store: open(t), t: t, ctx: t.Context(), run: newRun()}
}

func (f fixture) apply(muts ...table.Mutation) {
	f.t.Helper()
	if err := f.Apply(f.ctx, muts); err != nil {
		f.t.Fatal(err)
	}
}

// key is the key of the item that most tests use.
func (f fixture) key() table.Row { return items.Key(item{Run: f.run, Part: 1, Num: 2, Name: "row"}) }

// upsert sets cells of that item.
func (f fixture) upsert(version int64, cells table.Row) table.Mutation {
	row := f.key()
	maps.Copy(row, cells)
	return table.Mutation{Table: "tabletest_item", Row: row, Version: version}
}

func (f fixture) remove(version int64) table.Mutation {
	return table.Mutation{Table: "tabletest_item", Row: f.key(), Delete: true, Version: version}
}

// wantCells checks which cells that item has.
func (f fixture) wantCells(cells table.Row) {
	f.t.Helper()
	want := f.key()
	maps.Copy(want, cells)
	got, err := f.Get(f.ctx, "tabletest_item", f.key())
	if err != nil || !equalRows(got, want) {
		f.t.Errorf("the row is %v, %v, want %v", got, err, want)
	}
}

// scan collects the rows of a query.
func (f fixture) scan(q table.Query) []table.Row {
	f.t.Helper()
	var rows []table.Row
	for row, err := range f.Scan(f.ctx, q) {
		if err != nil {
			f.t.Fatal(err)
		}
		rows = append(rows, row)
	}
	return rows
}

// equalRows compares rows, taking a nil Blob for an empty one.
func equalRows(a, b table.Row) bool { return maps.EqualFunc(a, b, equalValues) }

func equalValues(a, b any) bool {
	x, isBlob := a.([]byte)
	y, areBlobs := b.([]byte)
	if isBlob && areBlobs {
		return bytes.Equal(x, y)
	}
	return !isBlob && !areBlobs && a == b
}
