package tabletest

import (
	"errors"
	"math"

	"pgregory.net/rapid"

	"darkroom/internal/table"
)

// draws makes mutations that meet each other often: few rows, few versions, few values.
type draws struct {
	*rapid.T
	run string
}

var (
	drawnParts    = []int64{-1, 0, 1}
	drawnNums     = []int64{math.MinInt64, -1, 0, 1}
	drawnNames    = []string{"", "\x00", "a", "a\x00", "b"}
	drawnVersions = []int64{-1, 0, 1, 2, 3, math.MaxInt64}
	drawnCells    = map[string][]any{
		"text":    {nil, "", "a", "\x00", "é"},
		"data":    {nil, []byte{}, []byte{0}, []byte{0xff}},
		"flag":    {nil, false, true},
		"count":   {nil, int64(0), int64(1), int64(-1), int64(math.MinInt64)},
		"version": {nil, int64(1), int64(2)},
	}
)

func one[T any](d draws, label string, from []T) T { return rapid.SampledFrom(from).Draw(d.T, label) }

func (d draws) key() table.Row {
	return items.Key(item{Run: d.run, Part: one(d, "part", drawnParts), Num: one(d, "num", drawnNums),
		Name: one(d, "name", drawnNames)})
}

func (d draws) mutation() table.Mutation {
	m := table.Mutation{Table: "tabletest_item", Row: d.key(), Version: one(d, "version", drawnVersions)}
	if m.Delete = rapid.IntRange(0, 4).Draw(d.T, "delete") == 0; m.Delete {
		return m
	}
	for _, c := range items.Table().Regular {
		if rapid.Bool().Draw(d.T, "set "+c.Name) {
			m.Row[c.Name] = one(d, c.Name, drawnCells[c.Name])
		}
	}
	return m
}

// batches cuts the mutations into batches of any sizes.
func (d draws) batches(muts []table.Mutation) [][]table.Mutation {
	var out [][]table.Mutation
	for len(muts) > 0 {
		n := rapid.IntRange(1, len(muts)).Draw(d.T, "batch")
		out, muts = append(out, muts[:n]), muts[n:]
	}
	return out
}

func (d draws) bound(label string) []any {
	switch rapid.IntRange(0, 2).Draw(d.T, label) {
	case 0:
		return nil
	case 1:
		return []any{one(d, "num", drawnNums)}
	}
	return []any{one(d, "num", drawnNums), one(d, "name", drawnNames)}
}

// testModel applies mutations, some of them again, in any order and in any batches, and compares every answer with the
// model's, to which the same set was applied once.
func testModel(f fixture) {
	t := items.Table()
	rapid.Check(f.t.(rapid.TB), func(rt *rapid.T) {
		d := draws{rt, newRun()}
		muts := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) table.Mutation {
			return draws{rt, d.run}.mutation()
		}), 1, 25).Draw(rt, "mutations")
		var m model
		m.apply(muts)
		again := rapid.SliceOfN(rapid.SampledFrom(muts), 0, 10).Draw(rt, "again")
		for _, batch := range d.batches(rapid.Permutation(append(again, muts...)).Draw(rt, "order")) {
			if err := f.Apply(f.ctx, batch); err != nil {
				rt.Fatal(err)
			}
		}
		for _, key := range append(m.keys(t), d.key()) {
			got, err := f.Get(f.ctx, t.Name, key)
			want := m.get(t, key)
			if (want == nil) != errors.Is(err, table.ErrNotFound) || !equalRows(got, want) {
				rt.Fatalf("row %v is %v, %v, want %v", key, got, err, want)
			}
		}
		for range 4 {
			q := table.Query{Table: t.Name, Partition: only(t.Partition, d.key()), From: d.bound("from"), To: d.bound("to"),
				Limit: rapid.IntRange(0, 3).Draw(rt, "limit")}
			f.compareScan(rt, q, m.scan(t, q))
		}
	})
}

func (f fixture) compareScan(rt *rapid.T, q table.Query, want []table.Row) {
	i := 0
	for row, err := range f.Scan(f.ctx, q) {
		if err != nil {
			rt.Fatal(err)
		}
		if i >= len(want) || !equalRows(row, want[i]) {
			rt.Fatalf("%+v yields %v as row %d, want %v", q, row, i, want)
		}
		i++
	}
	if i != len(want) {
		rt.Fatalf("%+v yields %d rows, want %v", q, i, want)
	}
}
