package deadletter

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"darkroom/internal/event"
)

const (
	// A broker that has not answered for this long is away.
	brokerWait = 10 * time.Second
	// metadataAge is how soon the client may ask again for a topic that it did not find.
	metadataAge = 100 * time.Millisecond
	pollRecords = 1000
	// The size of a record, before it is compressed, that no broker is asked to take. What it does take, it says.
	recordMax = 64 << 20
)

// Topic is the topic of dead letters.
type Topic struct {
	brokers []string
	name    string
	cl      *kgo.Client
	adm     *kadm.Client
}

// Open connects to the brokers, and fails if none of them answers or the topic does not exist.
func Open(ctx context.Context, brokers []string, name string) (*Topic, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerBatchMaxBytes(recordMax), kgo.DialTimeout(2*time.Second), kgo.MetadataMinAge(metadataAge))
	if err != nil {
		return nil, fmt.Errorf("open kafka client: %w", err)
	}
	t := &Topic{brokers: brokers, name: name, cl: cl, adm: kadm.NewClient(cl)}
	if err := t.exists(ctx, name); err != nil {
		cl.Close()
		return nil, err
	}
	return t, nil
}

// Close closes the connections.
func (t *Topic) Close() { t.cl.Close() }

// errAway says that no broker answers.
var errAway = errors.New("no broker answers")

// away puts what a person can act upon in the place of the client's error.
func (t *Topic) away(err error) error {
	var dial *net.OpError
	if errors.As(err, &dial) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w at %s", errAway, strings.Join(t.brokers, ","))
	}
	return err
}

// exists fails unless the brokers have the topic.
func (t *Topic) exists(ctx context.Context, topic string) error {
	ctx, cancel := context.WithTimeout(ctx, brokerWait)
	defer cancel()
	topics, err := t.adm.ListTopics(ctx, topic)
	if err == nil {
		err = topics.Error()
	}
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		return fmt.Errorf("topic %s does not exist", topic)
	}
	if err != nil {
		return fmt.Errorf("look for topic %s: %w", topic, t.away(err))
	}
	return nil
}

// offsets are the first offset of each partition of a topic, and the next, before which no transaction is open.
func (t *Topic) offsets(ctx context.Context, topic string) (starts, ends kadm.ListedOffsets, err error) {
	ctx, cancel := context.WithTimeout(ctx, brokerWait)
	defer cancel()
	if starts, err = t.adm.ListStartOffsets(ctx, topic); err == nil {
		ends, err = t.adm.ListCommittedOffsets(ctx, topic)
	}
	if err = errors.Join(err, starts.Error(), ends.Error()); err != nil {
		return nil, nil, fmt.Errorf("list offsets of %s: %w", topic, t.away(err))
	}
	return starts, ends, nil
}

// span is a range of offsets of a partition.
type span struct{ from, to int64 } // to is not in it

// scan reads ranges of a topic, each in the order of its offsets.
func (t *Topic) scan(ctx context.Context, topic string, spans map[int32]span, visit func(*kgo.Record) error) error {
	from, left := map[int32]kgo.Offset{}, map[int32]int64{}
	for p, s := range spans {
		if s.from < s.to {
			from[p], left[p] = kgo.NewOffset().At(s.from), s.to
		}
	}
	if len(left) == 0 {
		return nil
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(t.brokers...), kgo.DialTimeout(2*time.Second),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), // they take offsets: without them a partition that ends in one has no end
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}))
	if err != nil {
		return fmt.Errorf("open kafka client: %w", err)
	}
	defer cl.Close()
	for len(left) > 0 {
		if err := t.poll(ctx, cl, left, visit); err != nil {
			return fmt.Errorf("read %s: %w", topic, err)
		}
	}
	return nil
}

// poll visits some records, and takes each partition that has been read to its end out of left.
func (t *Topic) poll(ctx context.Context, cl *kgo.Client, left map[int32]int64, visit func(*kgo.Record) error) error {
	wait, cancel := context.WithTimeout(ctx, 3*brokerWait)
	defer cancel()
	fetches := cl.PollRecords(wait, pollRecords)
	if err := fetches.Err(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return t.away(err)
	}
	for it := fetches.RecordIter(); !it.Done(); {
		r := it.Next()
		end, reading := left[r.Partition]
		if !reading {
			continue
		}
		if r.Offset < end && !r.Attrs.IsControl() {
			if err := visit(r); err != nil {
				return err
			}
		}
		if r.Offset+1 >= end {
			delete(left, r.Partition)
		}
	}
	return nil
}

// Letters reads the topic from its start to what is its end now. It returns the letters, the oldest record first, and
// what is neither letter nor note.
func (t *Topic) Letters(ctx context.Context) ([]Letter, []Undecodable, error) {
	starts, ends, err := t.offsets(ctx, t.name)
	if err != nil {
		return nil, nil, err
	}
	spans := map[int32]span{}
	ends.Each(func(end kadm.ListedOffset) {
		start, _ := starts.Lookup(t.name, end.Partition)
		spans[end.Partition] = span{start.Offset, end.Offset}
	})
	f := newFold()
	err = t.scan(ctx, t.name, spans, func(r *kgo.Record) error {
		f.add(place{r.Partition, r.Offset}, r.Value)
		return nil
	})
	return f.all(), f.bad, err
}

// Read reads letters again, with their records' values. A letter that the topic no longer holds is not visited. The
// value of a letter that was truncated is read where the record is; it stays empty if that is gone.
func (t *Topic) Read(ctx context.Context, letters []Letter, visit func(Letter) error) error {
	spans, at := map[int32]span{}, map[place]Letter{}
	for _, l := range letters {
		at[l.place] = l
		s, ok := spans[l.place.partition]
		if !ok {
			s = span{l.place.offset, l.place.offset + 1}
		}
		spans[l.place.partition] = span{min(s.from, l.place.offset), max(s.to, l.place.offset+1)}
	}
	starts, _, err := t.offsets(ctx, t.name)
	if err != nil {
		return err
	}
	for p, s := range spans { // retention may have moved on
		start, _ := starts.Lookup(t.name, p)
		spans[p] = span{max(s.from, start.Offset), s.to}
	}
	return t.scan(ctx, t.name, spans, func(r *kgo.Record) error {
		l, chosen := at[place{r.Partition, r.Offset}]
		if !chosen {
			return nil
		}
		full, err := event.DecodeRejection(r.Value)
		if err != nil {
			return err
		}
		l.Value, l.recordKey = full.Value, full.Key
		if l.Truncated && !l.HasValue {
			if l.recordKey, l.Value, err = t.original(ctx, l); err != nil {
				return err
			}
		}
		return visit(l)
	})
}

// original is the key and the value of the letter's record in its own topic, empty if that is there no more.
func (t *Topic) original(ctx context.Context, l Letter) (key, value []byte, err error) {
	starts, ends, err := t.offsets(ctx, l.Topic)
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	start, _ := starts.Lookup(l.Topic, l.Partition)
	end, ok := ends.Lookup(l.Topic, l.Partition)
	if !ok || l.Offset < start.Offset || l.Offset >= end.Offset {
		return nil, nil, nil
	}
	err = t.scan(ctx, l.Topic, map[int32]span{l.Partition: {l.Offset, l.Offset + 1}}, func(r *kgo.Record) error {
		// A topic that was made anew has another record there. A key that was too large for the letter is not in it.
		same := len(l.Key) == 0 || string(r.Key) == string(l.Key)
		if same && r.Timestamp.UnixMilli() == l.Timestamp.UnixMilli() {
			key, value = r.Key, r.Value
		}
		return nil
	})
	return key, value, err
}
