package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"darkroom/internal/monitor"
	"darkroom/internal/service"
	"darkroom/internal/table"
	"darkroom/pipelines"
	"darkroom/runners"
	"darkroom/transforms/kafkaio"
)

// watchEvery is how often a pipeline that runs is looked at.
const watchEvery = 5 * time.Second

// minHeap is well above what a process holds whose job has just begun, which would else be begun anew for ever.
const minHeap = 256 << 20

// watchFlags say how a pipeline that runs is watched.
type watchFlags struct {
	MaxHeap    uint64        `help:"Live heap, in bytes, at which a streaming job on Prism is begun anew; 0 for never." default:"2147483648"`
	StallAfter time.Duration `help:"How long a streaming pipeline may make no progress before its log and metrics say that it is stalled." default:"1m"`
}

// Validate checks the flags. Without a time, a pipeline would be stalled at every look at which it has not just moved.
func (f watchFlags) Validate() error {
	switch {
	case f.StallAfter <= 0:
		return errors.New("--stall-after: must be positive")
	case f.MaxHeap > 0 && f.MaxHeap < minHeap:
		return fmt.Errorf("--max-heap: must be 0, or at least %d bytes, not \"%d\"", minHeap, f.MaxHeap)
	}
	return nil
}

// watch is the monitor of a pipeline that runs, whose jobs come and go.
type watch struct {
	*monitor.Monitor
	job atomic.Pointer[runners.Job]
}

func (f watchFlags) watch(name string, p pipelines.Streaming, tables table.Store, log *slog.Logger) (*watch, error) {
	w := &watch{}
	src := p.Source()
	var err error
	w.Monitor, err = monitor.New(monitor.Target{
		Pipeline: name, Brokers: src.Brokers, Topic: src.Topic, Group: kafkaio.Group(src.Job), Counters: w.counters,
		CompleteTo: func(ctx context.Context) (time.Time, error) { return pipelines.CompleteTo(ctx, tables, name) },
	}, monitor.Options{Every: watchEvery, StallAfter: f.StallAfter}, log)
	return w, err
}

// counters are those of the job that runs.
func (w *watch) counters(ctx context.Context) ([]monitor.Counter, error) {
	job := w.job.Load()
	if job == nil {
		return nil, nil
	}
	found, err := job.Counters(ctx)
	all := make([]monitor.Counter, len(found))
	for i, c := range found {
		all[i] = monitor.Counter(c)
	}
	return all, err
}

// watched runs a streaming pipeline while it is watched, and serves its metrics if there is an address for them.
func (c *pipelineRunCmd) watched(ctx context.Context, log *slog.Logger, io stdio, name string, p pipelines.Streaming,
	run func(ctx context.Context, started func(*runners.Job)) error,
) error {
	tables, err := p.OpenTables(ctx)
	if err != nil {
		return err
	}
	defer tables.Close()
	w, err := c.watch(name, p, tables, log)
	if err != nil {
		return err
	}
	defer w.Close()
	ctx, stop := context.WithCancel(ctx)
	group, ctx := errgroup.WithContext(ctx)
	if c.MetricsListen != "" {
		listener, err := listen(ctx, "--metrics-listen", c.MetricsListen)
		if err != nil {
			stop()
			return err
		}
		registry := service.NewRegistry()
		registry.MustRegister(w)
		group.Go(func() error { return service.Serve(ctx, listener, service.NewEngine("pipeline", log, registry)) })
		fmt.Fprintf(io.out, "metrics http://%s/metrics\n", listener.Addr())
	}
	group.Go(func() error { return w.Run(ctx) })
	group.Go(func() error {
		defer stop() // with the pipeline ends what watches it
		return run(ctx, w.job.Store)
	})
	return group.Wait()
}
