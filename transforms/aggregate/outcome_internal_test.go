package aggregate

import (
	"fmt"
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

// draw draws what became of an upload and of its replays, whatever each job may find. The first is of the upload itself.
func draw(t *rapid.T) []tally {
	all := make([]tally, rapid.IntRange(1, 6).Draw(t, "records"))
	for i := range all {
		o := outcome{version: int64(100 + i), tenant: "t", sums: Sums{Rejected: 1}}
		if rapid.Bool().Draw(t, "analysed") {
			o.sums = Sums{Images: 1, Bytes: 10, Pixels: rapid.Int64Range(1, 3).Draw(t, "pixels")}
			o.format = rapid.SampledFrom([]string{"jpeg", "png"}).Draw(t, "format")
			o.camera = rapid.SampledFrom([]string{"", "Canon"}).Draw(t, "camera")
		}
		all[i] = tally{records: 1, refused: i == 0, latest: o}
	}
	if all[0].latest.sums.Images > 0 { // it counts for itself, and is not tallied
		all = all[1:]
	}
	return all
}

func TestTheLastReplayCountsInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := draw(t)
		want := map[string]Sums{}
		for _, one := range all { // each key that any of them counts for has an event of every record
			for _, k := range one.latest.keys() {
				want[k] = Sums{Events: int64(len(all))}
			}
		}
		if len(all) > 0 && all[0].refused { // and what counts is the last
			last := all[len(all)-1].latest
			for _, k := range last.keys() {
				want[k] = want[k].plus(last.sums)
			}
		}

		got := map[string]Sums{}
		var kept tally
		for _, one := range rapid.Permutation(all).Draw(t, "order") {
			kept.add(one, func(k string, s Sums) {
				if s.Events <= 0 {
					t.Fatalf("%q changes by %+v: its pane would not be fuller", k, s)
				}
				got[k] = got[k].plus(s)
			})
			kept.add(tally{latest: kept.latest}, func(k string, s Sums) { t.Fatalf("a repeat changes %q by %+v", k, s) })
			again, err := decodeTally(kept.encode())
			if err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(again) != fmt.Sprint(kept) {
				t.Fatalf("%+v became %+v", kept, again)
			}
			kept = again
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v\nwant %+v", got, want)
		}
	})
}

func FuzzDecodeTally(f *testing.F) {
	var kept tally
	kept.add(tally{latest: outcome{version: 1, tenant: "t", sums: Sums{Images: 1}, format: "jpeg"}}, func(string, Sums) {})
	f.Add(kept.encode())
	kept.add(tally{refused: true, latest: outcome{version: 2, tenant: "t", sums: Sums{Rejected: 1}}}, func(string, Sums) {})
	f.Add(kept.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		kept, err := decodeTally(b)
		if err != nil {
			return
		}
		again, err := decodeTally(kept.encode())
		if err != nil || fmt.Sprint(again) != fmt.Sprint(kept) {
			t.Fatalf("%+v became %+v: %v", kept, again, err)
		}
	})
}
