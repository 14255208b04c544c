package runners_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"darkroom/runners"
	"darkroom/transforms/dofn"
	"darkroom/transforms/kafkaio"
)

const topic = "events"

var counted = beam.NewCounter("runners.test", "counted")

var (
	prism *runners.Prism
	seen  atomic.Int64
	// broken makes the sink fail.
	broken atomic.Bool
)

func TestMain(m *testing.M) {
	register.Function1x1(count)
	register.Function1x1(fail)
	register.Function2x0(countImpulse)
	register.Function2x0(twins)
	register.Function1x0(pass)
	dofn.Register4x1(&firstFn{})
	register.Emitter2[string, int]()
	register.Emitter1[int]()
	slog.SetDefault(slog.New(slog.DiscardHandler)) // failures are what is tested here
	var err error
	if prism, err = runners.StartPrism(context.Background()); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

func count(kafkaio.Record) error {
	if broken.Load() {
		return errors.New("broken on purpose")
	}
	seen.Add(1)
	return nil
}

func countImpulse(ctx context.Context, _ []byte) { counted.Inc(ctx, 3) }

func TestAJobTellsItsCounters(t *testing.T) {
	p, s := beam.NewPipelineWithRoot()
	beam.ParDo0(s, countImpulse, beam.Impulse(s))
	job, err := prism.Submit(t.Context(), t.Name(), p)
	if err != nil {
		t.Fatal(err)
	}
	if err := job.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	counters, err := job.Counters(t.Context())
	if err != nil || len(counters) != 1 || !strings.Contains(counters[0].Step, "countImpulse") ||
		counters[0].Namespace != "runners.test" || counters[0].Name != "counted" || counters[0].Value != 3 {
		t.Errorf("%+v, %v", counters, err)
	}
}

func fail([]byte) error { return errors.New("it is full") }

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

func TestAFailureSaysWhyInOneLine(t *testing.T) {
	p, s := beam.NewPipelineWithRoot()
	beam.ParDo0(s, fail, beam.Impulse(s))
	job, err := prism.Submit(t.Context(), t.Name(), p)
	if err != nil {
		t.Fatal(err)
	}
	err = job.Wait(t.Context())
	if err == nil || !strings.Contains(err.Error(), "it is full") || strings.Contains(err.Error(), "\n") {
		t.Fatalf("error %v", err)
	}
}

// source is a broker with one record, and a pipeline that reads it for ever.
type source struct {
	t       *testing.T
	brokers []string
}

func newSource(t *testing.T) source {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, topic))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	s := source{t, c.ListenAddrs()}
	s.produce()
	return s
}

func (s source) produce() {
	s.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.brokers...), kgo.DefaultProduceTopic(topic))
	if err != nil {
		s.t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.ProduceSync(s.t.Context(), kgo.StringRecord("x")).FirstErr(); err != nil {
		s.t.Fatal(err)
	}
}

func (s source) build(context.Context) (*beam.Pipeline, error) {
	p, scope := beam.NewPipelineWithRoot()
	records, _ := kafkaio.Read(scope, kafkaio.Source{Brokers: s.brokers, Topic: topic, Job: s.t.Name(), Built: time.Now().UnixMilli()})
	beam.ParDo0(scope, count, records)
	return p, nil
}

func (s source) drain(ctx context.Context) error {
	return kafkaio.Drain(ctx, s.brokers, topic, s.t.Name())
}

// stream keeps the pipeline running until the returned function is called, and waits for its end.
func (s source) stream(maxHeap uint64, started func(*runners.Job)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- prism.Stream(ctx, runners.Streaming{
			Name: s.t.Name(), Build: s.build, Drain: s.drain, MaxHeap: maxHeap, Started: started,
		}, slog.New(slog.DiscardHandler))
	}()
	return func() {
		s.t.Helper()
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				s.t.Errorf("the stream ended with %v", err)
			}
		case <-time.After(30 * time.Second):
			s.t.Error("the stream did not end")
		}
	}
}

func TestAStreamRunsUntilItIsStopped(t *testing.T) {
	seen.Store(0)
	s := newSource(t)
	stop := s.stream(0, nil)
	eventually(t, "the record is read", func() bool { return seen.Load() == 1 })
	s.produce()
	eventually(t, "a later record is read", func() bool { return seen.Load() == 2 })
	stop()
	s.produce()
	time.Sleep(300 * time.Millisecond) // longer than the reader rests
	if n := seen.Load(); n != 2 {
		t.Errorf("a stopped stream read on: %d records", n)
	}
}

func TestAFailedStreamStartsAgain(t *testing.T) {
	seen.Store(0)
	broken.Store(true)
	defer broken.Store(false)
	var starts atomic.Int64
	stop := newSource(t).stream(0, func(*runners.Job) { starts.Add(1) })
	eventually(t, "a second start", func() bool { return starts.Load() >= 2 })
	broken.Store(false)
	eventually(t, "the record is read", func() bool { return seen.Load() >= 1 })
	stop()
}

func TestAStreamThatIsTooLargeIsDrainedAndBegunAnew(t *testing.T) {
	seen.Store(0)
	var starts atomic.Int64
	stop := newSource(t).stream(1, func(*runners.Job) { starts.Add(1) })
	eventually(t, "a second start", func() bool { return starts.Load() >= 2 })
	eventually(t, "the record is read again", func() bool { return seen.Load() >= 2 })
	stop()
}
