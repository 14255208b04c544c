package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"darkroom/internal/event"
)

const (
	maxBuffered  = 20_000 // events that wait for Kafka in memory; all of them are in the journal too
	retryKafka   = 250 * time.Millisecond
	probeTimeout = 2 * time.Second
)

// publisher publishes events and knows whether Kafka answers.
type publisher struct {
	client *kgo.Client
	admin  *kadm.Client
	wait   time.Duration
	log    *slog.Logger

	rose chan struct{} // has a value after Kafka came back

	mu   sync.Mutex
	up   bool
	fell chan struct{} // closed while Kafka is away
}

// newPublisher sets no RecordDeliveryTimeout: the client counts it from a record's timestamp, the time of the event,
// and an event that the sweeper sends is old. So what is sent waits for Kafka, in the client as in the journal.
func newPublisher(cfg Config, log *slog.Logger) (*publisher, error) {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(cfg.Brokers...),
		kgo.ClientID("darkroom-ingest"),
		kgo.RequiredAcks(kgo.AllISRAcks()), // the producer is idempotent by default
		kgo.ProducerLinger(0),              // an upload waits for its event, which must not wait for company
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.MaxBufferedRecords(maxBuffered),
		kgo.DialTimeout(2*time.Second),
		kgo.MetadataMinAge(retryKafka),
		kgo.RetryBackoffFn(func(int) time.Duration { return retryKafka }),
	)
	if err != nil {
		return nil, fmt.Errorf("make kafka client: %w", err)
	}
	return &publisher{
		client: client, admin: kadm.NewClient(client), wait: cfg.KafkaWait, log: log,
		up: true, fell: make(chan struct{}), rose: make(chan struct{}, 1),
	}, nil
}

// send gives the event to Kafka's client. done is called once, with nil when Kafka has acknowledged it, and must not
// block.
func (p *publisher) send(e event.Event, done func(error)) {
	key, value, err := e.Encode()
	if err != nil {
		done(err)
		return
	}
	r := &kgo.Record{Topic: event.TopicImages, Key: key, Value: value, Timestamp: e.Time}
	p.client.TryProduce(context.Background(), r, func(_ *kgo.Record, err error) {
		if !errors.Is(err, kgo.ErrClientClosed) {
			p.set(err == nil, err)
		}
		done(err)
	})
}

// errAway says that Kafka has not acknowledged an event in time. It may still do so. The journal keeps the event.
var errAway = errors.New("kafka does not answer")

// deliver sends the event and waits for Kafka, but not long.
func (p *publisher) deliver(e event.Event, done func(error)) error {
	_, fell := p.state()
	acked := make(chan error, 1)
	p.send(e, func(err error) {
		done(err)
		acked <- err
	})
	timer := time.NewTimer(p.wait)
	defer timer.Stop()
	select {
	case err := <-acked:
		return err
	case <-timer.C:
		p.set(false, errAway)
	case <-fell:
	}
	return errAway
}

func (p *publisher) state() (up bool, fell <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.up {
		return false, nil
	}
	return true, p.fell
}

// set takes note of whether Kafka answers.
func (p *publisher) set(up bool, why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if up == p.up {
		return
	}
	p.up = up
	if !up {
		close(p.fell)
		p.log.Warn("Kafka is away: events wait in the journal", "error", why)
		return
	}
	p.fell = make(chan struct{})
	p.log.Info("Kafka is back")
	select {
	case p.rose <- struct{}{}:
	default:
	}
}

// probe asks Kafka for the topic.
func (p *publisher) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	meta, err := p.admin.Metadata(ctx, event.TopicImages)
	if err != nil {
		return fmt.Errorf("ask kafka for topic %s: %w", event.TopicImages, err)
	}
	topic, ok := meta.Topics[event.TopicImages]
	if !ok {
		return fmt.Errorf("kafka has no topic %s", event.TopicImages)
	}
	if topic.Err != nil {
		return fmt.Errorf("kafka's topic %s: %w", event.TopicImages, topic.Err)
	}
	for _, partition := range topic.Partitions {
		if partition.Err != nil {
			return fmt.Errorf("kafka's topic %s, partition %d: %w", event.TopicImages, partition.Partition, partition.Err)
		}
	}
	return nil
}

// flush waits for what was sent, if Kafka answers, but no longer than ctx.
func (p *publisher) flush(ctx context.Context) {
	if up, _ := p.state(); up {
		_ = p.client.Flush(ctx) // what was not acknowledged is in the journal
	}
}
