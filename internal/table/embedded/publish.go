package embedded

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/twmb/franz-go/pkg/kgo"

	"darkroom/internal/table"
)

const (
	publishBatch   = 1000
	publishTimeout = 5 * time.Second
	firstPause     = 50 * time.Millisecond
	maxPause       = 2 * time.Second
	// flushTimeout is how long Close waits for the changes that Kafka does not have; the next start goes on with them.
	flushTimeout = time.Second
)

// publisher feeds the log of changes to Kafka, in order.
type publisher struct {
	store *Store
	cl    *kgo.Client

	durable   atomic.Uint64 // the last change that is on disk
	published atomic.Uint64 // the last change that Kafka has
	wake      chan struct{}
	cancel    context.CancelFunc
	stopping  chan struct{}
	done      chan struct{}
}

// lastLogged is the number of the last change in the log. When the log is empty, numbers begin anew: nothing keeps them.
func (s *Store) lastLogged() (uint64, error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: logKey(0), UpperBound: []byte{logSpace + 1}})
	if err != nil {
		return 0, fmt.Errorf("read log of changes: %w", err)
	}
	defer it.Close()
	if !it.Last() {
		return 0, it.Error()
	}
	return binary.BigEndian.Uint64(it.Key()[1:]), nil
}

func startPublisher(ctx context.Context, s *Store, brokers []string) (*publisher, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RequiredAcks(kgo.AllISRAcks()), kgo.ProducerLinger(0),
		kgo.AllowAutoTopicCreation(), kgo.MaxBufferedRecords(2*publishBatch), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))
	if err != nil {
		return nil, fmt.Errorf("open kafka client: %w", err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p := &publisher{
		store: s, cl: cl, wake: make(chan struct{}, 1), cancel: cancel, stopping: make(chan struct{}), done: make(chan struct{}),
	}
	p.durable.Store(s.seq)
	if first, ok := p.first(); ok {
		p.published.Store(first - 1)
	} else {
		p.published.Store(s.seq)
	}
	go p.run(ctx)
	return p, nil
}

// first is the number of the first change in the log.
func (p *publisher) first() (uint64, bool) {
	it, err := p.store.db.NewIter(&pebble.IterOptions{LowerBound: logKey(0), UpperBound: []byte{logSpace + 1}})
	if err != nil {
		return 0, false
	}
	defer it.Close()
	if !it.First() {
		return 0, false
	}
	return binary.BigEndian.Uint64(it.Key()[1:]), true
}

// synced tells that the changes up to the given one are on disk. A sync covers all that was written before it.
func (p *publisher) synced(last uint64) {
	for {
		old := p.durable.Load()
		if old >= last || p.durable.CompareAndSwap(old, last) {
			break
		}
	}
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *publisher) backlog() int64 { return int64(p.durable.Load() - p.published.Load()) }

func (p *publisher) run(ctx context.Context) {
	defer close(p.done)
	pause := firstPause
	for {
		for p.backlog() > 0 {
			err := p.publish(ctx)
			if err == nil {
				pause = firstPause
				continue
			}
			if ctx.Err() != nil {
				return
			}
			p.store.log.Warn("changes are published later", "error", err, "backlog", p.backlog())
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
			}
			pause = min(2*pause, maxPause)
		}
		select {
		case <-ctx.Done():
			return
		case <-p.stopping:
			return
		case <-p.wake:
		}
	}
}

// publish sends the next changes. After an error they are sent again, so Kafka may have some of them twice.
func (p *publisher) publish(ctx context.Context) error {
	records, last, err := p.next()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	if err := p.cl.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return fmt.Errorf("publish %d changes: %w", len(records), err)
	}
	// Not synced: a removal that a crash undoes is a repeat.
	if err := p.store.db.DeleteRange(logKey(0), logKey(last+1), pebble.NoSync); err != nil {
		return fmt.Errorf("shorten log of changes: %w", err)
	}
	p.published.Store(last)
	return nil
}

func (p *publisher) next() (records []*kgo.Record, last uint64, err error) {
	it, err := p.store.db.NewIter(&pebble.IterOptions{
		LowerBound: logKey(p.published.Load() + 1), UpperBound: logKey(p.durable.Load() + 1),
	})
	if err != nil {
		return nil, 0, fmt.Errorf("read log of changes: %w", err)
	}
	defer it.Close()
	now := time.Now()
	for ok := it.First(); ok && len(records) < publishBatch; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return nil, 0, fmt.Errorf("read log of changes: %w", err)
		}
		var m table.Mutation
		if err := m.UnmarshalBinary(value); err != nil {
			return nil, 0, fmt.Errorf("read log of changes: %w", err)
		}
		last = binary.BigEndian.Uint64(it.Key()[1:])
		key, value, err := table.ChangeOf(m, now, int64(last)).Encode()
		if err != nil {
			return nil, 0, err
		}
		records = append(records, &kgo.Record{Topic: table.ChangeTopic(m.Table), Key: key, Value: value})
	}
	return records, last, it.Error()
}

// stop ends the publisher, after what is in the log if Kafka takes it soon.
func (p *publisher) stop() {
	close(p.stopping)
	select {
	case <-p.done:
	case <-time.After(flushTimeout):
	}
	p.cancel()
	<-p.done
	p.cl.Close()
}
