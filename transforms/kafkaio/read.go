// Package kafkaio reads Kafka topics into pipelines and writes them back, natively in Go.
//
// Reading is a splittable DoFn over franz-go: one element a partition, whose restriction is a range of offsets. The
// runner keeps the offsets with its own checkpoint, so that reading is exactly once on a runner that is. What a job has
// read is also committed to a consumer group, for those who watch its lag, and for a job that resumes without a checkpoint.
package kafkaio

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/mtime"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/sdf"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/rtrackers/offsetrange"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"darkroom/internal/event"
	"darkroom/transforms/dofn"
)

const (
	// A call of the reader must end soon, since a runner takes its checkpoints between calls. While there is more to read
	// than a call can, the calls grow longer, since each costs the runner the same, and what is summed in a bundle more.
	minBudget = 100 * time.Millisecond
	maxBudget = 400 * time.Millisecond
	// How long a call waits for a first record. Calls for several partitions may run one after another.
	idleWait = 10 * time.Millisecond
	// How long an idle partition rests before its next call.
	idleRest = 40 * time.Millisecond
	// Records a poll takes at most, so that claims and emits never hold a call far over its budget.
	pollRecords = 10_000
	// How long the reader of a topic that is gone rests.
	missingRest = time.Second
	// How often an idle partition asks for the end of its log.
	endCheckEvery = 250 * time.Millisecond
	// How far the bounded reader cuts its ranges, in offsets.
	boundedSplit = 50_000
	// A bounded read that makes no progress for this long has lost its topic or broker.
	boundedStall = time.Minute
)

func init() {
	dofn.Register6x2(&readFn{})
	dofn.Register4x1(&readBoundedFn{})
	register.Emitter2[beam.EventTime, Record]()
	register.Emitter2[beam.EventTime, int64]()
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
	// Resume has each partition begin no later than where the job had done all, as its readers told Kafka.
	Resume bool
	// Job names the job, so that Drain can end its readers; empty if it never will be. Built is when the job was built,
	// in milliseconds since 1970: an older wish to drain was for another.
	Job   string
	Built int64
	// Skew is how many milliseconds a record may be older than one before it and still be on time.
	Skew int64
}

// Read reads a topic without end, and partitions that it gets later from their start. It returns the records, with
// their event times, and ticks: an element whenever a partition's watermark has passed another second, at that time. A
// partition that has been read to the end of its log moves its watermark with the clock, so that an idle partition holds
// nothing back; one that has not keeps it at what it has read, so that a backlog is never late. Records that retention
// removed before they were read are named in the log and counted as darkroom.kafkaio lost.
//
//	Read: () -> PCollection<Record>, PCollection<int64>, both unbounded
func Read(s beam.Scope, src Source) (records, ticks beam.PCollection) {
	s = s.Scope("kafkaio.Read")
	partitions := beam.Reshuffle(s, beam.ParDo(s, &growingFn{Source: src}, beam.Impulse(s)))
	return beam.ParDo2(s, &readFn{Source: src}, partitions)
}

// ReadBounded reads what the topic holds when the pipeline starts.
//
//	ReadBounded: () -> PCollection<Record>, bounded
func ReadBounded(s beam.Scope, src Source) beam.PCollection {
	s = s.Scope("kafkaio.ReadBounded")
	partitions := beam.Reshuffle(s, beam.ParDo(s, &partitionsFn{Source: src}, beam.Impulse(s)))
	return beam.ParDo(s, &readBoundedFn{Source: src}, partitions)
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

// endless is what splittable DoFns without an end have in common: a restriction that is never cut, and a watermark that
// is told its value.
type endless[E any] struct{}

// SplitRestriction keeps it whole.
func (endless[E]) SplitRestriction(_ E, r offsetrange.Restriction) []offsetrange.Restriction {
	return []offsetrange.Restriction{r}
}

// RestrictionSize is the same for every element: its end, and so its true size, is not known.
func (endless[E]) RestrictionSize(E, offsetrange.Restriction) float64 { return 1 }

// CreateTracker returns one that is split at its place only.
func (endless[E]) CreateTracker(r offsetrange.Restriction) *sdf.LockRTracker {
	return sdf.NewLockRTracker(&tracker{*offsetrange.NewTracker(r)})
}

// TruncateRestriction ends the reading where it is when the runner drains the pipeline.
func (endless[E]) TruncateRestriction(rt *sdf.LockRTracker, _ E) offsetrange.Restriction {
	start := rt.GetRestriction().(offsetrange.Restriction).Start
	return offsetrange.Restriction{Start: start, End: start}
}

// InitialWatermarkEstimatorState is the beginning of time.
func (endless[E]) InitialWatermarkEstimatorState(beam.EventTime, offsetrange.Restriction, E) int64 {
	return mtime.MinTimestamp.Milliseconds()
}

// CreateWatermarkEstimator returns it at its last value.
func (endless[E]) CreateWatermarkEstimator(ms int64) *watermark {
	w := &watermark{}
	w.ms.Store(ms)
	return w
}

// WatermarkEstimatorState is the watermark's value.
func (endless[E]) WatermarkEstimatorState(w *watermark) int64 { return w.ms.Load() }

// watermark is an estimator that is told its value. A split asks for it from a goroutine of its own.
type watermark struct{ ms atomic.Int64 }

// CurrentWatermark is the time before which no record on time will come, in whole seconds: windows end with one, and each
// step costs a runner. Prism looks at all keys of a step with timers.
func (w *watermark) CurrentWatermark() time.Time {
	ms := w.ms.Load()
	return mtime.Time(ms - max(0, ms%1000)).ToTime()
}

func (w *watermark) advance(ms int64) { w.ms.Store(max(w.ms.Load(), ms)) }

// readFn reads one partition without end, a little in each call.
type readFn struct {
	endless[Partition]
	Source Source
}

// CreateInitialRestriction is from where the partition is to be read on; all of a partition that is new.
func (f *readFn) CreateInitialRestriction(ctx context.Context, p Partition) (offsetrange.Restriction, error) {
	src := f.Source
	if p.Later {
		src.From = 0
	}
	start, err := firstOffset(ctx, src, p.Number)
	return offsetrange.Restriction{Start: start, End: math.MaxInt64}, err
}

func (f *readFn) ProcessElement(ctx context.Context, wm *watermark, rt *sdf.LockRTracker, partition Partition,
	emit func(beam.EventTime, Record), tick func(beam.EventTime, int64),
) (sdf.ProcessContinuation, error) {
	start := rt.GetRestriction().(offsetrange.Restriction).Start
	c, err := readers.take(f.Source, partition.Number, start)
	if err != nil {
		return sdf.StopProcessing(), err
	}
	defer readers.put(c)

	if c.draining(ctx, f.Source) {
		rt.TryClaim(int64(math.MaxInt64)) // the end of the range: nothing is left
		return sdf.StopProcessing(), nil
	}
	before := wm.ms.Load()
	got, err := f.poll(ctx, c, wm, rt, emit)
	if errors.Is(err, kerr.OffsetOutOfRange) {
		_, err = c.skipLost(ctx, rt, math.MaxInt64)
	}
	if err != nil {
		return sdf.StopProcessing(), err
	}
	if !got && !c.unfit {
		ended, at, err := c.atEnd(ctx)
		if err != nil {
			return sdf.StopProcessing(), err
		}
		if ended {
			wm.advance(at.UnixMilli() - f.Source.Skew)
		}
	}
	c.commit(ctx, f.Source.Job, start)
	if now := wm.ms.Load(); now/1000 > before/1000 {
		tick(mtime.Time(now), now)
	}
	switch {
	case got:
		return sdf.ResumeProcessingIn(0), nil
	case c.missing():
		return sdf.ResumeProcessingIn(missingRest), nil
	}
	return sdf.ResumeProcessingIn(idleRest), nil
}

// poll claims and emits what has arrived, for as long as the call's budget lasts.
func (f *readFn) poll(ctx context.Context, c *reader, wm *watermark, rt *sdf.LockRTracker,
	emit func(beam.EventTime, Record),
) (got bool, err error) {
	wait := idleWait
	for end := time.Now().Add(c.budget); time.Now().Before(end); wait = time.Millisecond {
		records, err := c.poll(ctx, wait)
		if err != nil {
			return got, err
		}
		if len(records) == 0 {
			c.budget = minBudget
			return got, nil
		}
		got = true
		for _, r := range records {
			if !c.claim(rt, r) {
				return got, rt.GetError()
			}
			// A record from the future would make all others late, until then.
			wm.advance(min(r.Timestamp.UnixMilli(), time.Now().UnixMilli()) - f.Source.Skew)
			if !r.Attrs.IsControl() {
				emit(mtime.FromTime(r.Timestamp), newRecord(r))
			}
		}
	}
	c.budget = min(2*c.budget, maxBudget)
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

func (f *readBoundedFn) CreateInitialRestriction(ctx context.Context, p Partition) (offsetrange.Restriction, error) {
	start, err := firstOffset(ctx, f.Source, p.Number)
	if err != nil {
		return offsetrange.Restriction{}, err
	}
	end, err := endOffset(ctx, f.Source, p.Number)
	return offsetrange.Restriction{Start: start, End: max(start, end)}, err
}

func (f *readBoundedFn) SplitRestriction(_ Partition, r offsetrange.Restriction) []offsetrange.Restriction {
	return r.SizedSplits(boundedSplit)
}

func (f *readBoundedFn) RestrictionSize(_ Partition, r offsetrange.Restriction) float64 {
	return r.Size()
}

func (f *readBoundedFn) CreateTracker(r offsetrange.Restriction) *sdf.LockRTracker {
	return sdf.NewLockRTracker(offsetrange.NewTracker(r))
}

func (f *readBoundedFn) ProcessElement(ctx context.Context, rt *sdf.LockRTracker, partition Partition,
	emit func(beam.EventTime, Record),
) error {
	r := rt.GetRestriction().(offsetrange.Restriction)
	for next := r.Start; next < r.End; {
		c, err := readers.take(f.Source, partition.Number, next)
		if err != nil {
			return err
		}
		more, err := f.read(ctx, c, rt, r.End, emit)
		if errors.Is(err, kerr.OffsetOutOfRange) {
			more, err = c.skipLost(ctx, rt, r.End)
		}
		next = c.next
		readers.put(c)
		if err != nil {
			return err
		}
		if !more { // the rest was split off
			return nil
		}
	}
	rt.TryClaim(r.End) // all of it was read
	return rt.GetError()
}

// read claims and emits what is before the end. It returns false when a claim is refused.
func (f *readBoundedFn) read(ctx context.Context, c *reader, rt *sdf.LockRTracker, end int64,
	emit func(beam.EventTime, Record),
) (bool, error) {
	for moved := time.Now(); c.next < end; {
		records, err := c.poll(ctx, time.Second)
		if err != nil {
			return false, err
		}
		if len(records) == 0 {
			if err := c.checkEnd(ctx); err != nil {
				return false, err
			}
			if time.Since(moved) > boundedStall {
				return false, fmt.Errorf("read %s: no record at offset %d within %v", c.key, c.next, boundedStall)
			}
			continue
		}
		moved = time.Now()
		for _, rec := range records {
			if !c.claim(rt, rec) {
				return false, rt.GetError()
			}
			if !rec.Attrs.IsControl() {
				emit(mtime.FromTime(rec.Timestamp), newRecord(rec))
			}
		}
	}
	return true, nil
}

// firstOffset is where reading begins: the partition's first record that is not older than src.From. A job that resumes
// begins no later than where it is settled: what was published late, while it was away, may be older.
func firstOffset(ctx context.Context, src Source, partition int32) (int64, error) {
	return askOffset(src, func(adm *kadm.Client) (int64, error) {
		if src.From <= 0 {
			offsets, err := adm.ListStartOffsets(ctx, src.Topic)
			return offsetOf(offsets, err, src.Topic, partition)
		}
		offsets, err := adm.ListOffsetsAfterMilli(ctx, src.From, src.Topic)
		first, err := offsetOf(offsets, err, src.Topic, partition)
		if err != nil || !src.Resume {
			return first, err
		}
		if at, ok, err := settled(ctx, adm, src.Job, src.Topic, partition); err != nil || ok {
			return min(first, at), err
		}
		return first, nil
	})
}

func endOffset(ctx context.Context, src Source, partition int32) (int64, error) {
	return askOffset(src, func(adm *kadm.Client) (int64, error) {
		offsets, err := adm.ListCommittedOffsets(ctx, src.Topic)
		return offsetOf(offsets, err, src.Topic, partition)
	})
}

func askOffset(src Source, ask func(*kadm.Client) (int64, error)) (int64, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(src.Brokers...))
	if err != nil {
		return 0, fmt.Errorf("open kafka client: %w", err)
	}
	defer cl.Close()
	return ask(kadm.NewClient(cl))
}
