package statsapi

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// applyTimeout bounds one transaction, so that a database that hangs is left.
const applyTimeout = time.Minute

// maxReason bounds in bytes what cdc_rejected says of an error, which may quote the record.
const maxReason = 1000

const (
	rejectSQL = `INSERT INTO cdc_rejected (topic, partition, record_offset, error, key, value)
VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING`

	offsetSQL = `INSERT INTO cdc_offset (topic, partition, next_offset, topic_id)
SELECT * FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::uuid[])
ON CONFLICT (topic, partition) DO UPDATE SET next_offset = excluded.next_offset, topic_id = excluded.topic_id`

	// greatest passes over what is null.
	freshnessSQL = `UPDATE freshness SET as_of = greatest(as_of, $1), promised = greatest(promised, $2)`
)

// entry is one record and what it says.
type entry struct {
	record *kgo.Record
	mirror *mirror
	row    row
	err    error // why it is rejected
}

// batch is what one transaction applies.
type batch struct {
	entries  []entry
	next     offsets // of the partitions that the records are of
	asOf     *int64  // what becomes true with it, if anything does
	promised *int64  // the greatest promise among its records, if there is one
}

// apply brings records into the copy, with the offsets after them and the as_of that they make true, in one
// transaction.
func (c *consumer) apply(ctx context.Context, records []*kgo.Record) error {
	ctx, cancel := context.WithTimeout(ctx, applyTimeout)
	defer cancel()
	b := decode(records)
	if err := c.notePromises(ctx, &b); err != nil {
		return err
	}
	after := maps.Clone(c.next)
	maps.Copy(after, b.next)
	if completeTo, kept := c.promises.settle(after); kept {
		b.asOf = &completeTo
	}
	if len(records) == 0 && b.asOf == nil {
		return nil
	}
	began := time.Now()
	changed, err := c.together(ctx, b)
	if isData(err) {
		changed, err = c.singly(ctx, b)
	}
	if err != nil {
		return fmt.Errorf("apply %d records: %w", len(records), err)
	}
	c.next, c.applied = after, true
	c.metrics.apply.Observe(time.Since(began).Seconds())
	if b.asOf != nil {
		c.metrics.asOf.Set(float64(*b.asOf) / 1e6)
	}
	c.count(b, changed)
	return nil
}

// decode reads the records. Those without a value say nothing: they are markers of transactions and of compaction.
func decode(records []*kgo.Record) batch {
	b := batch{next: offsets{}}
	for _, r := range records {
		b.next[partition{r.Topic, r.Partition}] = r.Offset + 1
		if r.Attrs.IsControl() || len(r.Value) == 0 {
			continue
		}
		m := mirrorOf[r.Topic]
		e := entry{record: r, mirror: m}
		e.row, e.err = m.read(r)
		b.entries = append(b.entries, e)
	}
	return b
}

// notePromises looks for words of progress among the records, and asks where the topics end if there is one.
func (c *consumer) notePromises(ctx context.Context, b *batch) error {
	for _, e := range b.entries {
		if e.err != nil || e.row.gone || e.mirror != progressMirror {
			continue
		}
		if e.mirror.cell(e.row, "pipeline") == pipelineLive {
			completeTo := e.mirror.cell(e.row, "complete_to").(int64)
			c.promises.saw(completeTo)
			if b.promised == nil || *b.promised < completeTo {
				b.promised = &completeTo
			}
		}
	}
	if !c.promises.wantEnds() {
		return nil
	}
	ends := c.rebuildTo
	if ends == nil {
		var err error
		if ends, err = c.ends(ctx); err != nil {
			return err
		}
	}
	c.promises.setEnds(ends)
	return nil
}

// rowsOf are the rows of one mirror, joined.
func (b batch) rowsOf(m *mirror) []row {
	var rows []row
	for _, e := range b.entries {
		if e.mirror == m && e.err == nil {
			rows = append(rows, e.row)
		}
	}
	return m.joined(rows)
}

// changes counts the rows that changed, by topic.
type changes map[string]int64

// together applies all rows of a mirror with one statement.
func (c *consumer) together(ctx context.Context, b batch) (changes, error) {
	changed := changes{}
	err := pgx.BeginFunc(ctx, c.conn, func(tx pgx.Tx) error {
		var queue pgx.Batch
		for i, m := range mirrors {
			rows := b.rowsOf(m)
			if len(rows) == 0 {
				continue
			}
			queue.Queue(m.upsert, m.arguments(rows)...).Exec(func(tag pgconn.CommandTag) error {
				changed[topics[i]] = tag.RowsAffected()
				return nil
			})
		}
		if queue.Len() > 0 {
			if err := tx.SendBatch(ctx, &queue).Close(); err != nil {
				return fmt.Errorf("upsert rows: %w", err)
			}
		}
		return b.finish(ctx, tx, c.made)
	})
	return changed, err
}

// singly applies each row by itself and rejects those that the database refuses. It is for the rare batch that holds
// such a row.
func (c *consumer) singly(ctx context.Context, b batch) (changes, error) {
	changed := changes{}
	err := pgx.BeginFunc(ctx, c.conn, func(tx pgx.Tx) error {
		for i := range b.entries {
			e := &b.entries[i]
			if e.err != nil {
				continue
			}
			err := pgx.BeginFunc(ctx, tx, func(savepoint pgx.Tx) error {
				tag, err := savepoint.Exec(ctx, e.mirror.upsert, e.mirror.arguments([]row{e.row})...)
				if err == nil {
					changed[e.record.Topic] += tag.RowsAffected()
				}
				return err
			})
			if isData(err) {
				e.err, err = err, nil
			}
			if err != nil {
				return fmt.Errorf("upsert row: %w", err)
			}
		}
		return b.finish(ctx, tx, c.made)
	})
	return changed, err
}

// finish writes what goes with the rows, which are of the topics of these ids.
func (b batch) finish(ctx context.Context, tx pgx.Tx, ids topicIDs) error {
	var queue pgx.Batch
	for _, e := range b.entries {
		if e.err != nil {
			r := e.record
			queue.Queue(rejectSQL, r.Topic, r.Partition, r.Offset, reason(e.err), r.Key, r.Value)
		}
	}
	if len(b.next) > 0 {
		var names []string
		var partitions []int32
		var nexts []int64
		var made []*kadm.TopicID
		for p, o := range b.next {
			names, partitions, nexts = append(names, p.topic), append(partitions, p.id), append(nexts, o)
			made = append(made, ids.of(p.topic))
		}
		queue.Queue(offsetSQL, names, partitions, nexts, made)
	}
	if b.asOf != nil || b.promised != nil {
		queue.Queue(freshnessSQL, b.asOf, b.promised)
	}
	if err := tx.SendBatch(ctx, &queue).Close(); err != nil {
		return fmt.Errorf("write offsets: %w", err)
	}
	return nil
}

// count tells the metrics and the log what became of the records. A flood of bad ones makes one line a batch.
func (c *consumer) count(b batch, changed changes) {
	read, rejected := changes{}, changes{}
	var first *entry
	for i, e := range b.entries {
		read[e.record.Topic]++
		if e.err == nil {
			continue
		}
		rejected[e.record.Topic]++
		if first == nil {
			first = &b.entries[i]
		}
	}
	for topic, n := range read {
		c.metrics.records.WithLabelValues(topic, outcomeApplied).Add(float64(changed[topic]))
		c.metrics.records.WithLabelValues(topic, outcomeRejected).Add(float64(rejected[topic]))
		c.metrics.records.WithLabelValues(topic, outcomeIgnored).Add(float64(n - changed[topic] - rejected[topic]))
	}
	if first != nil {
		c.log.Error("records rejected; cdc_rejected holds them", "counts", rejected, "first_topic", first.record.Topic,
			"first_partition", first.record.Partition, "first_offset", first.record.Offset, "first_error", first.err)
	}
}

// reason is an error as a text column can hold it.
func reason(err error) string {
	s := strings.ReplaceAll(strings.ToValidUTF8(err.Error(), "\uFFFD"), "\x00", "\uFFFD")
	if len(s) > maxReason {
		s = strings.ToValidUTF8(s[:maxReason], "")
	}
	return s
}
