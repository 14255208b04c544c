// Package kafkaio reads Kafka topics into pipelines and writes them back, natively in Go.
//
// Reading is a splittable DoFn over franz-go: one element a partition, whose restriction is a range of offsets. The
// runner keeps the offsets with its own checkpoint, so that reading is exactly once on a runner that is. Nothing is
// committed to a consumer group.
package kafkaio

import (
	"context"
	"fmt"
	"math"
	"reflect"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/mtime"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/sdf"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/rtrackers/offsetrange"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"darkroom/internal/event"
)

const (
	// A call of the reader must end soon, since a runner takes its checkpoints between calls.
	callBudget = 100 * time.Millisecond
	// How long a call waits for a first record. Calls for several partitions may run one after another.
	idleWait = 10 * time.Millisecond
	// How long an idle partition rests before its next call.
	idleRest = 40 * time.Millisecond
	// Records a poll takes at most, so that claims and emits never hold a call far over its budget.
	pollRecords = 10_000
	// How often an idle partition asks for the end of its log.
	endCheckEvery = 250 * time.Millisecond
	// How far the bounded reader cuts its ranges, in offsets.
	boundedSplit = 50_000
	// A bounded read that makes no progress for this long has lost its topic or broker.
	boundedStall = time.Minute
)

func init() {
	register.DoFn6x2[context.Context, *watermark, *sdf.LockRTracker, int32, func(beam.EventTime, Record),
		func(beam.EventTime, int64), sdf.ProcessContinuation, error](&readFn{})
	register.DoFn4x1[context.Context, *sdf.LockRTracker, int32, func(beam.EventTime, Record), error](&readBoundedFn{})
	register.DoFn3x1[context.Context, []byte, func(int32), error](&partitionsFn{})
	register.Emitter2[beam.EventTime, Record]()
	register.Emitter2[beam.EventTime, int64]()
	register.Emitter1[int32]()
	beam.RegisterType(reflect.TypeFor[Record]())
	beam.RegisterType(reflect.TypeFor[*watermark]())
}

// Record is one Kafka record and its place.
type Record struct {
	Topic     string
	Partition int32
	Offset    int64
	Timestamp int64 // milliseconds since 1970: the record's event time
	Key       []byte
	Value     []byte
	// Letter and Replay say that this is the n-th replay of a dead letter: its id, and n. Replay is 0 for any other
	// record, and BadReplay for one whose headers are not those of a replay.
	Letter string
	Replay int64
}

// BadReplay is the Replay of a record whose headers say that it is one, but not which.
const BadReplay = -1

// Source says what to read.
type Source struct {
	Brokers []string
	Topic   string
	// From is the event time, in milliseconds since 1970, to start at: each partition begins with its first record that
	// is not older. Zero reads from the earliest record.
	From int64
	// Job names the job, so that Drain can end its readers; empty if it never will be. Built is when the job was built,
	// in milliseconds since 1970: an older wish to drain was for another.
	Job   string
	Built int64
	// Skew is how many milliseconds a record may be older than one before it and still be on time.
	Skew int64
}

// Read reads a topic without end. It returns the records, with their event times, and ticks: an element whenever a
// partition's watermark has passed another second, at that time. A partition that has been read to the end of its log
// moves its watermark with the clock, so that an idle partition holds nothing back; one that has not keeps it at what
// it has read, so that a backlog is never late.
//
//	Read: () -> PCollection<Record>, PCollection<int64>, both unbounded
func Read(s beam.Scope, src Source) (records, ticks beam.PCollection) {
	s = s.Scope("kafkaio.Read")
	return beam.ParDo2(s, &readFn{Source: src}, partitions(s, src))
}

// ReadBounded reads what the topic holds when the pipeline starts.
//
//	ReadBounded: () -> PCollection<Record>, bounded
func ReadBounded(s beam.Scope, src Source) beam.PCollection {
	s = s.Scope("kafkaio.ReadBounded")
	return beam.ParDo(s, &readBoundedFn{Source: src}, partitions(s, src))
}

func partitions(s beam.Scope, src Source) beam.PCollection {
	return beam.Reshuffle(s, beam.ParDo(s, &partitionsFn{Source: src}, beam.Impulse(s)))
}

// partitionsFn lists the topic's partitions.
type partitionsFn struct{ Source Source }

func (f *partitionsFn) ProcessElement(ctx context.Context, _ []byte, emit func(int32)) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(f.Source.Brokers...))
	if err != nil {
		return fmt.Errorf("open kafka client: %w", err)
	}
	defer cl.Close()
	topics, err := kadm.NewClient(cl).ListTopics(ctx, f.Source.Topic)
	if err != nil {
		return fmt.Errorf("list partitions of %s: %w", f.Source.Topic, err)
	}
	if err := topics.Error(); err != nil {
		return fmt.Errorf("list partitions of %s: %w", f.Source.Topic, err)
	}
	for _, p := range topics[f.Source.Topic].Partitions.Sorted() {
		emit(p.Partition)
	}
	return nil
}

// tracker is an offset range that is never split but at its current place. A runner that splits a range without an
// end at some fraction would make a second reader that waits at an offset that never comes.
type tracker struct{ offsetrange.Tracker }

func (t *tracker) TrySplit(fraction float64) (primary, residual any, err error) {
	if fraction > 0 {
		return t.GetRestriction(), nil, nil
	}
	return t.Tracker.TrySplit(0)
}

func (t *tracker) IsBounded() bool { return false }

// readFn reads one partition without end, a little in each call.
type readFn struct{ Source Source }

func (f *readFn) CreateInitialRestriction(ctx context.Context, p int32) (offsetrange.Restriction, error) {
	start, err := firstOffset(ctx, f.Source, p)
	return offsetrange.Restriction{Start: start, End: math.MaxInt64}, err
}

func (f *readFn) SplitRestriction(_ int32, r offsetrange.Restriction) []offsetrange.Restriction {
	return []offsetrange.Restriction{r}
}

// RestrictionSize is the same for every partition: its end, and so its true size, is not known.
func (f *readFn) RestrictionSize(int32, offsetrange.Restriction) float64 { return 1 }

func (f *readFn) CreateTracker(r offsetrange.Restriction) *sdf.LockRTracker {
	return sdf.NewLockRTracker(&tracker{*offsetrange.NewTracker(r)})
}

// TruncateRestriction ends the reading where it is when the runner drains the pipeline.
func (f *readFn) TruncateRestriction(rt *sdf.LockRTracker, _ int32) offsetrange.Restriction {
	start := rt.GetRestriction().(offsetrange.Restriction).Start
	return offsetrange.Restriction{Start: start, End: start}
}

func (f *readFn) InitialWatermarkEstimatorState(beam.EventTime, offsetrange.Restriction, int32) int64 {
	return mtime.MinTimestamp.Milliseconds()
}
func (f *readFn) CreateWatermarkEstimator(ms int64) *watermark { return &watermark{ms} }
func (f *readFn) WatermarkEstimatorState(w *watermark) int64   { return w.ms }

// watermark is an estimator that is told its value.
type watermark struct{ ms int64 }

// CurrentWatermark is the time before which no record on time will come.
func (w *watermark) CurrentWatermark() time.Time { return mtime.Time(w.ms).ToTime() }

func (w *watermark) advance(ms int64) { w.ms = max(w.ms, ms) }

func (f *readFn) ProcessElement(ctx context.Context, wm *watermark, rt *sdf.LockRTracker, partition int32,
	emit func(beam.EventTime, Record), tick func(beam.EventTime, int64),
) (sdf.ProcessContinuation, error) {
	start := rt.GetRestriction().(offsetrange.Restriction).Start
	c, err := readers.take(f.Source, partition, start)
	if err != nil {
		return sdf.StopProcessing(), err
	}
	defer readers.put(c)

	if c.draining(ctx, f.Source) {
		rt.TryClaim(int64(math.MaxInt64)) // the end of the range: nothing is left
		return sdf.StopProcessing(), nil
	}
	before := wm.ms
	got, err := f.poll(ctx, c, wm, rt, emit)
	if err != nil {
		return sdf.StopProcessing(), err
	}
	if !got {
		if ended, at := c.atEnd(ctx); ended {
			wm.advance(at.UnixMilli() - f.Source.Skew)
		}
	}
	if wm.ms/1000 > before/1000 {
		tick(mtime.Time(wm.ms), wm.ms)
	}
	if got {
		return sdf.ResumeProcessingIn(0), nil
	}
	return sdf.ResumeProcessingIn(idleRest), nil
}

// poll claims and emits what has arrived, for as long as the call's budget lasts.
func (f *readFn) poll(ctx context.Context, c *reader, wm *watermark, rt *sdf.LockRTracker,
	emit func(beam.EventTime, Record),
) (got bool, err error) {
	wait := idleWait
	for end := time.Now().Add(callBudget); time.Now().Before(end); wait = time.Millisecond {
		records, err := c.poll(ctx, wait)
		if err != nil {
			return got, err
		}
		if len(records) == 0 {
			return got, nil
		}
		got = true
		for _, r := range records {
			if !rt.TryClaim(r.Offset) {
				return got, rt.GetError()
			}
			c.next = r.Offset + 1
			wm.advance(r.Timestamp.UnixMilli() - f.Source.Skew)
			if !r.Attrs.IsControl() {
				emit(mtime.FromTime(r.Timestamp), newRecord(r))
			}
		}
	}
	return got, nil
}

func newRecord(r *kgo.Record) Record {
	letter, replay := replayOf(r.Headers)
	return Record{
		Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Timestamp: r.Timestamp.UnixMilli(),
		Key: r.Key, Value: r.Value, Letter: letter, Replay: replay,
	}
}

// replayOf reads the headers of a replay. Of headers of one name the last counts.
func replayOf(headers []kgo.RecordHeader) (letter string, n int64) {
	var replay string
	found := false
	for _, h := range headers {
		switch h.Key {
		case event.HeaderLetter:
			letter, found = string(h.Value), true
		case event.HeaderReplay:
			replay, found = string(h.Value), true
		}
	}
	if !found {
		return "", 0
	}
	n, err := event.ParseReplay(letter, replay)
	if err != nil {
		return "", BadReplay
	}
	return letter, n
}

// readBoundedFn reads a range of offsets of one partition in one call.
type readBoundedFn struct{ Source Source }

func (f *readBoundedFn) CreateInitialRestriction(ctx context.Context, p int32) (offsetrange.Restriction, error) {
	start, err := firstOffset(ctx, f.Source, p)
	if err != nil {
		return offsetrange.Restriction{}, err
	}
	end, err := endOffset(ctx, f.Source, p)
	return offsetrange.Restriction{Start: start, End: max(start, end)}, err
}

func (f *readBoundedFn) SplitRestriction(_ int32, r offsetrange.Restriction) []offsetrange.Restriction {
	return r.SizedSplits(boundedSplit)
}

func (f *readBoundedFn) RestrictionSize(_ int32, r offsetrange.Restriction) float64 { return r.Size() }

func (f *readBoundedFn) CreateTracker(r offsetrange.Restriction) *sdf.LockRTracker {
	return sdf.NewLockRTracker(offsetrange.NewTracker(r))
}

func (f *readBoundedFn) ProcessElement(ctx context.Context, rt *sdf.LockRTracker, partition int32,
	emit func(beam.EventTime, Record),
) error {
	r := rt.GetRestriction().(offsetrange.Restriction)
	c, err := readers.take(f.Source, partition, r.Start)
	if err != nil {
		return err
	}
	defer readers.put(c)
	for moved := time.Now(); c.next < r.End; {
		records, err := c.poll(ctx, time.Second)
		if err != nil {
			return err
		}
		if len(records) == 0 {
			if time.Since(moved) > boundedStall {
				return fmt.Errorf("read %s/%d: no record at offset %d within %v", f.Source.Topic, partition, c.next, boundedStall)
			}
			continue
		}
		moved = time.Now()
		for _, rec := range records {
			if !rt.TryClaim(rec.Offset) {
				return rt.GetError()
			}
			c.next = rec.Offset + 1
			if !rec.Attrs.IsControl() {
				emit(mtime.FromTime(rec.Timestamp), newRecord(rec))
			}
		}
	}
	rt.TryClaim(r.End) // all of it was read
	return rt.GetError()
}

// firstOffset is where reading begins: the partition's first record that is not older than src.From.
func firstOffset(ctx context.Context, src Source, partition int32) (int64, error) {
	if src.From > 0 {
		return listOffset(src, partition, func(adm *kadm.Client) (kadm.ListedOffsets, error) {
			return adm.ListOffsetsAfterMilli(ctx, src.From, src.Topic)
		})
	}
	return listOffset(src, partition, func(adm *kadm.Client) (kadm.ListedOffsets, error) {
		return adm.ListStartOffsets(ctx, src.Topic)
	})
}

func endOffset(ctx context.Context, src Source, partition int32) (int64, error) {
	return listOffset(src, partition, func(adm *kadm.Client) (kadm.ListedOffsets, error) {
		return adm.ListEndOffsets(ctx, src.Topic)
	})
}

func listOffset(src Source, partition int32,
	list func(*kadm.Client) (kadm.ListedOffsets, error),
) (int64, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(src.Brokers...))
	if err != nil {
		return 0, fmt.Errorf("open kafka client: %w", err)
	}
	defer cl.Close()
	offsets, err := list(kadm.NewClient(cl))
	if err != nil {
		return 0, fmt.Errorf("list offsets of %s: %w", src.Topic, err)
	}
	o, ok := offsets.Lookup(src.Topic, partition)
	if !ok {
		return 0, fmt.Errorf("list offsets of %s: no partition %d", src.Topic, partition)
	}
	if o.Err != nil {
		return 0, fmt.Errorf("list offsets of %s/%d: %w", src.Topic, partition, o.Err)
	}
	return o.Offset, nil
}
