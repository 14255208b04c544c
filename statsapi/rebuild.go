package statsapi

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"
)

// ErrRebuilding is returned by Rebuild while another rebuild of the same copy runs. Wait for it.
var ErrRebuilding = errors.New("a rebuild of this copy is running")

// ErrIncomplete is returned by Rebuild when the topics do not hold all that the copy was made of, so that a rebuilt one
// would have less. Bring the topics back, or accept the loss with Config.RebuildIncomplete.
var ErrIncomplete = errors.New("the topics no longer hold everything that the copy was made of")

const takeStatisticsSQL = "VACUUM (ANALYZE) image, hash_band, bucket, image_stats" //nolint:misspell // SQL

// takeOverPatience is how long a rebuild tries to take consuming over from the instance that has it.
const takeOverPatience = 10 * time.Second

// A rebuild fills the new copy until that takes no longer than shortFill, but not more often than maxFills.
const (
	shortFill = time.Second
	maxFills  = 10
)

// takeOverPause is how long a connection that was ended may take to end.
const takeOverPause = 20 * time.Millisecond

// pollPause is how long a rebuild waits for records before it looks whether it should go on.
const pollPause = time.Second

// endConsumingSQL ends the connection that holds the lock of consuming. The lock's key is in two halves.
const endConsumingSQL = `SELECT pg_terminate_backend(pid) FROM pg_locks
WHERE locktype = 'advisory' AND granted AND objsubid = 1
	AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
	AND classid::bigint = $1::bigint >> 32 AND objid::bigint = $1::bigint & 4294967295`

// Rebuild drops the copy and makes it anew from the topics, and ends with the same copy. The new one grows beside the
// old, which goes on answering queries and, where an instance consumes, goes on growing too. Then Rebuild takes
// consuming over for a moment, by ending that instance's connection, brings the new copy up to date and swaps the two
// in one transaction; the instance connects again and consumes on, from the new copy. After an error, the old one is as
// it was. progress, if not nil, is told how many records of how many are done.
func (s *Service) Rebuild(ctx context.Context, progress func(done, total int64)) error {
	conn, err := connect(ctx, s.cfg, schemaNext)
	if err != nil {
		return err
	}
	defer disconnect(conn)
	ok, err := tryLock(ctx, conn, lockRebuild)
	if err != nil {
		return err
	}
	if !ok {
		return ErrRebuilding
	}
	if progress == nil {
		progress = func(int64, int64) {}
	}
	if err := s.renew(ctx, conn, progress); err != nil {
		s.clear(conn, schemaNext)
		return err
	}
	s.clear(conn, schemaPast)
	return nil
}

// renew makes the new copy and puts it in the place of the old.
func (s *Service) renew(ctx context.Context, conn *pgx.Conn, progress func(done, total int64)) error {
	if err := s.prepare(ctx, conn); err != nil {
		return err
	}
	progress = cumulative(progress)
	for range maxFills { // the old copy may grow while the new one is filled; what is left is for while nothing consumes
		began := time.Now()
		if err := s.fill(ctx, conn, progress); err != nil {
			return err
		}
		if time.Since(began) < shortFill {
			break
		}
	}
	// The planner knows nothing of the new tables until their statistics are taken.
	if _, err := conn.Exec(ctx, takeStatisticsSQL); err != nil {
		return fmt.Errorf("take statistics: %w", err)
	}
	if err := takeOver(ctx, conn); err != nil {
		return err
	}
	// What came in the meantime. From here on nothing but this connection writes.
	if err := s.fill(ctx, conn, progress); err != nil {
		return err
	}
	return swap(ctx, conn)
}

// cumulative adds up the progress of several fills.
func cumulative(progress func(done, total int64)) func(done, total int64) {
	var before, last int64
	return func(done, total int64) {
		if done < last { // another fill has begun
			before += last
		}
		last = done
		progress(before+done, before+total)
	}
}

// prepare makes an empty new copy, if the topics hold what it takes to fill it.
func (s *Service) prepare(ctx context.Context, conn *pgx.Conn) error {
	if err := s.checkComplete(ctx, conn); err != nil {
		return err
	}
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
	return nil
}

// fill brings the new copy to where the topics end now.
func (s *Service) fill(ctx context.Context, conn *pgx.Conn, progress func(done, total int64)) error {
	c, err := newConsumer(s, conn)
	if err != nil {
		return err
	}
	defer c.close()
	if err := c.load(ctx, schemaNext); err != nil {
		return err
	}
	ends, err := c.ends(ctx)
	if err != nil {
		return err
	}
	return c.readTo(ctx, ends, progress)
}

// takeOver takes the lock of consuming, if need be from the instance that holds it.
func takeOver(ctx context.Context, conn *pgx.Conn) error {
	for deadline := time.Now().Add(takeOverPatience); ; {
		ok, err := tryLock(ctx, conn, lockConsume)
		if ok || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("take over consuming: another instance has had it for %v", takeOverPatience)
		}
		if _, err := conn.Exec(ctx, endConsumingSQL, int64(lockConsume)); err != nil {
			return fmt.Errorf("end the connection that consumes: %w", err)
		}
		if !sleep(ctx, takeOverPause) {
			return ctx.Err()
		}
	}
}

// checkComplete compares the topics with how far the old copy had read them.
func (s *Service) checkComplete(ctx context.Context, conn *pgx.Conn) error {
	if s.cfg.RebuildIncomplete {
		return nil
	}
	read, err := readPositions(ctx, conn, schemaLive) // before the ends: the old copy may read on meanwhile
	if err != nil {
		return err
	}
	c, err := newConsumer(s, conn)
	if err != nil {
		return err
	}
	defer c.close()
	starts, err := c.starts(ctx)
	if err != nil {
		return err
	}
	for p, start := range starts {
		if start > 0 {
			return fmt.Errorf("%w: %s/%d begins at offset %d", ErrIncomplete, p.topic, p.id, start)
		}
	}
	ends, err := c.ends(ctx)
	if err != nil {
		return err
	}
	made, err := c.topicIDs(ctx)
	if err != nil {
		return err
	}
	for p, at := range read {
		if at.next > ends[p] {
			return fmt.Errorf("%w: %s/%d ends at offset %d, and the copy has read to %d",
				ErrIncomplete, p.topic, p.id, ends[p], at.next)
		}
		if isAnother(at.topic, made.of(p.topic)) {
			return fmt.Errorf("%w: %s was made anew since the copy read it", ErrIncomplete, p.topic)
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
	made, err := c.topicIDs(ctx)
	if err != nil {
		return err
	}
	if err := c.assign(ctx, fresh, ends, made); err != nil {
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
