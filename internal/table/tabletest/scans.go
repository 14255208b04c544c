package tabletest

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"darkroom/internal/table"
)

// The clustering keys of the scan tests, in order. Text orders by its bytes.
var (
	nums  = []int64{math.MinInt64, -256, -255, -1, 0, 1, 127, 128, 255, 256, math.MaxInt64}
	texts = []string{"", "\x00", "\x00\x00", "\x00\x01", "\x00a", "\x00\u00ff", "\x01", "a", "a\x00", "a\x00b", "aa", "b",
		"\u007f", "é", "éa", "\u00ff", "\u00ff\u00ff", "日本", "\U0010ffff"}
	lumpy = [][]byte{{}, {0}, {0, 0}, {0, 1}, {0, 255}, {0, 255, 1}, {1}, {1, 0}, {254, 255}, {255}, {255, 0}, {255, 1},
		{255, 255}, {255, 255, 0}}
)

type place struct {
	num  int64
	name string
}

// fillItems writes an item for each pair of a number and a text, in no order, and returns the pairs in order.
func (f fixture) fillItems() []place {
	var places []place
	var muts []table.Mutation
	for _, num := range nums {
		for _, name := range texts {
			places = append(places, place{num, name})
			muts = append(muts, items.Mutation(item{Run: f.run, Part: 1, Num: num, Name: name, Version: 1}))
		}
	}
	// Neighbours that must not show: partitions beside this one.
	for _, part := range []int64{0, 2, -1} {
		muts = append(muts, items.Mutation(item{Run: f.run, Part: part, Num: 1, Name: "a", Version: 1}))
	}
	muts = append(muts, items.Mutation(item{Run: f.run + "\x00", Part: 1, Num: 1, Name: "a", Version: 1}))
	rand.Shuffle(len(muts), func(i, j int) { muts[i], muts[j] = muts[j], muts[i] })
	f.apply(muts...)
	return places
}

func (f fixture) wantPlaces(q table.Query, want []place) {
	f.t.Helper()
	var got []place
	for _, row := range f.scan(q) {
		it, err := items.FromRow(row)
		if err != nil || it.Run != f.run || it.Part != 1 {
			f.t.Errorf("the scan yields %v, %v", row, err)
		}
		got = append(got, place{it.Num, it.Name})
	}
	if !slices.Equal(got, want) {
		f.t.Errorf("from %q to %q limit %d the scan yields %+v, want %+v", q.From, q.To, q.Limit, got, want)
	}
}

func testScanPartition(f fixture) {
	places := f.fillItems()
	f.wantPlaces(table.Query{Table: "tabletest_item", Partition: f.partition()}, places)
	f.wantPlaces(table.Query{Table: "tabletest_item", Partition: table.Row{"run": f.run, "part": int64(3)}}, nil)
}

func testScanRange(f fixture) {
	places := f.fillItems()
	bounds := [][]any{nil}
	for _, num := range []int64{math.MinInt64, -255, -2, 0, 256, math.MaxInt64} {
		bounds = append(bounds, []any{num})
		for _, name := range []string{"", "\x00", "a", "a\x00", "a\x01", "é", "\U0010ffff"} {
			bounds = append(bounds, []any{num, name})
		}
	}
	before := func(p place, bound []any) bool { // p lies before all rows that begin with the bound
		return compareValues([]any{p.num, p.name}[:len(bound)], bound) < 0
	}
	for range 300 {
		from, to := bounds[rand.IntN(len(bounds))], bounds[rand.IntN(len(bounds))]
		var want []place
		for _, p := range places {
			if (from == nil || !before(p, from)) && (to == nil || before(p, to)) {
				want = append(want, p)
			}
		}
		f.wantPlaces(table.Query{Table: "tabletest_item", Partition: f.partition(), From: from, To: to}, want)
	}
	// The two examples of the contract: a bound stands before the rows that begin with it.
	q := table.Query{Table: "tabletest_item", Partition: f.partition(), From: []any{int64(0)}, To: []any{int64(1)}}
	f.wantPlaces(q, places[4*len(texts):5*len(texts)])
	q.To = []any{int64(0)}
	f.wantPlaces(q, nil)
}

func testScanBytes(f fixture) {
	var want []string
	var muts []table.Mutation
	for _, flag := range []bool{false, true} {
		for _, data := range lumpy {
			want = append(want, fmt.Sprintf("%v %x", flag, data))
			muts = append(muts, lumps.Mutation(lump{Run: f.run, Flag: flag, Data: data, Version: 1}))
		}
	}
	slices.Reverse(muts)
	f.apply(muts...)
	check := func(q table.Query, want []string) {
		f.t.Helper()
		q.Table, q.Partition = "tabletest_lump", table.Row{"run": f.run}
		var got []string
		for _, row := range f.scan(q) {
			got = append(got, fmt.Sprintf("%v %x", row["flag"], row["data"]))
		}
		if !slices.Equal(got, want) {
			f.t.Errorf("from %v to %v the scan yields %q, want %q", q.From, q.To, got, want)
		}
	}
	n := len(lumpy)
	check(table.Query{}, want)
	check(table.Query{From: []any{true}}, want[n:])
	check(table.Query{To: []any{true}}, want[:n])
	check(table.Query{From: []any{false, []byte{1}}, To: []any{true, []byte{}}}, want[6:n])
	check(table.Query{From: []any{true, []byte{255}}, To: []any{true, []byte{255, 255}}}, want[n+9:n+12])
}

func testScanSingle(f fixture) {
	row := single{Run: f.run, Data: []byte{0}, Flag: true, Note: "a", Version: 1}
	f.apply(singles.Mutation(row), singles.Mutation(single{Run: f.run, Data: []byte{0}, Note: "b", Version: 1}))
	rows := f.scan(table.Query{Table: "tabletest_single", Partition: singles.Key(row)})
	if len(rows) != 1 || rows[0]["note"] != "a" {
		f.t.Errorf("the partition of one row yields %v", rows)
	}
}

// A scan of all partitions yields each row once, and those of one partition together and in order.
func testScanAll(f fixture) {
	const partitions, rows = 7, 250
	var muts []table.Mutation
	for part := range partitions {
		for num := range rows {
			muts = append(muts, items.Mutation(item{Run: f.run, Part: int64(part), Num: int64(num), Version: 1}))
		}
	}
	rand.Shuffle(len(muts), func(i, j int) { muts[i], muts[j] = muts[j], muts[i] })
	f.apply(muts...)
	next := map[int64]int64{}
	last := int64(-1)
	for _, row := range f.scan(table.Query{Table: "tabletest_item"}) {
		it, err := items.FromRow(row)
		if err != nil {
			f.t.Fatal(err)
		}
		if it.Run != f.run {
			continue // what else the store holds
		}
		if _, seen := next[it.Part]; seen && last != it.Part {
			f.t.Fatalf("partition %d comes in two pieces", it.Part)
		}
		if it.Num != next[it.Part] {
			f.t.Fatalf("partition %d yields %d, want %d", it.Part, it.Num, next[it.Part])
		}
		next[it.Part], last = it.Num+1, it.Part
	}
	for part := range int64(partitions) {
		if next[part] != rows {
			f.t.Errorf("partition %d yields %d rows", part, next[part])
		}
	}
}

func testScanLimit(f fixture) {
	places := f.fillItems()
	for _, limit := range []int{1, 2, len(texts), len(places) - 1, len(places), len(places) + 1} {
		want := places[:min(limit, len(places))]
		f.wantPlaces(table.Query{Table: "tabletest_item", Partition: f.partition(), Limit: limit}, want)
	}
	q := table.Query{Table: "tabletest_item", Partition: f.partition(), From: []any{int64(0), "a"}, Limit: 3}
	at := slices.Index(places, place{0, "a"})
	f.wantPlaces(q, places[at:at+3])
	if rows := f.scan(table.Query{Table: "tabletest_item", Limit: 5}); len(rows) != 5 {
		f.t.Errorf("all partitions with limit 5 yield %d rows", len(rows))
	}
}

// A consumer may leave a scan at any row, write during one, and start one within another.
func testScanStops(f fixture) {
	places := f.fillItems()
	q := table.Query{Table: "tabletest_item", Partition: f.partition()}
	for stop := range 3 {
		n := 0
		for _, err := range f.Scan(f.ctx, q) {
			if err != nil {
				f.t.Fatal(err)
			}
			f.apply(f.upsert(int64(n+1), table.Row{"text": "meanwhile"}))
			if rows := f.scan(table.Query{Table: q.Table, Partition: q.Partition, Limit: 2}); len(rows) != 2 {
				f.t.Errorf("a scan within a scan yields %v", rows)
			}
			if n++; n > stop {
				break
			}
		}
	}
	if got := len(f.scan(q)); got != len(places)+1 { // and the row that was written meanwhile
		f.t.Errorf("the partition holds %d rows", got)
	}
}

// Rows of together some megabytes, more than a store hands over at once.
func testScanLargeRows(f fixture) {
	const rows = 120
	data := bytes.Repeat([]byte{7}, 50_000)
	for num := range rows {
		f.apply(items.Mutation(item{Run: f.run, Part: 1, Num: int64(num), Data: data, Version: 1}))
	}
	got := f.scan(table.Query{Table: "tabletest_item", Partition: f.partition()})
	if len(got) != rows {
		f.t.Fatalf("the scan yields %d rows, want %d", len(got), rows)
	}
	for num, row := range got {
		if row["num"] != int64(num) || !bytes.Equal(row["data"].([]byte), data) {
			f.t.Errorf("row %d is damaged", num)
		}
	}
}

func testScanDeleted(f fixture) {
	const rows = 3000
	var muts []table.Mutation
	for num := range int64(rows) {
		row := item{Run: f.run, Part: 1, Num: num, Version: 1}
		muts = append(muts, items.Mutation(row))
		if num%1000 != 999 {
			muts = append(muts, table.Mutation{Table: "tabletest_item", Row: items.Key(row), Delete: true, Version: 2})
		}
	}
	f.apply(muts...)
	f.wantPlaces(table.Query{Table: "tabletest_item", Partition: f.partition()}, []place{{999, ""}, {1999, ""}, {2999, ""}})
	f.wantPlaces(table.Query{Table: "tabletest_item", Partition: f.partition(), Limit: 2}, []place{{999, ""}, {1999, ""}})
}
