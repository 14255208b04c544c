package kafkaio

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"reflect"
	"slices"
	"time"

	"darkroom/transforms/dofn"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/sdf"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/rtrackers/offsetrange"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// How often the topic is asked for new partitions, and how long the step that does so rests between its calls, in
	// which it also looks whether the job is to be drained.
	growthCheckEvery = 2 * time.Second
	growthRest       = time.Second
	// How far the watermark of that step is ahead of the clock, so that it never holds back what the readers allow.
	growthLead = time.Minute
	// How long Check waits for the broker.
	checkWait = 10 * time.Second
)

func init() {
	dofn.Register5x2(&growingFn{})
	dofn.Register3x1(&partitionsFn{})
	register.Emitter1[Partition]()
	beam.RegisterType(reflect.TypeFor[Partition]())
}

// Partition is a partition to be read.
type Partition struct {
	Number int32
	Later  bool // it appeared while the job ran, so that all of it is new
}

// Check returns an error if a broker does not answer or a topic does not exist.
func Check(ctx context.Context, brokers []string, topics ...string) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		return fmt.Errorf("open kafka client: %w", err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(ctx, checkWait)
	defer cancel()
	if err := cl.Ping(ctx); err != nil {
		return fmt.Errorf("connect to kafka at %v: %w", brokers, err)
	}
	for _, topic := range topics {
		if _, _, err := countPartitions(ctx, cl, topic); err != nil {
			return err
		}
	}
	return nil
}

// countPartitions is how many partitions the topic has, and how many of them, from the first, have a leader: one that
// has just been added has none yet.
func countPartitions(ctx context.Context, cl *kgo.Client, topic string) (all, led int64, err error) {
	topics, err := kadm.NewClient(cl).ListTopics(ctx, topic)
	if err == nil {
		err = topics.Error()
	}
	if err != nil {
		return 0, 0, fmt.Errorf("list partitions of %s: %w", topic, err)
	}
	partitions := topics[topic].Partitions.Sorted()
	led = int64(slices.IndexFunc(partitions, func(p kadm.PartitionDetail) bool { return p.Err != nil }))
	if led < 0 {
		led = int64(len(partitions))
	}
	return int64(len(partitions)), led, nil
}

// partitionsFn lists the topic's partitions once.
type partitionsFn struct{ Source Source }

func (f *partitionsFn) ProcessElement(ctx context.Context, _ []byte, emit func(Partition)) error {
	c, err := readers.take(f.Source, allPartitions, 0)
	if err != nil {
		return err
	}
	defer readers.put(c)
	n, _, err := countPartitions(ctx, c.cl, f.Source.Topic)
	for i := range n {
		emit(Partition{Number: int32(i)})
	}
	return err
}

// growingFn lists the topic's partitions, and goes on to list those that are added. Its restriction is the range of
// their numbers that have not been listed.
type growingFn struct {
	endless[[]byte]
	Source Source
}

// CreateInitialRestriction is all numbers.
func (f *growingFn) CreateInitialRestriction([]byte) offsetrange.Restriction {
	return offsetrange.Restriction{Start: 0, End: math.MaxInt64}
}

func (f *growingFn) ProcessElement(ctx context.Context, wm *watermark, rt *sdf.LockRTracker, _ []byte,
	emit func(Partition),
) (sdf.ProcessContinuation, error) {
	c, err := readers.take(f.Source, allPartitions, 0)
	if err != nil {
		return sdf.StopProcessing(), err
	}
	defer readers.put(c)
	if c.draining(ctx, f.Source) {
		rt.TryClaim(int64(math.MaxInt64)) // the end of the range: no partition will be added
		return sdf.StopProcessing(), nil
	}
	known := rt.GetRestriction().(offsetrange.Restriction).Start
	if known == 0 || time.Since(c.endAsked) > growthCheckEvery {
		if err := f.list(ctx, c, rt, known, emit); err != nil {
			return sdf.StopProcessing(), err
		}
	}
	wm.advance(time.Now().Add(growthLead).UnixMilli())
	return sdf.ResumeProcessingIn(growthRest), nil
}

// list claims and emits the partitions that are not known yet.
func (f *growingFn) list(ctx context.Context, c *reader, rt *sdf.LockRTracker, known int64, emit func(Partition)) error {
	c.endAsked = time.Now()
	n, led, err := countPartitions(ctx, c.cl, f.Source.Topic)
	if known > 0 {
		n = led
	}
	if err != nil && known > 0 {
		slog.DebugContext(ctx, "look for new partitions", "topic", f.Source.Topic, "error", err) // the readers complain
		return nil
	}
	if err != nil {
		return err
	}
	if known > 0 && n > known {
		slog.InfoContext(ctx, "the topic has grown", "topic", f.Source.Topic, "partitions", n, "before", known)
	}
	for i := known; i < n; i++ {
		if !rt.TryClaim(i) {
			return rt.GetError()
		}
		emit(Partition{Number: int32(i), Later: known > 0})
	}
	return nil
}
