package kafkaio_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/testing/ptest"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"darkroom/transforms/kafkaio"
)

// broker is a Kafka whose fetches can be held, with a topic of some partitions.
type broker struct {
	t *testing.T
	*kfake.Cluster
	adm *kadm.Client
}

func newBroker(t *testing.T, partitions int32, opts ...kfake.Opt) broker {
	t.Helper()
	c, err := kfake.NewCluster(append(opts, kfake.NumBrokers(1), kfake.SeedTopics(partitions, topic))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return broker{t, c, kadm.NewClient(newClient(t, c.ListenAddrs()))}
}

func newClient(t *testing.T, brokers []string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(brokers...))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// holdFetches lets no fetch through until it is released. It tells when the first has come.
func (b broker) holdFetches() (came <-chan struct{}, release func()) {
	fetched, released := make(chan struct{}), make(chan struct{})
	once := sync.OnceFunc(func() { close(fetched) })
	b.ControlKey(int16(kmsg.Fetch), func(kmsg.Request) (kmsg.Response, error, bool) {
		b.KeepControl()
		b.SleepControl(func() { once(); <-released })
		return nil, nil, false
	})
	return fetched, sync.OnceFunc(func() { close(released) })
}

// deleteBefore does what retention does.
func (b broker) deleteBefore(offset int64) {
	b.t.Helper()
	before := kadm.Offsets{}
	before.Add(kadm.Offset{Topic: topic, Partition: 0, At: offset})
	if _, err := b.adm.DeleteRecords(b.t.Context(), before); err != nil {
		b.t.Fatal(err)
	}
}

func (b broker) deleteTopic() {
	b.t.Helper()
	if _, err := b.adm.DeleteTopic(b.t.Context(), topic); err != nil {
		b.t.Fatal(err)
	}
}

func (b broker) makeTopic() {
	b.t.Helper()
	if _, err := b.adm.CreateTopic(b.t.Context(), 1, 1, nil, topic); err != nil {
		b.t.Fatal(err)
	}
}

// run is a pipeline that reads the topic and keeps what it reads.
type run struct {
	t       *testing.T
	brokers []string
	result  beam.PipelineResult
	ended   chan error
}

func start(t *testing.T, b broker, bounded bool, from int64) *run {
	t.Helper()
	forget()
	p, s := beam.NewPipelineWithRoot()
	src := kafkaio.Source{Brokers: b.ListenAddrs(), Topic: topic, From: from, Job: t.Name(), Built: time.Now().UnixMilli()}
	if bounded {
		beam.ParDo0(s, keep, kafkaio.ReadBounded(s, src))
	} else {
		records, ticks := kafkaio.Read(s, src)
		beam.ParDo0(s, keep, records)
		beam.ParDo0(s, keepTick, ticks)
	}
	r := &run{t: t, brokers: b.ListenAddrs(), ended: make(chan error, 1)}
	go func() {
		var err error
		r.result, err = ptest.RunWithMetrics(p)
		r.ended <- err
	}()
	return r
}

// wait returns what the pipeline ends with.
func (r *run) wait() error {
	r.t.Helper()
	select {
	case err := <-r.ended:
		return err
	case <-time.After(30 * time.Second):
		r.t.Fatal("the pipeline did not end")
		return nil
	}
}

func (r *run) drain() {
	r.t.Helper()
	if err := kafkaio.Drain(context.WithoutCancel(r.t.Context()), r.brokers, topic, r.t.Name()); err != nil {
		r.t.Fatal(err)
	}
	if err := r.wait(); err != nil {
		r.t.Fatal(err)
	}
}

func (r *run) lost() (n int64) {
	found := r.result.Metrics().Query(func(m beam.MetricResult) bool {
		return m.Namespace() == "darkroom.kafkaio" && m.Name() == "lost"
	})
	for _, c := range found.Counters() {
		n += c.Result()
	}
	return n
}

// logged is the text that is logged until the test ends.
func logged(t *testing.T) func() string {
	t.Helper()
	var mu sync.Mutex
	var b bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(writer(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return b.Write(p)
	}), nil)))
	t.Cleanup(func() { slog.SetDefault(before) })
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		return b.String()
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

// TestWhatRetentionRemovedIsNamedAndCounted removes records after the reader has looked where the log starts.
func TestWhatRetentionRemovedIsNamedAndCounted(t *testing.T) {
	for name, bounded := range map[string]bool{"streaming": false, "bounded": true} {
		for _, gone := range []int64{40, 100} { // a part, all of it
			t.Run(fmt.Sprint(name, gone), func(t *testing.T) {
				b := newBroker(t, 1)
				log := logged(t)
				want := produce(t, b.ListenAddrs(), 0, 100)[gone:]
				came, release := b.holdFetches()
				defer release()
				r := start(t, b, bounded, 0)
				<-came
				b.deleteBefore(gone)
				release()
				if bounded {
					if err := r.wait(); err != nil {
						t.Fatal(err)
					}
				} else {
					want = append(want, produce(t, b.ListenAddrs(), 100, 110)...)
					eventually(t, "the rest is read", func() bool { return len(seenValues()) >= len(want) })
					r.drain()
				}
				if got := seenValues(); !slices.Equal(got, want) {
					t.Errorf("read %d records, want %d", len(got), len(want))
				}
				if n := r.lost(); n != gone {
					t.Errorf("counted %d lost records, want %d", n, gone)
				}
				line := fmt.Sprintf("topic=events partition=0 wanted=0 continued=%d lost=%d\n", gone, gone)
				if n := strings.Count(log(), line); n != 1 {
					t.Errorf("%d lines %q in\n%s", n, line, log())
				}
			})
		}
	}
}

// TestATopicMadeAnewIsSaid has a reader that stands beyond the end of a new topic of the old name.
func TestATopicMadeAnewIsSaid(t *testing.T) {
	const beyond = " is beyond the log's end 10"
	t.Run("streaming", func(t *testing.T) {
		b := newBroker(t, 1)
		log := logged(t)
		produce(t, b.ListenAddrs(), 0, 100)
		r := start(t, b, false, 0)
		eventually(t, "the records are read", func() bool { return len(seenValues()) >= 100 })
		b.deleteTopic()
		eventually(t, "the reader says that it is gone", func() bool { return strings.Contains(log(), "the topic is gone") })
		b.makeTopic()
		produce(t, b.ListenAddrs(), 0, 10)
		if err := r.wait(); err == nil || !strings.Contains(err.Error(), beyond) {
			t.Errorf("it ended with %v", err)
		}
		if n := strings.Count(log(), "the topic is gone"); n != 1 {
			t.Errorf("it was said %d times", n)
		}
	})
	t.Run("bounded", func(t *testing.T) {
		b := newBroker(t, 1)
		produce(t, b.ListenAddrs(), 0, 100)
		b.deleteBefore(100)
		produce(t, b.ListenAddrs(), 100, 200)
		came, release := b.holdFetches()
		defer release()
		r := start(t, b, true, 0)
		<-came
		b.deleteTopic()
		b.makeTopic()
		produce(t, b.ListenAddrs(), 0, 10)
		release()
		if err := r.wait(); err == nil || !strings.Contains(err.Error(), beyond) {
			t.Errorf("it ended with %v", err)
		}
	})
}

func TestPartitionsThatAreAddedAreRead(t *testing.T) {
	b := newBroker(t, 2)
	r := start(t, b, false, epoch.Add(24*time.Hour).UnixMilli())
	newestTick := func() int64 {
		seen.Lock()
		defer seen.Unlock()
		return slices.Max(append(seen.ticks, 0))
	}
	eventually(t, "the partitions tick", func() bool { return newestTick() > 0 })
	if _, err := b.adm.CreatePartitions(t.Context(), 1, topic); err != nil {
		t.Fatal(err)
	}
	cl := newClient(t, b.ListenAddrs(), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for i, p := range []int32{0, 2, 2} { // the first is older than where the reader begins
		rec := &kgo.Record{Topic: topic, Partition: p, Value: fmt.Append(nil, i), Timestamp: epoch}
		if p == 0 {
			rec.Timestamp = epoch.Add(48 * time.Hour)
		}
		if err := cl.ProduceSync(t.Context(), rec).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the new partition is read", func() bool { return len(seenValues()) >= 3 })
	after := time.Now().UnixMilli()
	eventually(t, "the partitions tick on", func() bool { return newestTick() > after })
	r.drain()
	got := seenValues()
	slices.Sort(got)
	if !slices.Equal(got, []string{"0", "1", "2"}) {
		t.Errorf("read %q", got)
	}
}

func TestTheReadersTellHowFarTheyAre(t *testing.T) {
	b := newBroker(t, 2)
	produce(t, b.ListenAddrs(), 0, 500)
	r := start(t, b, false, 0)
	eventually(t, "the group has the ends", func() bool {
		ends, err := b.adm.ListEndOffsets(t.Context(), topic)
		if err != nil {
			t.Fatal(err)
		}
		told, err := b.adm.FetchOffsets(t.Context(), kafkaio.Group(t.Name()))
		if err != nil {
			return false // there is no such group yet
		}
		equal := true
		ends.Each(func(end kadm.ListedOffset) {
			at, ok := told.Lookup(topic, end.Partition)
			equal = equal && ok && at.At == end.Offset
		})
		return equal
	})
	r.drain()
}

// TestARecordLargerThanAFetchIsRead has records of 2 MiB, where a fetch asks for 1 MiB of a partition.
func TestARecordLargerThanAFetchIsRead(t *testing.T) {
	b := newBroker(t, 1)
	limit := "4194304"
	if _, err := b.adm.AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Name: "max.message.bytes", Value: &limit}}, topic); err != nil {
		t.Fatal(err)
	}
	cl := newClient(t, b.ListenAddrs(), kgo.ProducerBatchMaxBytes(4<<20), kgo.ProducerBatchCompression(kgo.NoCompression()))
	large := strings.Repeat("x", 2<<20)
	for _, v := range []string{"small", large, "small", large} {
		if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: []byte(v)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	for _, bounded := range []bool{true, false} {
		r := start(t, b, bounded, 0)
		if bounded {
			if err := r.wait(); err != nil {
				t.Fatal(err)
			}
		} else {
			eventually(t, "all are read", func() bool { return len(seenValues()) >= 4 })
			r.drain()
		}
		if got := seenValues(); !slices.Equal(got, []string{"small", large, "small", large}) {
			t.Errorf("bounded %v: read %d records", bounded, len(got))
		}
	}
}

func TestAMessageThatTheTopicDoesNotTakeIsSaid(t *testing.T) {
	b := newBroker(t, 1)
	limit := "100"
	if _, err := b.adm.AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Name: "max.message.bytes", Value: &limit}}, topic); err != nil {
		t.Fatal(err)
	}
	value := make([]byte, 999)
	_, _ = rand.NewChaCha8([32]byte{}).Read(value) // which no compression makes smaller
	p, s := beam.NewPipelineWithRoot()
	kafkaio.Write(s, kafkaio.Sink{Brokers: b.ListenAddrs(), Topic: topic},
		beam.Create(s, kafkaio.Message{Key: []byte("k"), Value: value}))
	err := ptest.Run(p)
	if err == nil || !strings.Contains(err.Error(), "write to events: a message of 1000 bytes is over what the topic takes") {
		t.Errorf("it ended with %v", err)
	}
}

func TestCheckSaysWhatIsMissing(t *testing.T) {
	b := newBroker(t, 1)
	if err := kafkaio.Check(t.Context(), b.ListenAddrs(), topic); err != nil {
		t.Error(err)
	}
	for want, c := range map[string]struct{ brokers, topics []string }{
		"list partitions of none: UNKNOWN_TOPIC_OR_PARTITION": {b.ListenAddrs(), []string{topic, "none"}},
		"connect to kafka at [127.0.0.1:1]":                   {[]string{"127.0.0.1:1"}, []string{topic}},
	} {
		err := kafkaio.Check(t.Context(), c.brokers, c.topics...)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
