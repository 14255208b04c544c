package statsapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// A broker holds a fetch for as long while nothing arrives; it answers at once when something does.
	fetchWait = 100 * time.Millisecond
	// metadataAge is how soon the client may ask again which partitions there are.
	metadataAge = 50 * time.Millisecond
	// askTimeout bounds a question to Kafka about its topics, and one to PostgreSQL that is answered at once: a connection
	// whose other end is gone without a word is left.
	askTimeout = 5 * time.Second
)

// pipelineLive is the pipeline whose progress is as_of.
const pipelineLive = "live"

// consumer is one stretch of consuming: by one connection, which holds the lock, and one Kafka client. After an error
// it is thrown away, and another goes on from what the database holds.
type consumer struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics
	conn    *pgx.Conn
	kafka   *kgo.Client
	admin   *kadm.Client

	stored   map[partition]position // where to read on, as the database has it
	next     offsets                // where to read on, of the partitions that are being read
	made     topicIDs               // of the topics that are being read
	promises promises
	applied  bool // whether a transaction succeeded

	rebuildTo offsets // where a rebuild ends: every promise before was published before these were taken
}

func newConsumer(s *Service, conn *pgx.Conn) (*consumer, error) {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(s.cfg.Brokers...),
		kgo.ClientID("darkroom-statsapi"),
		kgo.FetchMaxWait(fetchWait),
		kgo.FetchMinBytes(1),
		// A partition that is new is read at once, not after the client's usual five seconds.
		kgo.MetadataMinAge(metadataAge),
		// An offset that is out of range is for us to see, not for the client to put right.
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		// Without these a partition that ends in one would never be read to its end.
		kgo.KeepControlRecords(),
	)
	if err != nil {
		return nil, fmt.Errorf("open Kafka client: %w", err)
	}
	return &consumer{
		cfg: s.cfg, log: s.log, metrics: s.metrics, conn: conn, kafka: client, admin: kadm.NewClient(client),
		next: offsets{}, made: topicIDs{},
	}, nil
}

func (c *consumer) close() { c.kafka.Close() }

// look finds new topics and partitions and begins to read them, and measures how far behind the copy is.
func (c *consumer) look(ctx context.Context) error {
	// The connection is idle while nothing arrives: this is how its loss, and with it that of the lock, is noticed.
	if err := ping(ctx, c.conn); err != nil {
		return err
	}
	made, err := c.topicIDs(ctx)
	if err != nil {
		return err
	}
	for topic := range c.made {
		if isAnother(c.made.of(topic), made.of(topic)) {
			return fmt.Errorf("%s is not the topic that was being read, but one that was made anew", topic)
		}
	}
	ends, err := c.ends(ctx)
	if err != nil {
		return err
	}
	var fresh []partition
	for p := range ends {
		if _, ok := c.next[p]; !ok {
			fresh = append(fresh, p)
		}
	}
	if len(fresh) > 0 {
		if err := c.assign(ctx, fresh, ends, made); err != nil {
			return err
		}
	}
	for p, end := range ends {
		c.setLag(p, end)
	}
	return nil
}

func ping(ctx context.Context, conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if err := conn.Ping(ctx); err != nil {
		return fmt.Errorf("ping PostgreSQL: %w", err)
	}
	return nil
}

func (c *consumer) setLag(p partition, end int64) {
	c.metrics.lag.WithLabelValues(p.topic, strconv.Itoa(int(p.id))).Set(float64(max(0, end-c.next[p])))
}

// topicIDs are the ids of topics that exist.
type topicIDs map[string]kadm.TopicID

// of is a topic's id, or nil if Kafka gives none.
func (t topicIDs) of(topic string) *kadm.TopicID {
	if id := t[topic]; id != (kadm.TopicID{}) {
		return &id
	}
	return nil
}

// isAnother reports whether a topic is known not to be the one that it was.
func isAnother(was, is *kadm.TopicID) bool { return was != nil && is != nil && *was != *is }

// topicIDs are those of the topics that exist now.
func (c *consumer) topicIDs(ctx context.Context) (topicIDs, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	meta, err := c.admin.Metadata(kadm.WithAuthorizedOps(ctx), topics...) // not from the client's cache: see ends
	if err != nil {
		return nil, fmt.Errorf("ask for topics: %w", err)
	}
	out := topicIDs{}
	for name, t := range meta.Topics {
		if t.Err == nil {
			out[name] = t.ID
		}
	}
	return out, nil
}

// assign begins to read partitions from where the database says, or from their start when that is not in them.
func (c *consumer) assign(ctx context.Context, fresh []partition, ends offsets, made topicIDs) error {
	starts, err := c.starts(ctx)
	if err != nil {
		return err
	}
	add := map[string]map[int32]kgo.Offset{}
	for _, p := range fresh {
		at, start, end := c.stored[p].next, starts[p], ends[p]
		anew := isAnother(c.stored[p].topic, made.of(p.topic))
		if at < start || at > end || anew {
			c.metrics.reset.WithLabelValues(p.topic).Inc()
			c.log.Warn("records are gone that were not read; reading on from the partition's start",
				"topic", p.topic, "partition", p.id, "next", at, "start", start, "end", end, "made_anew", anew)
			at = start
		}
		c.next[p], c.made[p.topic] = at, made[p.topic]
		if add[p.topic] == nil {
			add[p.topic] = map[int32]kgo.Offset{}
		}
		add[p.topic][p.id] = kgo.NewOffset().At(at)
	}
	c.kafka.AddConsumePartitions(add)
	return nil
}

// ends are the offsets after the last record of every partition. Topics that do not exist are left out.
func (c *consumer) ends(ctx context.Context) (offsets, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	// Asked for the authorized operations too, which nobody needs, the client does not answer from its cache, in which a
	// partition that was just made may be missing: as_of rests on these ends.
	listed, err := c.admin.ListEndOffsets(kadm.WithAuthorizedOps(ctx), topics...)
	if err != nil {
		return nil, fmt.Errorf("list end offsets: %w", err)
	}
	return collect(listed)
}

// starts are the offsets of the first record of every partition.
func (c *consumer) starts(ctx context.Context) (offsets, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	listed, err := c.admin.ListStartOffsets(ctx, topics...)
	if err != nil {
		return nil, fmt.Errorf("list start offsets: %w", err)
	}
	return collect(listed)
}

func collect(listed kadm.ListedOffsets) (offsets, error) {
	out := offsets{}
	var failed error
	listed.Each(func(o kadm.ListedOffset) {
		switch {
		case errors.Is(o.Err, kerr.UnknownTopicOrPartition):
		case o.Err != nil:
			failed = fmt.Errorf("list offsets of %s/%d: %w", o.Topic, o.Partition, o.Err)
		default:
			out[partition{o.Topic, o.Partition}] = o.Offset
		}
	})
	return out, failed
}

// poll returns the next records, or none when the time is up.
func (c *consumer) poll(ctx context.Context, until time.Time) ([]*kgo.Record, error) {
	pctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	fetches := c.kafka.PollRecords(pctx, c.cfg.BatchRecords)
	for _, e := range fetches.Errors() {
		if errors.Is(e.Err, context.DeadlineExceeded) && ctx.Err() == nil {
			continue
		}
		return nil, fmt.Errorf("fetch %s/%d: %w", e.Topic, e.Partition, e.Err)
	}
	return fetches.Records(), nil
}
