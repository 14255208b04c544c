package tabletest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"

	"darkroom/internal/table"
)

func testLargeBatch(f fixture) {
	const rows = 10_000
	muts := make([]table.Mutation, rows)
	for i := range muts {
		muts[i] = items.Mutation(item{Run: f.run, Part: 1, Num: int64(i), Name: "row", Text: fmt.Sprint(i),
			Count: int64(i), Version: int64(i)})
	}
	f.apply(muts...)
	got := f.scan(table.Query{Table: "tabletest_item", Partition: f.partition()})
	if len(got) != rows {
		f.t.Fatalf("the partition holds %d rows, want %d", len(got), rows)
	}
	for i, row := range got {
		if !equalRows(row, muts[i].Row) {
			f.t.Fatalf("row %d is %v, want %v", i, row, muts[i].Row)
		}
	}
}

// Writers that share rows and take turns as they like leave the newest write of each cell.
func testConcurrentWriters(f fixture) {
	const writers, writes, rows = 8, 60, 5
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range writes {
				version := int64(i*writers + (i+w)%writers) // each version is written once
				var muts []table.Mutation
				for num := range int64(rows) {
					muts = append(muts, items.Mutation(item{Run: f.run, Part: 1, Num: num, Name: "row",
						Text: fmt.Sprint(version), Count: version, Version: version}))
				}
				rand.Shuffle(len(muts), func(i, j int) { muts[i], muts[j] = muts[j], muts[i] })
				if err := f.Apply(f.ctx, muts); err != nil {
					f.t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	got := f.scan(table.Query{Table: "tabletest_item", Partition: f.partition()})
	if len(got) != rows {
		f.t.Fatalf("the partition holds %d rows, want %d", len(got), rows)
	}
	for _, row := range got {
		if want := int64(writers*writes - 1); row["count"] != want || row["text"] != fmt.Sprint(want) {
			f.t.Errorf("the row is %v, want version %d", row, want)
		}
	}
}

// writeOn upserts the fixture's row, of which count and text always tell the version, until stop is closed.
func (f fixture) writeOn(writers *sync.WaitGroup, stop <-chan struct{}) {
	writers.Go(func() {
		for version := int64(2); ; version++ {
			select {
			case <-stop:
				return
			default:
			}
			m := f.upsert(version, table.Row{"count": version, "text": fmt.Sprint(version)})
			if err := f.Apply(f.ctx, []table.Mutation{m}); err != nil {
				f.t.Error(err)
				return
			}
		}
	})
}

// A reader sees a mutation of a row whole or not at all, and a row never goes back.
func testReadsDuringWrites(f fixture) {
	f.apply(f.upsert(1, table.Row{"count": int64(1), "text": "1"}))
	stop := make(chan struct{})
	var writers, readers sync.WaitGroup
	f.writeOn(&writers, stop)
	for range 2 {
		readers.Go(func() {
			last := int64(0)
			for range 300 {
				row, err := f.Get(f.ctx, "tabletest_item", f.key())
				if err == nil {
					last, err = checkTold(row, last)
				}
				if err != nil {
					f.t.Error(err)
					return
				}
			}
		})
	}
	readers.Wait()
	close(stop)
	writers.Wait()
}

func testScansDuringWrites(f fixture) {
	f.apply(f.upsert(1, table.Row{"count": int64(1), "text": "1"}))
	var beside []table.Mutation
	for num := range int64(50) {
		beside = append(beside, items.Mutation(item{Run: f.run, Part: 1, Num: num + 100, Version: 1}))
	}
	f.apply(beside...)
	stop := make(chan struct{})
	var writers sync.WaitGroup
	f.writeOn(&writers, stop)
	last := int64(0)
	for range 50 {
		rows := f.scan(table.Query{Table: "tabletest_item", Partition: f.partition()})
		if len(rows) != 1+len(beside) {
			f.t.Errorf("the scan yields %d rows", len(rows))
			break
		}
		var err error
		if last, err = checkTold(rows[0], last); err != nil {
			f.t.Error(err)
			break
		}
	}
	close(stop)
	writers.Wait()
}

// checkTold returns the version that the cells of a row tell.
func checkTold(row table.Row, last int64) (int64, error) {
	version, ok := row["count"].(int64)
	if !ok || row["text"] != fmt.Sprint(version) {
		return 0, fmt.Errorf("a reader sees half of a write: %v", row)
	}
	if version < last {
		return 0, errors.New("a row has gone back")
	}
	return version, nil
}
