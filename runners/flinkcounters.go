package runners

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// ourCounter is the id of a Flink metric that is a counter of Darkroom's: subtask, operator, and the counter's namespace
// and name, which Beam joins by a dot, with an underscore for every dot.
var ourCounter = regexp.MustCompile(`^\d+\.(.+)\.(darkroom_[a-z0-9]+)_([a-z0-9_]+)$`)

// Counters are the counters of a job, by Flink's operators. Flink gathers them on demand, so that
// the first answers have none.
func (f FlinkREST) Counters(ctx context.Context, job FlinkJob) ([]Counter, error) {
	var graph struct{ Vertices []struct{ ID string } }
	if err := f.call(ctx, http.MethodGet, "/jobs/"+job.ID, nil, &graph); err != nil {
		return nil, fmt.Errorf("get operators: %w", err)
	}
	sums := map[Counter]int64{}
	for _, v := range graph.Vertices {
		if err := f.sumMetrics(ctx, "/jobs/"+job.ID+"/vertices/"+v.ID+"/metrics", sums); err != nil {
			return nil, fmt.Errorf("get metrics: %w", err)
		}
	}
	return listCounters(sums), nil
}

// sumMetrics adds up the counters of the subtasks of a vertex.
func (f FlinkREST) sumMetrics(ctx context.Context, path string, sums map[Counter]int64) error {
	type metric struct{ ID, Value string }
	var known, values []metric
	if err := f.call(ctx, http.MethodGet, path, nil, &known); err != nil {
		return err
	}
	var ids []string
	for _, m := range known {
		if ourCounter.MatchString(m.ID) {
			ids = append(ids, url.QueryEscape(m.ID))
		}
	}
	if len(ids) == 0 {
		return nil
	}
	if err := f.call(ctx, http.MethodGet, path+"?get="+strings.Join(ids, ","), nil, &values); err != nil {
		return err
	}
	for _, m := range values {
		parts := ourCounter.FindStringSubmatch(m.ID)
		if parts == nil {
			continue
		}
		value, err := strconv.ParseInt(m.Value, 10, 64)
		if err != nil {
			return fmt.Errorf("read metric %s: %w", m.ID, err)
		}
		sums[Counter{Step: parts[1], Namespace: strings.ReplaceAll(parts[2], "_", "."), Name: parts[3]}] += value
	}
	return nil
}
