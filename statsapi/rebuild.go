package statsapi

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"
)

// ErrConsuming is returned by Rebuild while an instance consumes, this one or another. Stop it, then call again.
var ErrConsuming = errors.New("an instance of the statistics service is consuming; stop it first")

// ErrIncomplete is returned by Rebuild when the topics do not hold all that the copy was made of, so that a rebuilt one
// would have less. Bring the topics back, or accept the loss with Config.RebuildIncomplete.
var ErrIncomplete = errors.New("the topics no longer hold everything that the copy was made of")

const takeStatisticsSQL = "VACUUM (ANALYZE) image, hash_band, bucket, image_stats" //nolint:misspell // SQL

// lockPatience is how long a rebuild waits for an instance to end.
const lockPatience = 2 * time.Second

// pollPause is how long a rebuild waits for records before it looks whether it should go on.
const pollPause = time.Second

// Rebuild drops the copy and makes it anew from what the topics hold when it starts, and ends with the same copy. The
// new one grows beside the old, which goes on answering queries until the two are swapped in one transaction; after an
// error, the old one is as it was. progress, if not nil, is told how many records of how many are done.
func (s *Service) Rebuild(ctx context.Context, progress func(done, total int64)) error {
	conn, err := connect(ctx, s.cfg, schemaNext)
	if err != nil {
		return err
	}
	defer disconnect(conn)
	// The server may not have noticed yet that an instance which held the lock has ended.
	patience, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	err = s.lock(patience, conn)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return ErrConsuming
	}
	if err != nil {
		return err
	}
	if err := s.fill(ctx, conn, progress); err != nil {
		s.clear(conn, schemaNext)
		return err
	}
	if err := swap(ctx, conn); err != nil {
		s.clear(conn, schemaNext)
		return err
	}
	s.clear(conn, schemaPast)
	return nil
}

// fill makes the new copy.
func (s *Service) fill(ctx context.Context, conn *pgx.Conn, progress func(done, total int64)) error {
	if err := dropSchema(ctx, conn, schemaNext); err != nil {
		return err
	}
	if err := migrate(ctx, s.cfg, schemaNext); err != nil {
		return err
	}
	// A crash throws the new copy away as a whole, so its transactions need not wait for the disk one by one.
	if _, err := conn.Exec(ctx, "SET synchronous_commit = off"); err != nil {
		return fmt.Errorf("set synchronous_commit: %w", err)
	}
	c, err := newConsumer(s, conn)
	if err != nil {
		return err
	}
	defer c.close()
	ends, err := c.ends(ctx)
	if err != nil {
		return err
	}
	if err := s.checkComplete(ctx, c, ends); err != nil {
		return err
	}
	if progress == nil {
		progress = func(int64, int64) {}
	}
	if err := c.readTo(ctx, ends, progress); err != nil {
		return err
	}
	// The planner knows nothing of the new tables until their statistics are taken.
	if _, err := conn.Exec(ctx, takeStatisticsSQL); err != nil {
		return fmt.Errorf("take statistics: %w", err)
	}
	return nil
}

// checkComplete compares the topics with how far the old copy had read them.
func (s *Service) checkComplete(ctx context.Context, c *consumer, ends offsets) error {
	if s.cfg.RebuildIncomplete {
		return nil
	}
	starts, err := c.starts(ctx)
	if err != nil {
		return err
	}
	for p, start := range starts {
		if start > 0 {
			return fmt.Errorf("%w: %s/%d begins at offset %d", ErrIncomplete, p.topic, p.id, start)
		}
	}
	read, err := readOffsets(ctx, c.conn, schemaLive)
	if err != nil {
		return err
	}
	for p, next := range read {
		if next > ends[p] {
			return fmt.Errorf("%w: %s/%d ends at offset %d, and the copy has read to %d",
				ErrIncomplete, p.topic, p.id, ends[p], next)
		}
	}
	return nil
}

// readTo applies all records before the ends, and none after.
func (c *consumer) readTo(ctx context.Context, ends offsets, progress func(done, total int64)) error {
	c.rebuildTo = ends
	var fresh []partition
	for p := range ends {
		fresh = append(fresh, p)
	}
	if err := c.assign(ctx, fresh, ends); err != nil {
		return err
	}
	left := func() (n int64) {
		for p, end := range ends {
			n += max(0, end-c.next[p])
		}
		return n
	}
	total := left()
	for progress(0, total); left() > 0; progress(total-left(), total) {
		records, err := c.poll(ctx, time.Now().Add(pollPause))
		if err != nil {
			return err
		}
		if err := c.apply(ctx, before(records, ends)); err != nil {
			return err
		}
		for _, r := range records { // what is past the ends shows that nothing before them is left
			p := partition{r.Topic, r.Partition}
			c.next[p] = min(max(c.next[p], r.Offset+1), ends[p])
		}
		if len(records) == 0 {
			if err := c.kafka.Ping(ctx); err != nil {
				return fmt.Errorf("ping Kafka: %w", err)
			}
		}
	}
	return c.apply(ctx, nil) // keeps the promises, if the last records did not
}

func before(records []*kgo.Record, ends offsets) []*kgo.Record {
	var out []*kgo.Record
	for _, r := range records {
		if r.Offset < ends[partition{r.Topic, r.Partition}] {
			out = append(out, r)
		}
	}
	return out
}

// swap puts the new copy in the place of the old by renaming, which waits for no query and holds none up.
func swap(ctx context.Context, conn *pgx.Conn) error {
	if err := dropSchema(ctx, conn, schemaPast); err != nil {
		return err
	}
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		// This transaction makes all those before it durable too: the log is written in order.
		for _, sql := range []string{
			"SET LOCAL synchronous_commit = on",
			"ALTER SCHEMA " + schemaLive + " RENAME TO " + schemaPast,
			"ALTER SCHEMA " + schemaNext + " RENAME TO " + schemaLive,
		} {
			if _, err := tx.Exec(ctx, sql); err != nil {
				return fmt.Errorf("swap the copies: %w", err)
			}
		}
		return nil
	})
}

func dropSchema(ctx context.Context, conn *pgx.Conn, schema string) error {
	if _, err := conn.Exec(ctx, "DROP SCHEMA IF EXISTS "+schema+" CASCADE"); err != nil {
		return fmt.Errorf("drop schema %s: %w", schema, err)
	}
	return nil
}

// clear drops a schema that is no longer needed, also after the context has ended. If it fails, the next rebuild does
// it.
func (s *Service) clear(conn *pgx.Conn, schema string) {
	ctx, cancel := context.WithTimeout(context.Background(), applyTimeout)
	defer cancel()
	if err := dropSchema(ctx, conn, schema); err != nil {
		s.log.Warn("a schema is left over", "schema", schema, "error", err)
	}
}
