package embedded_test

import (
	"context"
	"net"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"darkroom/internal/table"
	"darkroom/internal/table/embedded"
)

const patience = 20 * time.Second // a bound for what has to happen, on a busy machine

// broker is a Kafka that can go away and come back with its data.
type broker struct {
	t       *testing.T
	dir     string
	port    int
	cluster *kfake.Cluster
}

func startBroker(t *testing.T) *broker {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &broker{t: t, dir: filepath.Join(t.TempDir(), "kafka"), port: l.Addr().(*net.TCPAddr).Port}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	b.start()
	t.Cleanup(b.stop)
	return b
}

func (b *broker) addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(b.port)) }

func (b *broker) start() {
	b.t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(b.port), kfake.DataDir(b.dir), kfake.SyncWrites(),
		kfake.SeedTopics(4, table.ChangeTopics()...))
	if err != nil {
		b.t.Fatal(err)
	}
	b.cluster = cluster
}

func (b *broker) stop() {
	if b.cluster != nil {
		b.cluster.Close()
		b.cluster = nil
	}
}

// published is one record of a change topic.
type published struct {
	table.Change
	topic     string
	partition int32
	key       string
}

// consume reads every change topic from the start until enough is true of what was read, in its order by partition.
func (b *broker) consume(enough func([]published) bool) []published {
	b.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(b.addr()), kgo.ConsumeTopics(table.ChangeTopics()...),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(100*time.Millisecond))
	if err != nil {
		b.t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	var all []published
	for !enough(all) {
		fetches := client.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			b.t.Fatalf("%d records were not enough: %v", len(all), err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			c, err := table.DecodeChange(r.Value)
			if err != nil {
				b.t.Error(err)
			}
			all = append(all, published{c, r.Topic, r.Partition, string(r.Key)})
		})
	}
	return all
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s does not come about", what)
		}
	}
}

func noBacklog(s *embedded.Store) func() bool { return func() bool { return s.Backlog() == 0 } }

func band(image string, version int64) table.Mutation {
	return table.HashBands.Mutation(table.HashBand{Tenant: "t", Band: "sha256", Value: "v", ImageID: image, Version: version})
}

func mustApply(t *testing.T, s table.Store, muts ...table.Mutation) {
	t.Helper()
	if err := s.Apply(t.Context(), muts); err != nil {
		t.Fatal(err)
	}
}
