package embedded_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"darkroom/internal/table"
	"darkroom/internal/table/embedded"
)

func versionsOf(records []published, image string) (versions []int64) {
	for _, r := range records {
		if r.Row["image_id"] == image {
			versions = append(versions, r.Version)
		}
	}
	return versions
}

// Every applied mutation is published, losers and repetitions too, and those of a row in the order of their Apply.
func TestChangesArePublishedInTheOrderOfEachRow(t *testing.T) {
	b := startBroker(t)
	s := openStore(t, t.TempDir(), embedded.Options{Brokers: []string{b.addr()}})
	const rows, writes = 6, 50
	var writers sync.WaitGroup
	for row := range rows {
		writers.Go(func() {
			for i := range writes {
				version := int64(i*7%writes + 1) // up and down: most writes lose
				if err := s.Apply(t.Context(), []table.Mutation{band(fmt.Sprint(row), version)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	eventually(t, "an empty backlog", noBacklog(s))
	records := b.consume(func(all []published) bool { return len(all) >= rows*writes })
	for row := range rows {
		var want []int64
		for i := range writes {
			want = append(want, int64(i*7%writes+1))
		}
		if got := versionsOf(records, fmt.Sprint(row)); !slices.Equal(got, want) {
			t.Errorf("row %d was published as %v, want %v", row, got, want)
		}
	}
	partitions := map[string]int32{}
	for _, r := range records {
		if p, ok := partitions[r.key]; ok && p != r.partition {
			t.Errorf("the row %s is in partitions %d and %d", r.key, p, r.partition)
		}
		partitions[r.key] = r.partition
		if r.topic != "cdc.darkroom.hash_band" {
			t.Errorf("a change of hash_band is on %s", r.topic)
		}
	}
}

func TestChangesOfOneBatchKeepItsOrder(t *testing.T) {
	b := startBroker(t)
	s := openStore(t, t.TempDir(), embedded.Options{Brokers: []string{b.addr()}})
	const n = 5000
	var muts []table.Mutation
	var want []int64
	for i := range int64(n) {
		muts = append(muts, band("one", n-i))
		want = append(want, n-i)
	}
	muts = append(muts, table.Mutation{Table: "hash_band", Row: table.HashBands.Key(table.HashBand{Tenant: "t",
		Band: "sha256", Value: "v", ImageID: "one"}), Delete: true, Version: 2})
	want = append(want, 2)
	mustApply(t, s, muts...)
	records := b.consume(func(all []published) bool { return len(all) >= n+1 })
	if got := versionsOf(records, "one"); !slices.Equal(got, want) {
		t.Errorf("%d changes come in another order than their batch", len(got))
	}
	if last := records[len(records)-1]; last.Op != table.OpDelete {
		t.Errorf("the deletion is published as %+v", last.Change)
	}
}

// While Kafka is away writes succeed and the log grows, also over a restart of the store; then everything is published.
func TestKafkaGoesAwayAndComesBack(t *testing.T) {
	b := startBroker(t)
	dir := t.TempDir()
	s, err := embedded.Open(t.Context(), dir, embedded.Options{Brokers: []string{b.addr()}})
	if err != nil {
		t.Fatal(err)
	}
	mustApply(t, s, band("a", 1))
	eventually(t, "an empty backlog", noBacklog(s))
	b.stop()
	for version := range int64(100) {
		mustApply(t, s, band("a", version+2))
	}
	if got := s.Backlog(); got != 100 {
		t.Errorf("the backlog is %d, want 100", got)
	}
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(patience):
		t.Fatal("Close waits for a Kafka that is away")
	}
	s = openStore(t, dir, embedded.Options{Brokers: []string{b.addr()}})
	if got := s.Backlog(); got != 100 {
		t.Errorf("the backlog after a restart is %d, want 100", got)
	}
	mustApply(t, s, band("a", 102))
	b.start()
	eventually(t, "an empty backlog", noBacklog(s))
	mustApply(t, s, band("a", 103))
	eventually(t, "an empty backlog", noBacklog(s))
	records := b.consume(func(all []published) bool { return len(versionsOf(all, "a")) >= 103 })
	wantInOrder(t, versionsOf(records, "a"), 103)
}

// wantInOrder checks that the versions 1 to last all come, each for the first time after the one before it.
func wantInOrder(t *testing.T, versions []int64, last int64) {
	t.Helper()
	next := int64(1)
	for _, v := range versions {
		if v > next {
			t.Fatalf("version %d comes before %d: %v", v, next, versions)
		}
		if v == next {
			next++
		}
	}
	if next != last+1 {
		t.Errorf("the versions end at %d, want %d", next-1, last)
	}
}

// A Kafka that lost its data knows neither the producer nor the topics of before.
func TestKafkaComesBackEmpty(t *testing.T) {
	b := startBroker(t)
	s := openStore(t, t.TempDir(), embedded.Options{Brokers: []string{b.addr()}})
	mustApply(t, s, band("a", 1))
	eventually(t, "an empty backlog", noBacklog(s))
	b.stop()
	mustApply(t, s, band("a", 2))
	b.dir = t.TempDir()
	b.start()
	eventually(t, "an empty backlog", noBacklog(s))
	b.consume(func(all []published) bool { return slices.Contains(versionsOf(all, "a"), 2) })
}

// A word of progress says that all before it can be read, so it waits for that, also on other topics.
func TestProgressIsPublishedLast(t *testing.T) {
	words, changes := table.ChangeTopic("progress"), table.ChangeTopic("hash_band")
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, words))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	admin := kadm.NewClient(client)
	published := func() int64 {
		ends, err := admin.ListEndOffsets(t.Context(), words)
		if err != nil {
			t.Fatal(err)
		}
		end, _ := ends.Lookup(words, 0)
		return end.Offset
	}
	progress := func(to int64) table.Mutation {
		return table.Progresses.Mutation(table.Progress{Pipeline: "live", CompleteTo: to, Version: to})
	}
	s := openStore(t, t.TempDir(), embedded.Options{Brokers: cluster.ListenAddrs()})
	mustApply(t, s, progress(1))
	eventually(t, "an empty backlog", noBacklog(s))

	mustApply(t, s, band("a", 1), progress(2))
	for end := time.Now().Add(500 * time.Millisecond); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if n := published(); n != 1 {
			t.Fatal("progress is published before what it speaks of")
		}
	}
	if _, err := admin.CreateTopic(t.Context(), 1, 1, nil, changes); err != nil {
		t.Fatal(err)
	}
	eventually(t, "an empty backlog", noBacklog(s))
	if n := published(); n < 2 {
		t.Errorf("%d words of progress are published", n)
	}
}

// Positions say which of two changes is later, also after a restart that found an empty log.
func TestPositionsGoOnAfterARestart(t *testing.T) {
	b := startBroker(t)
	dir := t.TempDir()
	for version := range int64(3) {
		s, err := embedded.Open(t.Context(), dir, embedded.Options{Brokers: []string{b.addr()}})
		if err != nil {
			t.Fatal(err)
		}
		mustApply(t, s, band("a", version+1), band("a", version+1))
		eventually(t, "an empty backlog", noBacklog(s))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	last := int64(-1)
	for _, r := range b.consume(func(all []published) bool { return len(all) >= 6 }) {
		if r.Position <= last {
			t.Errorf("position %d comes after %d", r.Position, last)
		}
		last = r.Position
	}
}

// Without brokers there is no log, and what an earlier Open logged stays for the next one with brokers.
func TestWithoutBrokersNothingIsLogged(t *testing.T) {
	b := startBroker(t)
	b.stop()
	dir := t.TempDir()
	open := func(o embedded.Options, m table.Mutation) (backlog int64) {
		s, err := embedded.Open(t.Context(), dir, o)
		if err != nil {
			t.Fatal(err)
		}
		mustApply(t, s, m)
		backlog = s.Backlog()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return backlog
	}
	withBrokers := embedded.Options{Brokers: []string{b.addr()}}
	open(withBrokers, band("a", 1))
	if got := open(embedded.Options{}, band("a", 2)); got != 0 {
		t.Errorf("without brokers the backlog is %d", got)
	}
	if got := open(withBrokers, band("a", 3)); got != 2 {
		t.Errorf("with brokers again the backlog is %d, want 2", got)
	}
}
