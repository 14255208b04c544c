package embedded

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"darkroom/internal/table"
)

const (
	publishRecords = 4000             // about how many records are under way at once
	publishBytes   = 4 << 20          // and about how many bytes of the log
	publishTimeout = 10 * time.Second // after which an attempt is given up, logged, and made anew
	publishPause   = 500 * time.Millisecond
	firstMetadata  = 250 * time.Millisecond
	longestBackoff = time.Second
	firstBackoff   = 50 * time.Millisecond
)

var progressTopic = table.ChangeTopic(table.Progresses.Table().Name)

// publisher moves the change log to Kafka, in its order, one group of entries after the other.
type publisher struct {
	log     *changeLog
	brokers []string
	logger  *slog.Logger
	client  *kgo.Client
	failing bool // since the last success; so that an outage makes two lines in the log

	cancel context.CancelFunc
	done   chan struct{}
}

func startPublisher(log *changeLog, brokers []string, logger *slog.Logger) (*publisher, error) {
	p := &publisher{log: log, brokers: brokers, logger: logger, done: make(chan struct{})}
	var err error
	if p.client, err = p.newClient(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	go p.run(ctx)
	return p, nil
}

// stop ends the publishing and waits for its end. What is under way may be published and stay in the log.
func (p *publisher) stop() {
	p.cancel()
	<-p.done
}

func (p *publisher) newClient() (*kgo.Client, error) {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(p.brokers...),
		kgo.ClientID("darkroom-table"),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerLinger(0), // a group of entries is the batch
		kgo.AllowAutoTopicCreation(),
		kgo.UnknownTopicRetries(-1), // a topic that is not there yet is an outage like others
		kgo.MetadataMinAge(firstMetadata),
		kgo.RetryBackoffFn(func(n int) time.Duration { return min(longestBackoff, firstBackoff<<min(n, 10)) }),
		// An attempt that has timed out is made again, whatever came of it.
		kgo.AllowIdempotentProduceCancellation(),
	)
	if err != nil {
		return nil, fmt.Errorf("make Kafka client: %w", err)
	}
	return client, nil
}

func (p *publisher) run(ctx context.Context) {
	defer close(p.done)
	defer func() { p.client.Close() }()
	for ctx.Err() == nil {
		n, err := p.publishNext(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			p.failed(ctx, err)
		case n == 0:
			select {
			case <-p.log.wake:
			case <-ctx.Done():
			}
		case p.failing:
			p.failing = false
			p.logger.Info("changes are published again", "backlog", p.log.backlog())
		}
	}
}

// failed prepares another attempt, with a new client: the old one may be in a state that no retry of its own ends, such
// as after a topic was made anew.
func (p *publisher) failed(ctx context.Context, err error) {
	if !p.failing {
		p.failing = true
		p.logger.Warn("changes cannot be published, trying on", "error", err, "backlog", p.log.backlog())
	}
	select {
	case <-time.After(publishPause):
	case <-ctx.Done():
		return
	}
	if client, err := p.newClient(); err == nil {
		p.client.Close()
		p.client = client
	}
}

// publishNext publishes the oldest entries, and returns how many there were.
func (p *publisher) publishNext(ctx context.Context) (int, error) {
	entries, err := p.oldest()
	if err != nil || len(entries) == 0 {
		return 0, err
	}
	// Kafka takes the topics of one call in any order. A word of progress promises that all before it can be read, so it
	// follows when that is there.
	var changes, words []*kgo.Record
	for _, e := range entries {
		muts, err := e.mutations()
		if err != nil {
			return 0, err
		}
		for _, r := range p.records(muts, e.position) {
			if r.Topic == progressTopic {
				words = append(words, r)
			} else {
				changes = append(changes, r)
			}
		}
	}
	attempt, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	for _, records := range [][]*kgo.Record{changes, words} {
		if err := p.client.ProduceSync(attempt, records...).FirstErr(); err != nil {
			return 0, fmt.Errorf("publish changes: %w", err)
		}
	}
	last := entries[len(entries)-1]
	return len(entries), p.log.forget(entries, last.position+last.count)
}

// oldest reads entries of about publishRecords mutations, or fewer when they are large.
func (p *publisher) oldest() (entries []entry, err error) {
	count, size := int64(0), 0
	err = p.log.each(p.log.published.Load(), p.log.durable.Load(), func(e entry) bool {
		entries = append(entries, e)
		count += e.count
		size += len(e.data)
		return count < publishRecords && size < publishBytes
	})
	return entries, err
}

// records encodes mutations for Kafka. One that does not fit its table was written by another version of the software,
// and could not be read either: it is left out rather than to hold up all that follow.
func (p *publisher) records(muts []table.Mutation, position int64) []*kgo.Record {
	now := time.Now()
	records := make([]*kgo.Record, 0, len(muts))
	for i, m := range muts {
		key, value, err := table.ChangeOf(m, now, position+int64(i)).Encode()
		if err != nil {
			p.logger.Error("a change is left out", "position", position+int64(i), "error", err)
			continue
		}
		records = append(records, &kgo.Record{Topic: table.ChangeTopic(m.Table), Key: key, Value: value})
	}
	return records
}
