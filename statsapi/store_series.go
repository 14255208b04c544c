package statsapi

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"darkroom/internal/table"
)

// maxPoints is how many points an answer has at most, in all of its series.
const maxPoints = 10_000

// errTooManyPoints says that the values to distinguish make more points than an answer may have.
var errTooManyPoints = errors.New("too many points")

// seriesQuery asks for sums over steps. from and to are whole steps.
type seriesQuery struct {
	metric   Metric
	from, to time.Time
	step     time.Duration
	by       *Dimension
	tenant   *string
}

func (q seriesQuery) steps() int { return int(q.to.Sub(q.from) / q.step) }

// sum is one value that is not zero.
type sum struct {
	key   string
	step  int
	value int64
}

// series returns every point of every series, ordered by key and time.
func (s *store) series(ctx context.Context, q seriesQuery) ([]OneSeries, error) {
	sql, args := q.sql()
	sums, err := query(ctx, s, func(row pgx.CollectableRow) (out sum, err error) {
		err = row.Scan(&out.key, &out.step, &out.value)
		return out, err
	}, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("read series: %w", err)
	}
	return q.fill(sums)
}

// dimension is that of the rows which make the series: of those by tenant, each tenant's own sums.
func (q seriesQuery) dimension() string {
	switch {
	case q.by == nil, *q.by == DimensionTenant:
		return table.DimensionAll
	case *q.by == DimensionFormat:
		return table.DimensionFormat
	}
	return table.DimensionCamera
}

// key is the column that distinguishes the series.
func (q seriesQuery) key() string {
	switch {
	case q.by == nil:
		return "''"
	case *q.by == DimensionTenant:
		return "tenant"
	}
	return "value"
}

func (q seriesQuery) sql() (sql string, args []any) {
	var w where
	w.add("dimension = $%d", q.dimension())
	w.add("window_start >= $%d", q.from.UnixMicro())
	w.add("window_start < $%d", q.to.UnixMicro())
	w.add("NOT gone")
	if q.tenant != nil {
		w.add("tenant = $%d", *q.tenant)
	}
	metric := map[Metric]string{MetricImages: "images", MetricBytes: "bytes", MetricPixels: "pixels"}[q.metric]
	n := len(w.args)
	w.args = append(w.args, q.from.UnixMicro(), q.step.Microseconds(), maxPoints+1)
	sql = fmt.Sprintf("SELECT %s AS key, ((window_start - $%d) / $%d)::integer AS step, %s AS value FROM image_stats"+
		" WHERE %s GROUP BY 1, 2 ORDER BY 1, 2 LIMIT $%d",
		q.key(), n+1, n+2, toBigint("sum("+metric+")"), w.sql(), n+3)
	return sql, w.args
}

// fill gives every series every step. Without a dimension there is one series, also of nothing.
func (q seriesQuery) fill(sums []sum) ([]OneSeries, error) {
	keys := 0
	for i, v := range sums {
		if i == 0 || v.key != sums[i-1].key {
			keys++
		}
	}
	if max(keys, 1)*q.steps() > maxPoints || len(sums) > maxPoints {
		return nil, fmt.Errorf("%d series of %d steps: %w", keys, q.steps(), errTooManyPoints)
	}
	out := make([]OneSeries, 0, max(keys, 1))
	if q.by == nil {
		out = append(out, OneSeries{Points: q.zeros()})
	}
	for i, v := range sums {
		if q.by != nil && (i == 0 || v.key != sums[i-1].key) {
			out = append(out, OneSeries{Key: &v.key, Points: q.zeros()})
		}
		out[len(out)-1].Points[v.step].Value = v.value
	}
	return out, nil
}

func (q seriesQuery) zeros() []Point {
	points := make([]Point, q.steps())
	for i := range points {
		points[i].Time = q.from.Add(time.Duration(i) * q.step)
	}
	return points
}
