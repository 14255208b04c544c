// Package cassandra is a table.Store in Cassandra 5, through the Apache driver.
//
// Every write is an upsert or a row deletion USING TIMESTAMP its version, so that Cassandra's own rule of the last write
// is the rule of package table, and whatever fails may be asked again. Mutations of one partition go in one unlogged
// batch to a node that holds it. Changes reach Kafka by Debezium, which reads the commit log of each node; the tables
// are made with cdc = true, and nodes need cdc_enabled.
//
// Apply returns when as many replicas as the consistency says have confirmed the write. With commitlog_sync: periodic,
// Cassandra's default, a node confirms before its commit log is on disk, and what it confirmed last is gone when its
// process is killed: a single node needs commitlog_sync: batch or group.
package cassandra

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"sync/atomic"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
	"golang.org/x/sync/errgroup"

	"darkroom/internal/table"
)

const (
	inFlight = 128  // requests that one Apply has under way
	pageRows = 1000 // of at most table.MaxMutation each, and usually much less
)

// Store is a table.Store.
type Store struct {
	config      Config
	session     *gocql.Session
	consistency gocql.Consistency
	speculation gocql.SpeculativeExecutionPolicy
	tables      map[string]*statements
	away        atomic.Bool // the last request was not answered
}

var _ table.Store = (*Store)(nil)

// Open connects to the cluster, and brings the keyspace and its tables to the newest schema. A cluster that does not
// answer is asked again for some seconds. The context bounds the opening only.
func Open(ctx context.Context, c Config) (table.Store, error) {
	s, err := open(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("open Cassandra at %v: %w", c.Hosts, err)
	}
	return s, nil
}

func open(ctx context.Context, c Config) (*Store, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	s := &Store{config: c, tables: map[string]*statements{}}
	for _, t := range table.Tables() {
		s.tables[t.Name] = statementsOf(t)
	}
	err := retry(ctx, func() (err error) {
		s.session, err = c.connect(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := s.prepare(ctx); err != nil {
		s.session.Close()
		return nil, err
	}
	return s, nil
}

// prepare sees what the cluster is like, and migrates the schema.
func (s *Store) prepare(ctx context.Context) error {
	nodes := len(s.session.GetHosts())
	var err error
	if s.consistency, err = s.config.consistency(nodes); err != nil {
		return err
	}
	// With a single node there is no other to ask, and the driver would fail a read that it has nobody to send to.
	s.speculation = &gocql.NonSpeculativeExecution{}
	if nodes > 1 {
		s.speculation = &gocql.SimpleSpeculativeExecution{NumAttempts: 1, TimeoutDelay: speculateAfter}
	}
	if err := s.migrate(ctx, nodes); err != nil {
		return err
	}
	s.warn(ctx, nodes)
	return nil
}

// warn tells the operator of settings that would otherwise show as statistics that never come, or as writes that are
// gone after a crash. A cluster that does not let itself be asked is taken to be right.
func (s *Store) warn(ctx context.Context, nodes int) {
	setting := func(name string) (value string) {
		err := s.session.Query("SELECT value FROM system_views.settings WHERE name = ?", name).Consistency(gocql.One).
			ScanContext(ctx, &value)
		if err != nil {
			return ""
		}
		return value
	}
	if setting("cdc_enabled") == "false" {
		s.config.Logger.Warn("Cassandra keeps no changes for Debezium: set cdc_enabled: true in cassandra.yaml")
	}
	if nodes == 1 && setting("commitlog_sync") == "periodic" {
		s.config.Logger.Warn("the only Cassandra node confirms writes before they are on disk, and loses the last ones " +
			"when it is killed: set commitlog_sync: batch, or group, in cassandra.yaml")
	}
}

// Apply implements table.Store. When one mutation does not fit its table, none is applied.
func (s *Store) Apply(ctx context.Context, muts []table.Mutation) error {
	for i, m := range muts {
		err := m.Check()
		if err == nil && s.tables[m.Table].noSuchPartition(m.Row) {
			err = fmt.Errorf("table %s: %w: Cassandra takes no empty partition key", m.Table, table.ErrInvalid)
		}
		if err != nil {
			return fmt.Errorf("apply mutation %d of %d: %w", i+1, len(muts), err)
		}
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("apply: %w", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(inFlight)
	for _, part := range groups(muts) {
		g.Go(func() error { return s.retry(ctx, func() error { return s.write(ctx, part.muts) }) })
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("apply %d mutations: %w", len(muts), err)
	}
	return nil
}

// write sends mutations of one partition.
func (s *Store) write(ctx context.Context, muts []table.Mutation) error {
	if len(muts) == 1 {
		cql, args := s.statement(muts[0])
		return s.query(cql, args).ExecContext(ctx)
	}
	b := s.session.Batch(gocql.UnloggedBatch).SetKeyspace(s.config.Keyspace).Consistency(s.consistency).
		DefaultTimestamp(false)
	for _, m := range muts {
		cql, args := s.statement(m)
		b.Entries = append(b.Entries, gocql.BatchEntry{Stmt: cql, Args: args, Idempotent: true})
	}
	return b.ExecContext(ctx)
}

func (s *Store) statement(m table.Mutation) (cql string, args []any) {
	t := s.tables[m.Table]
	if m.Delete {
		return t.remove, t.removeArgs(m)
	}
	return t.upsert, t.upsertArgs(m)
}

func (s *Store) query(cql string, args []any) *gocql.Query {
	return s.session.Query(cql, args...).SetKeyspace(s.config.Keyspace).Consistency(s.consistency)
}

// read is a query that another node may answer if one is slow.
func (s *Store) read(cql string, args []any) *gocql.Query {
	return s.query(cql, args).SetSpeculativeExecutionPolicy(s.speculation)
}

// Get implements table.Store.
func (s *Store) Get(ctx context.Context, name string, key table.Row) (table.Row, error) {
	t, ok := s.tables[name]
	if !ok {
		return nil, fmt.Errorf("get: table %q: %w: no such table", name, table.ErrInvalid)
	}
	if err := t.table.CheckKey(key); err != nil {
		return nil, fmt.Errorf("get: %w", err)
	}
	if t.noSuchPartition(key) {
		return nil, table.ErrNotFound
	}
	var rows []table.Row
	err := s.retry(ctx, func() (err error) {
		rows, _, err = s.page(ctx, t, s.read(t.get, values(t.table.Key(), key)))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("get row of %s: %w", name, err)
	}
	if len(rows) == 0 {
		return nil, table.ErrNotFound
	}
	return rows[0], nil
}

// Scan implements table.Store. It reads in pages, so that writes which come while it runs may show or not.
func (s *Store) Scan(ctx context.Context, q table.Query) iter.Seq2[table.Row, error] {
	return func(yield func(table.Row, error) bool) {
		if err := q.Check(); err != nil {
			yield(nil, fmt.Errorf("scan: %w", err))
			return
		}
		t := s.tables[q.Table]
		if q.Partition != nil && t.noSuchPartition(q.Partition) {
			return
		}
		cql, args := t.query(q)
		var next []byte
		for first := true; first || len(next) > 0; first = false {
			var rows []table.Row
			from := next
			err := s.retry(ctx, func() (err error) {
				rows, next, err = s.page(ctx, t, s.read(cql, args).PageSize(pageRows).PageState(from))
				return err
			})
			if err != nil {
				yield(nil, fmt.Errorf("scan %s: %w", q.Table, err))
				return
			}
			for _, row := range rows {
				if !yield(row, nil) {
					return
				}
			}
		}
	}
}

// page runs a query of a table's columns and reads one page of its rows. The state of the next page is empty when there
// is none.
func (s *Store) page(ctx context.Context, t *statements, q *gocql.Query) (rows []table.Row, next []byte, err error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	it := q.IterContext(ctx)
	rows = make([]table.Row, 0, it.NumRows())
	cells, dest := newCells(t.columns)
	for it.Scan(dest...) {
		rows = append(rows, rowOf(cells))
	}
	next = it.PageState()
	return rows, next, it.Close()
}

// Ping implements table.Store. It is tried once.
func (s *Store) Ping(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.session.Query("SELECT key FROM system.local").Consistency(gocql.One).ExecContext(ctx); err != nil {
		return fmt.Errorf("ask Cassandra: %w", err)
	}
	return nil
}

// Close implements table.Store. Calls after the first do nothing.
func (s *Store) Close() error {
	s.session.Close()
	return nil
}
