package runners

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

// urnCounter is the monitoring info of a pipeline's own counters.
const urnCounter = "beam:metric:user:sum_int64:v1"

// Counter is a counter of one step of a job.
type Counter struct {
	Step, Namespace, Name string
	Value                 int64
}

// lastCounters are those of a job that has ended.
type lastCounters struct {
	counters []Counter
	err      error
}

// Counters are the counters of the job's steps up to now; after Wait those of the job.
func (j *Job) Counters(ctx context.Context) ([]Counter, error) {
	if last := j.last.Load(); last != nil {
		return last.counters, last.err
	}
	if j.counters != nil {
		return j.counters(ctx)
	}
	return j.serviceCounters(ctx)
}

func (j *Job) countLast(ctx context.Context) *lastCounters {
	counters, err := j.serviceCounters(ctx)
	return &lastCounters{counters, err}
}

// serviceCounters are the counters that the job service tells.
func (j *Job) serviceCounters(ctx context.Context) ([]Counter, error) {
	answer, err := j.client.GetJobMetrics(ctx, &jobpb.GetJobMetricsRequest{JobId: j.id})
	if err != nil {
		return nil, fmt.Errorf("get job metrics: %w", err)
	}
	attempted, err := j.sum(answer.GetMetrics().GetAttempted())
	if err != nil {
		return nil, err
	}
	sums, err := j.sum(answer.GetMetrics().GetCommitted())
	if err != nil {
		return nil, err
	}
	for c, value := range attempted { // for some runners what is committed is part of it, for Prism it is not
		sums[c] = max(sums[c], value)
	}
	return listCounters(sums), nil
}

// sum adds up the values of each counter.
func (j *Job) sum(infos []*pipepb.MonitoringInfo) (map[Counter]int64, error) {
	sums := map[Counter]int64{}
	for _, info := range infos {
		if info.GetUrn() != urnCounter {
			continue
		}
		labels := info.GetLabels()
		value, n := binary.Uvarint(info.GetPayload())
		if n <= 0 {
			return nil, fmt.Errorf("get job metrics: counter %s has no value", labels["NAME"])
		}
		step := cmp.Or(j.steps[labels["PTRANSFORM"]], labels["PTRANSFORM"])
		sums[Counter{Step: step, Namespace: labels["NAMESPACE"], Name: labels["NAME"]}] += int64(value)
	}
	return sums, nil
}

// listCounters lists sums by their keys, in order.
func listCounters(sums map[Counter]int64) []Counter {
	all := make([]Counter, 0, len(sums))
	for c, value := range sums {
		c.Value = value
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b Counter) int {
		return cmp.Or(cmp.Compare(a.Step, b.Step), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return all
}

// stepNames are the names of a pipeline's transforms by their ids.
func stepNames(p *pipepb.Pipeline) map[string]string {
	names := map[string]string{}
	for id, t := range p.GetComponents().GetTransforms() {
		names[id] = t.GetUniqueName()
	}
	return names
}
