package kafkaio

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/sdf"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// idleClose is how long a client may lie unused before it is closed. The SDK harness does not call Teardown when a job
// ends, so nothing else would close it.
const idleClose = 30 * time.Second

const (
	// How often a reader tells Kafka how far it has read, and how long that may take.
	commitEvery   = time.Second
	commitTimeout = 5 * time.Second
	// A client that gets no record for this long, though the log has more, is replaced: it may know an older topic of the
	// same name, and waits for that one for ever.
	replaceAfter = 10 * time.Second
	// How often a reader says that its topic is gone.
	complainEvery = time.Minute
)

// fetchBytes is how much a client may have fetched ahead. That of records of a hundred bytes is a call's worth.
const fetchBytes = 4 << 20

// allPartitions in place of a partition is that of a client that reads none.
const allPartitions int32 = -1

var lost = beam.NewCounter("darkroom.kafkaio", "lost")

// reader is a Kafka client that stands at one place of one partition.
type reader struct {
	key       readerKey
	cl        *kgo.Client
	next      int64 // the offset of the next record
	polled    int64 // that of the next record which the client will give
	closeIdle *time.Timer
	unfit     bool          // it must not be used again
	budget    time.Duration // of its next call

	endAsked, drainAsked, commitAsked, complained time.Time

	behind time.Time             // since when no record came, though the log has more
	told   atomic.Pointer[place] // what Kafka knows
}

type readerKey struct {
	brokers, topic string
	partition      int32
}

func (k readerKey) String() string { return fmt.Sprintf("%s/%d", k.topic, k.partition) }

// pool keeps the idle readers of this process, not of a DoFn: a runner uses several instances of a DoFn in turn, and
// a call for a partition can go to any of them.
type pool struct {
	mu     sync.Mutex
	idle   map[readerKey][]*reader
	passed map[string]trail // of each job's partition
}

var readers = pool{idle: map[readerKey][]*reader{}, passed: map[string]trail{}}

// take returns a reader that stands at start: an idle one, else a new one.
func (p *pool) take(src Source, partition int32, start int64) (*reader, error) {
	key := readerKey{fmt.Sprint(src.Brokers), src.Topic, partition}
	if r := p.takeIdle(key, start); r != nil {
		return r, nil
	}
	options := []kgo.Opt{kgo.SeedBrokers(src.Brokers...)}
	if partition != allPartitions {
		options = append(options,
			kgo.FetchMaxWait(250*time.Millisecond),
			kgo.FetchMaxPartitionBytes(fetchBytes),
			kgo.FetchIsolationLevel(kgo.ReadCommitted()),
			kgo.KeepControlRecords(),                    // they take offsets, which must be claimed like any other
			kgo.ConsumeResetOffset(kgo.NoResetOffset()), // skipLost does it, and says so
			kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{src.Topic: {partition: kgo.NewOffset().At(start)}}))
	}
	cl, err := kgo.NewClient(options...)
	if err != nil {
		return nil, fmt.Errorf("open kafka client: %w", err)
	}
	return &reader{key: key, cl: cl, next: start, polled: start, budget: minBudget, drainAsked: time.Now()}, nil
}

func (p *pool) takeIdle(key readerKey, start int64) *reader {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, r := range p.idle[key] {
		if r.next == start {
			p.idle[key] = slices.Delete(p.idle[key], i, i+1)
			r.closeIdle.Stop()
			return r
		}
	}
	return nil
}

// put gives a reader back; it is closed when nobody takes it again soon. One whose client has given records that were not
// claimed, since something failed, would go on behind them.
func (p *pool) put(r *reader) {
	if r.unfit || r.polled > r.next {
		r.cl.Close()
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle[r.key] = append(p.idle[r.key], r)
	r.closeIdle = time.AfterFunc(idleClose, func() { p.drop(r) })
}

func (p *pool) drop(r *reader) {
	p.mu.Lock()
	i := slices.Index(p.idle[r.key], r)
	if i >= 0 {
		p.idle[r.key] = slices.Delete(p.idle[r.key], i, i+1)
		if len(p.idle[r.key]) == 0 {
			delete(p.idle, r.key)
		}
	}
	p.mu.Unlock()
	if i >= 0 { // else it was taken again at this moment
		r.cl.Close()
	}
}

// poll returns the records that arrive within the time given; none is no error. The error is kerr.OffsetOutOfRange when
// the log does not hold the place of the reader, which skipLost sees to.
func (r *reader) poll(ctx context.Context, wait time.Duration) ([]*kgo.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	fetches := r.cl.PollRecords(ctx, pollRecords)
	fetches.EachRecord(func(record *kgo.Record) { r.polled = record.Offset + 1 }) // also where there is an error, too
	for _, e := range fetches.Errors() {
		if !errors.Is(e.Err, context.DeadlineExceeded) {
			return nil, fmt.Errorf("fetch %s at offset %d: %w", r.key, r.next, e.Err)
		}
	}
	if !fetches.Empty() {
		r.behind = time.Time{}
	}
	return fetches.Records(), nil
}

// claim claims a record that was polled. It returns false when the range has been split before it.
func (r *reader) claim(rt *sdf.LockRTracker, record *kgo.Record) bool {
	if !rt.TryClaim(record.Offset) {
		return false
	}
	r.next = record.Offset + 1
	return true
}

// skipLost moves a reader whose place retention has removed to the start of the log. It claims what is gone up to an end,
// counts it and says so; it returns false when the claim is refused. That the place is beyond the log's end is an error:
// nothing would ever come.
func (r *reader) skipLost(ctx context.Context, rt *sdf.LockRTracker, end int64) (bool, error) {
	start, err := r.list(ctx, (*kadm.Client).ListStartOffsets)
	if err != nil {
		return false, err
	}
	r.unfit = true // its client stands elsewhere
	if start <= r.next {
		return true, r.checkEnd(ctx)
	}
	gone := min(start, end) - r.next
	slog.WarnContext(ctx, "records are gone before they were read: retention has removed them",
		"topic", r.key.topic, "partition", r.key.partition, "wanted", r.next, "continued", r.next+gone, "lost", gone)
	lost.Inc(ctx, gone)
	r.next += gone
	return rt.TryClaim(r.next - 1), rt.GetError()
}

// checkEnd returns an error if the reader's place is beyond the end of the log.
func (r *reader) checkEnd(ctx context.Context) error {
	end, err := r.end(ctx)
	if err == nil && r.next > end {
		return r.beyond(end)
	}
	return err
}

func (r *reader) beyond(end int64) error {
	return fmt.Errorf("read %s: offset %d is beyond the log's end %d: the topic was made anew or has lost records; "+
		"begin without a checkpoint, at the earliest record", r.key, r.next, end)
}

// atEnd reports whether everything in the partition has been read, and when that was so. It asks the broker now and
// then only, and says no in between. An error is one that waiting will not mend.
func (r *reader) atEnd(ctx context.Context) (bool, time.Time, error) {
	asked := time.Now()
	if asked.Sub(r.endAsked) < endCheckEvery {
		return false, asked, nil
	}
	r.endAsked = asked
	end, err := r.end(ctx)
	if err != nil {
		r.complain(ctx, err)
		return false, asked, nil
	}
	r.complained = time.Time{}
	switch {
	case r.next > end:
		return false, asked, r.beyond(end)
	case r.next == end:
		r.behind = time.Time{}
		return true, asked, nil
	case r.behind.IsZero():
		r.behind = asked
	case asked.Sub(r.behind) > replaceAfter:
		slog.WarnContext(ctx, "no record comes though the log has more: the reader connects again",
			"topic", r.key.topic, "partition", r.key.partition, "offset", r.next, "end", end)
		r.unfit = true
	}
	return false, asked, nil
}

// complain says that a topic is gone, now and then. Of a broker that is away franz-go makes sure by itself.
func (r *reader) complain(ctx context.Context, err error) {
	if !errors.Is(err, kerr.UnknownTopicOrPartition) || time.Since(r.complained) < complainEvery {
		slog.DebugContext(ctx, "look for the end of the log", "error", err)
		return
	}
	r.complained = time.Now()
	slog.ErrorContext(ctx, "the topic is gone: its reader waits for it",
		"topic", r.key.topic, "partition", r.key.partition, "offset", r.next)
}

// missing reports whether the topic was gone when the reader looked last.
func (r *reader) missing() bool { return !r.complained.IsZero() }

func (r *reader) end(ctx context.Context) (int64, error) {
	return r.list(ctx, (*kadm.Client).ListCommittedOffsets)
}

func (r *reader) list(ctx context.Context,
	list func(*kadm.Client, context.Context, ...string) (kadm.ListedOffsets, error),
) (int64, error) {
	offsets, err := list(kadm.NewClient(r.cl), ctx, r.key.topic)
	return offsetOf(offsets, err, r.key.topic, r.key.partition)
}

// offsetOf finds the offset of a partition in a list that was asked for. A topic that is not there is in the list with no
// partition.
func offsetOf(offsets kadm.ListedOffsets, err error, topic string, partition int32) (int64, error) {
	if err != nil {
		return 0, fmt.Errorf("list offsets of %s/%d: %w", topic, partition, err)
	}
	o, ok := offsets.Lookup(topic, partition)
	if err := offsets.Error(); !ok && err != nil {
		return 0, fmt.Errorf("list offsets of %s: %w", topic, err)
	}
	if !ok {
		return 0, fmt.Errorf("list offsets of %s: no partition %d", topic, partition)
	}
	if o.Err != nil {
		return 0, fmt.Errorf("list offsets of %s/%d: %w", topic, partition, o.Err)
	}
	return o.Offset, nil
}
