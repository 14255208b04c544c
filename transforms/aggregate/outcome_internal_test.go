package aggregate

import (
	"fmt"
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

// outcomes draws what became of an upload and of its replays, whatever each job may find.
func outcomes(t *rapid.T) []outcome {
	n := rapid.IntRange(1, 6).Draw(t, "records")
	all := make([]outcome, n)
	for i := range all {
		all[i] = outcome{version: int64(100 + i), tenant: "t", sums: Sums{Rejected: 1}}
		if rapid.Bool().Draw(t, "analysed") {
			all[i].sums = Sums{Images: 1, Bytes: 10, Pixels: rapid.Int64Range(1, 3).Draw(t, "pixels")}
			all[i].format = rapid.SampledFrom([]string{"jpeg", "png"}).Draw(t, "format")
			all[i].camera = rapid.SampledFrom([]string{"", "Canon"}).Draw(t, "camera")
		}
	}
	return all
}

func TestTheLastReplayCountsInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := outcomes(t)
		want := map[string]Sums{}
		for _, o := range all { // the events of each key that any of them counts for, the sums of the last
			for _, k := range o.keys() {
				want[k] = Sums{Events: int64(len(all))}
			}
		}
		last := all[len(all)-1]
		for _, k := range last.keys() {
			want[k] = want[k].plus(last.sums)
		}

		arriving := rapid.Permutation(all).Draw(t, "order")
		got := map[string]Sums{}
		var kept tally
		for _, o := range arriving {
			seen := map[string]bool{}
			change := func(k string, s Sums) {
				if seen[k] || s.Events <= 0 {
					t.Fatalf("%q changes by %+v, once more %v: its pane would not be fuller", k, s, seen[k])
				}
				seen[k] = true
				got[k] = got[k].plus(s)
			}
			kept.add(o, change)
			kept.add(kept.latest, func(k string, s Sums) { t.Fatalf("a repeat changes %q by %+v", k, s) })
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
	kept.add(outcome{version: 1, tenant: "t", sums: Sums{Images: 1}, format: "jpeg"}, func(string, Sums) {})
	f.Add(kept.encode())
	kept.add(outcome{version: 2, tenant: "t", sums: Sums{Rejected: 1}}, func(string, Sums) {})
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
