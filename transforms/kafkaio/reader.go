package kafkaio

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// idleClose is how long a client may lie unused before it is closed. The SDK harness does not call Teardown when a job
// ends, so nothing else would close it.
const idleClose = 30 * time.Second

// reader is a Kafka client that stands at one place of one partition.
type reader struct {
	key       readerKey
	cl        *kgo.Client
	next      int64 // the offset of the next record
	closeIdle *time.Timer

	endAsked, drainAsked time.Time
}

type readerKey struct {
	brokers, topic string
	partition      int32
}

// pool keeps the idle readers of this process, not of a DoFn: a runner uses several instances of a DoFn in turn, and
// a call for a partition can go to any of them.
type pool struct {
	mu   sync.Mutex
	idle map[readerKey][]*reader
}

var readers = pool{idle: map[readerKey][]*reader{}}

// take returns a reader that stands at start: an idle one, else a new one.
func (p *pool) take(src Source, partition int32, start int64) (*reader, error) {
	key := readerKey{fmt.Sprint(src.Brokers), src.Topic, partition}
	if r := p.takeIdle(key, start); r != nil {
		return r, nil
	}
	cl, err := kgo.NewClient(
		kgo.SeedBrokers(src.Brokers...),
		kgo.FetchMaxWait(250*time.Millisecond),
		kgo.KeepControlRecords(), // they take offsets, which must be claimed like any other
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{src.Topic: {partition: kgo.NewOffset().At(start)}}),
	)
	if err != nil {
		return nil, fmt.Errorf("open kafka client: %w", err)
	}
	return &reader{key: key, cl: cl, next: start, drainAsked: time.Now()}, nil
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

// put gives a reader back; it is closed when nobody takes it again soon.
func (p *pool) put(r *reader) {
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

// poll returns the records that arrive within the time given; none is no error.
func (r *reader) poll(ctx context.Context, wait time.Duration) ([]*kgo.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	fetches := r.cl.PollRecords(ctx, pollRecords)
	for _, e := range fetches.Errors() {
		if !errors.Is(e.Err, context.DeadlineExceeded) {
			return nil, fmt.Errorf("fetch %s/%d at offset %d: %w", r.key.topic, r.key.partition, r.next, e.Err)
		}
	}
	return fetches.Records(), nil
}

// atEnd reports whether everything in the partition has been read, and when that was so. It asks the broker now and
// then only, and says no in between.
func (r *reader) atEnd(ctx context.Context) (bool, time.Time) {
	asked := time.Now()
	if asked.Sub(r.endAsked) < endCheckEvery {
		return false, asked
	}
	r.endAsked = asked
	end, err := r.end(ctx)
	return err == nil && r.next >= end, asked
}

func (r *reader) end(ctx context.Context) (int64, error) {
	offsets, err := kadm.NewClient(r.cl).ListEndOffsets(ctx, r.key.topic)
	if err != nil {
		return 0, fmt.Errorf("list end of %s: %w", r.key.topic, err)
	}
	o, _ := offsets.Lookup(r.key.topic, r.key.partition)
	return o.Offset, o.Err
}
