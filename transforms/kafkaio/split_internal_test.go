package kafkaio

import (
	"strconv"
	"testing"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/rtrackers/offsetrange"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestARangeThatIsSplitIsReadOnce splits a bounded range while it is read, in the middle of what was polled, as a runner
// does that finds it slow, and reads the rest.
func TestARangeThatIsSplitIsReadOnce(t *testing.T) {
	const n = 1000
	cluster := kfake.MustCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "t"))
	defer cluster.Close()
	cl, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.DefaultProduceTopic("t"))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for i := range n {
		if err := cl.ProduceSync(t.Context(), kgo.StringRecord(strconv.Itoa(i))).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}

	f := &readBoundedFn{Source: Source{Brokers: cluster.ListenAddrs(), Topic: "t"}}
	seen := map[int64]int{}
	todo := []offsetrange.Restriction{{Start: 0, End: n}}
	for splits := 0; len(todo) > 0; todo = todo[1:] {
		rt := f.CreateTracker(todo[0])
		err := f.ProcessElement(t.Context(), rt, Partition{}, func(_ beam.EventTime, r Record) {
			seen[r.Offset]++
			if r.Offset%100 != 50 || splits >= 3 {
				return
			}
			splits++
			_, rest, err := rt.TrySplit(0.5)
			if err != nil || rest == nil {
				t.Errorf("split at %d: %v, %v", r.Offset, rest, err)
				return
			}
			todo = append(todo, rest.(offsetrange.Restriction))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range int64(n) {
		if seen[i] != 1 {
			t.Fatalf("record %d was read %d times", i, seen[i])
		}
	}
}
