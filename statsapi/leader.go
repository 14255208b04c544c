package statsapi

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
)

// Pauses between tries to consume, while Kafka or PostgreSQL is away.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 2 * time.Second
)

// Run consumes the changes until the context ends, and then returns nil. While another instance consumes, it waits to
// take over; while Kafka or PostgreSQL is away, it tries again, and nothing is lost.
func (s *Service) Run(ctx context.Context) error {
	pause := firstPause
	for {
		applied, err := s.lead(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // asked to stop: whatever failed, failed for that
		}
		if applied {
			pause = firstPause
		}
		s.metrics.restarts.Inc()
		s.log.Warn("consuming stopped and begins again", "error", err, "pause", pause)
		if !sleep(ctx, pause) {
			return nil
		}
		pause = min(2*pause, lastPause)
	}
}

// lead waits until this instance may consume, and consumes until an error; it reports whether any record was applied.
// The lock belongs to the connection that also writes, so an instance whose lock is gone cannot write any more.
func (s *Service) lead(ctx context.Context) (applied bool, err error) {
	conn, err := connect(ctx, s.cfg, schemaLive)
	if err != nil {
		return false, err
	}
	defer disconnect(conn)
	if err := s.lock(ctx, conn); err != nil {
		return false, err
	}
	c, err := newConsumer(s, conn)
	if err != nil {
		return false, err
	}
	defer c.close()
	s.metrics.consuming.Set(1)
	defer s.metrics.consuming.Set(0)
	defer s.metrics.lag.Reset()
	s.log.Info("this instance consumes")
	err = c.consume(ctx)
	return c.applied, err
}

// lock takes the lock of consuming once it is free, or returns the context's error. It asks again and again, since a
// connection that waits within the database holds back its vacuum.
func (s *Service) lock(ctx context.Context, conn *pgx.Conn) error {
	for {
		ok, err := tryLock(ctx, conn, lockConsume)
		if ok || err != nil {
			return err
		}
		if !sleep(ctx, s.cfg.LockInterval) {
			return ctx.Err()
		}
	}
}

// tryLock takes a lock for as long as the connection lasts, unless another has it.
func tryLock(ctx context.Context, conn *pgx.Conn, key int64) (ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if err := conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1)", key).Scan(&ok); err != nil {
		return false, fmt.Errorf("take lock %d: %w", key, err)
	}
	return ok, nil
}

// consume applies changes as they arrive, until an error or the end of the context.
func (c *consumer) consume(ctx context.Context) error {
	if err := c.load(ctx, schemaLive); err != nil {
		return err
	}
	for {
		if err := c.look(ctx); err != nil {
			return err
		}
		next := time.Now().Add(c.cfg.DiscoverInterval)
		for time.Now().Before(next) {
			records, err := c.poll(ctx, next)
			if err != nil {
				return err
			}
			if err := c.apply(ctx, records); err != nil {
				return err
			}
		}
	}
}

// load reads from the copy in a schema, which is the connection's own, where to go on.
func (c *consumer) load(ctx context.Context, schema string) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var err error
	if c.stored, err = readPositions(ctx, c.conn, schema); err != nil {
		return err
	}
	// The promise that was seen last may have been waiting when consuming stopped.
	var promised *int64
	if err := c.conn.QueryRow(ctx, "SELECT promised FROM freshness").Scan(&promised); err != nil {
		return fmt.Errorf("read freshness: %w", err)
	}
	if promised != nil {
		c.promises.saw(*promised)
	}
	return nil
}

// position is where to read on in a partition, and of which topic; the latter is nil if it is not known.
type position struct {
	next  int64
	topic *kadm.TopicID
}

func readPositions(ctx context.Context, conn *pgx.Conn, schema string) (map[partition]position, error) {
	rows, err := conn.Query(ctx, "SELECT topic, partition, next_offset, topic_id FROM "+schema+".cdc_offset")
	if err != nil {
		return nil, fmt.Errorf("read offsets: %w", err)
	}
	out := map[partition]position{}
	var p partition
	var at position
	_, err = pgx.ForEachRow(rows, []any{&p.topic, &p.id, &at.next, &at.topic}, func() error {
		out[p] = at
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read offsets: %w", err)
	}
	return out, nil
}

// sleep reports false when the context ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
