package kafkaio_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/testing/passert"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/testing/ptest"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"darkroom/internal/event"
	"darkroom/transforms/kafkaio"
)

const topic = "events"

func TestMain(m *testing.M) {
	register.Function1x1(value)
	register.Function1x1(replay)
	register.Function2x0(keep)
	register.Function2x0(keepTick)
	register.Function2x0(messages)
	register.Emitter1[kafkaio.Message]()
	ptest.Main(m)
}

func value(r kafkaio.Record) string { return string(r.Value) }

func replay(r kafkaio.Record) string { return fmt.Sprintf("%s %s %d", r.Value, r.Letter, r.Replay) }

func cluster(t *testing.T) []string {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(4, topic))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c.ListenAddrs()
}

var epoch = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// produce writes records from..to-1, one a second of event time, and returns their values.
func produce(t *testing.T, brokers []string, from, to int) (values []string) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.DefaultProduceTopic(topic))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	var records []*kgo.Record
	for i := from; i < to; i++ {
		v := fmt.Sprintf("value-%05d", i)
		values = append(values, v)
		records = append(records, &kgo.Record{Key: []byte(v), Value: []byte(v), Timestamp: epoch.Add(time.Duration(i) * time.Second)})
	}
	if err := cl.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	return values
}

func anyOf(values []string) []any {
	out := make([]any, len(values))
	for i, v := range values {
		out[i] = v
	}
	return out
}

func TestReadBoundedReadsEachRecordOnce(t *testing.T) {
	brokers := cluster(t)
	want := produce(t, brokers, 0, 3000)
	p, s := beam.NewPipelineWithRoot()
	records := kafkaio.ReadBounded(s, kafkaio.Source{Brokers: brokers, Topic: topic})
	passert.Equals(s, beam.ParDo(s, value, records), anyOf(want)...)
	ptest.RunAndValidate(t, p)
}

func TestARecordSaysWhichReplayItIs(t *testing.T) {
	brokers := cluster(t)
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.DefaultProduceTopic(topic))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	id := strings.Repeat("0a", 16)
	header := func(k, v string) kgo.RecordHeader { return kgo.RecordHeader{Key: k, Value: []byte(v)} }
	for value, headers := range map[string][]kgo.RecordHeader{
		"first":     {header("other", "1")},
		"replay":    {header(event.HeaderLetter, id), header(event.HeaderReplay, "2")},
		"no number": {header(event.HeaderLetter, id), header(event.HeaderReplay, "two")},
		"no letter": {header(event.HeaderReplay, "2")},
		"no replay": {header(event.HeaderLetter, id)},
	} {
		if err := cl.ProduceSync(t.Context(), &kgo.Record{Value: []byte(value), Headers: headers}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	p, s := beam.NewPipelineWithRoot()
	records := kafkaio.ReadBounded(s, kafkaio.Source{Brokers: brokers, Topic: topic})
	passert.Equals(s, beam.ParDo(s, replay, records),
		"first  0", "replay "+id+" 2", "no number  -1", "no letter  -1", "no replay  -1")
	ptest.RunAndValidate(t, p)
}

func TestReadBoundedBeginsAtATime(t *testing.T) {
	brokers := cluster(t)
	want := produce(t, brokers, 0, 400)[250:]
	p, s := beam.NewPipelineWithRoot()
	records := kafkaio.ReadBounded(s, kafkaio.Source{
		Brokers: brokers, Topic: topic, From: epoch.Add(250 * time.Second).UnixMilli(),
	})
	passert.Equals(s, beam.ParDo(s, value, records), anyOf(want)...)
	ptest.RunAndValidate(t, p)
}

func TestReadBoundedOfAnEmptyTopicEnds(t *testing.T) {
	p, s := beam.NewPipelineWithRoot()
	passert.Empty(s, kafkaio.ReadBounded(s, kafkaio.Source{Brokers: cluster(t), Topic: topic}))
	ptest.RunAndValidate(t, p)
}

func TestReadFailsForATopicThatDoesNotExist(t *testing.T) {
	p, s := beam.NewPipelineWithRoot()
	passert.Empty(s, kafkaio.ReadBounded(s, kafkaio.Source{Brokers: cluster(t), Topic: "no-such-topic"}))
	if err := ptest.Run(p); err == nil {
		t.Fatal("no error")
	}
}

// seen collects what a pipeline in this process has read.
var seen struct {
	sync.Mutex
	values []string
	times  []int64
	ticks  []int64
}

func keep(at beam.EventTime, r kafkaio.Record) {
	seen.Lock()
	defer seen.Unlock()
	seen.values = append(seen.values, string(r.Value))
	seen.times = append(seen.times, at.Milliseconds())
}

func keepTick(_ beam.EventTime, ms int64) {
	seen.Lock()
	defer seen.Unlock()
	seen.ticks = append(seen.ticks, ms)
}

func forget() {
	seen.Lock()
	defer seen.Unlock()
	seen.values, seen.times, seen.ticks = nil, nil, nil
}

func seenValues() []string {
	seen.Lock()
	defer seen.Unlock()
	return slices.Clone(seen.values)
}

// eventually fails the test unless the condition comes true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

func TestReadGoesOnUntilItIsDrained(t *testing.T) {
	forget()
	brokers := cluster(t)
	want := produce(t, brokers, 0, 500)
	p, s := beam.NewPipelineWithRoot()
	records, ticks := kafkaio.Read(s, kafkaio.Source{Brokers: brokers, Topic: topic, Job: t.Name(), Built: time.Now().UnixMilli()})
	beam.ParDo0(s, keep, records)
	beam.ParDo0(s, keepTick, ticks)
	ended := make(chan error, 1)
	go func() { ended <- ptest.Run(p) }()
	eventually(t, "the first records are read", func() bool { return len(seenValues()) >= 500 })
	want = append(want, produce(t, brokers, 500, 900)...)
	eventually(t, "the later records are read", func() bool { return len(seenValues()) >= 900 })
	eventually(t, "the idle partitions tick at the present", func() bool {
		seen.Lock()
		defer seen.Unlock()
		return len(seen.ticks) > 0 && slices.Max(seen.ticks) > time.Now().Add(-10*time.Second).UnixMilli()
	})
	if err := kafkaio.Drain(t.Context(), brokers, topic, t.Name()); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the drained job did not end")
	}
	got := seenValues()
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Fatalf("read %d records, want %d, each once", len(got), len(want))
	}
	if first := slices.Min(seen.times); first != epoch.UnixMilli() {
		t.Errorf("the first event time is %d, want the record's own %d", first, epoch.UnixMilli())
	}
}

func messages(_ []byte, emit func(kafkaio.Message)) {
	for i := range 100 {
		emit(kafkaio.Message{Key: fmt.Append(nil, i), Value: fmt.Appendf(nil, "value-%05d", i)})
	}
}

func TestWriteIsDurableWhenThePipelineEnds(t *testing.T) {
	brokers := cluster(t)
	p, s := beam.NewPipelineWithRoot()
	kafkaio.Write(s, kafkaio.Sink{Brokers: brokers, Topic: topic}, beam.ParDo(s, messages, beam.Impulse(s)))
	ptest.RunAndValidate(t, p)
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ends, err := kadm.NewClient(cl).ListEndOffsets(context.Background(), topic)
	if err != nil {
		t.Fatal(err)
	}
	var total int64
	ends.Each(func(o kadm.ListedOffset) { total += o.Offset })
	if total != 100 {
		t.Fatalf("the topic holds %d messages, want 100", total)
	}
}
