package kafkaio

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/sdf"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/rtrackers/offsetrange"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"
)

// log makes a topic of one partition and a client that writes to it.
func log(t *testing.T, opts ...kgo.Opt) (Source, *kgo.Client) {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.DefaultProduceTopic("log"))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return Source{Brokers: cluster.ListenAddrs(), Topic: "log", Job: t.Name()}, cl
}

func write(t *testing.T, cl *kgo.Client, records ...*kgo.Record) {
	t.Helper()
	if err := cl.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// TestAReaderThatFailedIsNotUsedAgain polls records of which not all are claimed, as when a bundle fails or Kafka answers
// with records and an error: the client stands behind them then.
func TestAReaderThatFailedIsNotUsedAgain(t *testing.T) {
	src, cl := log(t)
	for i := range 5 {
		write(t, cl, kgo.StringRecord(fmt.Sprint(i)))
	}
	rt := sdf.NewLockRTracker(offsetrange.NewTracker(offsetrange.Restriction{Start: 0, End: 100}))
	for next := int64(0); next < 5; {
		r, err := readers.take(src, 0, next)
		if err != nil {
			t.Fatal(err)
		}
		records, err := r.poll(t.Context(), 5*time.Second)
		if err != nil || len(records) == 0 {
			t.Fatalf("at %d: %d records, %v", next, len(records), err)
		}
		if records[0].Offset != next {
			t.Fatalf("record %d comes where %d is next", records[0].Offset, next)
		}
		if !r.claim(rt, records[0]) {
			t.Fatal(rt.GetError())
		}
		next = r.next
		readers.put(r)
	}
}

func TestRecordsOfAnAbortedTransactionAreNotRead(t *testing.T) {
	src, cl := log(t, kgo.TransactionalID("writer"))
	for _, end := range []kgo.TransactionEndTry{kgo.TryAbort, kgo.TryCommit, kgo.TryAbort} {
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		write(t, cl, kgo.StringRecord(fmt.Sprint(end)))
		if err := cl.EndTransaction(t.Context(), end); err != nil {
			t.Fatal(err)
		}
	}
	f := &readBoundedFn{Source: src}
	r, err := f.CreateInitialRestriction(t.Context(), Partition{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	err = f.ProcessElement(t.Context(), f.CreateTracker(r), Partition{}, func(_ beam.EventTime, r Record) {
		got = append(got, string(r.Value))
	})
	if want := []string{fmt.Sprint(kgo.TryCommit)}; err != nil || !slices.Equal(got, want) {
		t.Errorf("read %q, want %q; %v", got, want, err)
	}
}

func TestARecordFromTheFutureMovesNoWatermarkBeyondTheClock(t *testing.T) {
	src, cl := log(t)
	write(t, cl, &kgo.Record{Timestamp: time.Now().AddDate(10, 0, 0)}, &kgo.Record{Timestamp: time.Now()})
	f := &readFn{Source: src}
	wm, rt := f.CreateWatermarkEstimator(0), f.CreateTracker(offsetrange.Restriction{Start: 0, End: 100})
	n := 0
	_, err := f.ProcessElement(t.Context(), wm, rt, Partition{}, func(beam.EventTime, Record) { n++ }, func(_ beam.EventTime, tick int64) {
		if ahead := time.Until(time.UnixMilli(tick)); ahead > 0 {
			t.Errorf("a tick is %v ahead", ahead)
		}
	})
	if err != nil || n != 2 {
		t.Fatalf("%d records, %v", n, err)
	}
	if at := wm.CurrentWatermark(); at.After(time.Now()) || time.Since(at) > time.Minute {
		t.Errorf("the watermark is %v", at)
	}
}

// TestAJobThatResumesMissesNothingThatIsLate has records that are older than where the job begins, as replays and what was
// published late are.
func TestAJobThatResumesMissesNothingThatIsLate(t *testing.T) {
	src, cl := log(t)
	old := time.Now().Add(-48 * time.Hour)
	for range 5 {
		write(t, cl, &kgo.Record{Timestamp: old})
	}
	src.From, src.Resume = time.Now().Add(-time.Hour).UnixMilli(), true
	check := func(what string, want int64) {
		t.Helper()
		if got, err := firstOffset(t.Context(), src, 0); err != nil || got != want {
			t.Errorf("%s it begins at %d, %v, want %d", what, got, err, want)
		}
	}
	check("with nothing told", 5)
	for _, told := range []struct {
		metadata string
		at, want int64
	}{{"", 3, 3}, {"2", 4, 2}, {"not ours", 4, 4}, {"4", 9, 4}, {"7", 9, 5}} {
		offsets := kadm.Offsets{}
		offsets.Add(kadm.Offset{Topic: src.Topic, At: told.at, LeaderEpoch: -1, Metadata: told.metadata})
		if err := kadm.NewClient(cl).CommitAllOffsets(t.Context(), Group(src.Job), offsets); err != nil {
			t.Fatal(err)
		}
		check(fmt.Sprintf("with %+v told", told), told.want)
	}
	src.Resume = false
	check("told a time", 5)
}

// TestWhatIsSettledWasPassedLongAgo checks that a place counts as settled once the job has stood at it, or behind it, for a
// minute, and that a job which goes back settles no more until it has read once more.
func TestWhatIsSettledWasPassedLongAgo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now, next := time.Unix(0, 0), int64(rapid.IntRange(0, 100).Draw(t, "start"))
		tr := trail(nil).pass(now, next)
		seen := []passing{{now, next}}
		for range rapid.IntRange(1, 200).Draw(t, "calls") {
			now = now.Add(time.Duration(rapid.IntRange(0, 30).Draw(t, "seconds")) * time.Second)
			if rapid.IntRange(0, 20).Draw(t, "back") == 0 {
				next = max(0, next-int64(rapid.IntRange(1, 50).Draw(t, "by")))
			} else {
				next += int64(rapid.IntRange(0, 9).Draw(t, "on"))
			}
			if next < seen[len(seen)-1].next {
				seen = []passing{{now, min(next, tr[0].next)}}
			}
			seen = append(seen, passing{now, next})
			want := seen[0].next
			for _, p := range seen {
				if now.Sub(p.at) >= settleAfter {
					want = p.next
				}
			}
			if tr = tr.pass(now, next); tr[0].next != want || len(tr) > 200 {
				t.Fatalf("settled at %d, want %d; %d places are kept", tr[0].next, want, len(tr))
			}
		}
	})
}
