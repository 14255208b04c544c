package statsapi

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// store answers questions from the copy.
type store struct {
	pool *pgxpool.Pool
	// timeout bounds a query with the wait for a connection. The server's own, which is shorter, says better what was
	// wrong, but needs a server that is there.
	timeout time.Duration
}

// query returns the rows of a query. A connection that the server has cut since it was used last says nothing of the
// server, so the query is tried once more on a new one.
func query[T any](ctx context.Context, s *store, scan pgx.RowToFunc[T], sql string, args ...any) ([]T, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	out, err := queryOnce(ctx, s, scan, sql, args...)
	var pg *pgconn.PgError
	cut := err != nil && (!errors.As(err, &pg) || pg.Code == "57P01" || pg.Code == "40P01")
	if cut && ctx.Err() == nil {
		s.pool.Reset()
		out, err = queryOnce(ctx, s, scan, sql, args...)
	}
	return out, err
}

func queryOnce[T any](ctx context.Context, s *store, scan pgx.RowToFunc[T], sql string, args ...any) ([]T, error) {
	rows, err := s.pool.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("query: %w", err)
	}
	out, err := pgx.CollectRows(rows, scan)
	if err != nil {
		return nil, fmt.Errorf("query: %w", err)
	}
	return out, nil
}

// where builds the conditions of a query.
type where struct {
	conditions []string
	args       []any
}

// add appends a condition, whose %d become the numbers of the arguments.
func (w *where) add(condition string, args ...any) {
	numbers := make([]any, len(args))
	for i, a := range args {
		w.args = append(w.args, a)
		numbers[i] = len(w.args)
	}
	w.conditions = append(w.conditions, fmt.Sprintf(condition, numbers...))
}

func (w *where) sql() string {
	if len(w.conditions) == 0 {
		return "true"
	}
	return strings.Join(w.conditions, " AND ")
}

// toBigint makes a JSON integer of a numeric sum; one that does not fit stays at the greatest that does.
func toBigint(sum string) string {
	return "greatest(least(coalesce(" + sum + ", 0), 9223372036854775807), -9223372036854775808)::bigint"
}

func microTime(micro int64) time.Time { return time.UnixMicro(micro).UTC() }

func optionalTime(micro *int64) *time.Time {
	if micro == nil {
		return nil
	}
	t := microTime(*micro)
	return &t
}

// summary returns the figures of a tenant, or of all without one, as they were at one moment.
func (s *store) summary(ctx context.Context, tenant *string) (Summary, error) {
	var w where
	if tenant != nil {
		w.add("tenant = $%d", *tenant)
	}
	sql := "SELECT " + toBigint("sum(images)") + ", " + toBigint("sum(bytes)") + ", " + toBigint("sum(pixels)") + ", " +
		toBigint("sum(rejected)") + ", " + toBigint("sum(same_bytes)") + ", (SELECT as_of FROM freshness)" +
		" FROM totals WHERE " + w.sql()
	rows, err := query(ctx, s, func(row pgx.CollectableRow) (out Summary, err error) {
		var asOf *int64
		err = row.Scan(&out.Images, &out.Bytes, &out.Pixels, &out.Rejected, &out.Duplicates.SameBytes, &asOf)
		out.AsOf = optionalTime(asOf)
		return out, err
	}, sql, w.args...)
	if err != nil {
		return Summary{}, fmt.Errorf("read summary: %w", err)
	}
	return rows[0], nil // an aggregate without groups is one row
}

// asOf is the event time up to which the copy is complete. What is read after it is complete to it as well.
func (s *store) asOf(ctx context.Context) (*time.Time, error) {
	rows, err := query(ctx, s, pgx.RowTo[*int64], "SELECT as_of FROM freshness")
	if err != nil {
		return nil, fmt.Errorf("read as_of: %w", err)
	}
	return optionalTime(rows[0]), nil
}
