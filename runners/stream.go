package runners

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
)

const (
	watchMemory  = 5 * time.Second
	drainTimeout = time.Minute
	firstBackoff = 500 * time.Millisecond
	maxBackoff   = 30 * time.Second
	steady       = time.Minute // a job that ran this long starts again at once
)

// Streaming is a pipeline without end, to be kept running.
type Streaming struct {
	Name string
	// Build makes the pipeline, from the place where it is safe to begin again: what a runner knew of it is lost.
	Build func(context.Context) (*beam.Pipeline, error)
	// Drain, for Prism, makes the job's sources say that they are at their end, but not those of a job that is built later.
	Drain func(context.Context) error
	// MaxHeap, for Prism, is the size of the live heap, in bytes, at which the job is drained and begun anew, since Prism keeps
	// some memory for all that it has ever processed. Zero: never.
	MaxHeap uint64
	// Started, if set, is called each time the job has been submitted.
	Started func(*Job)
}

// Stream keeps a pipeline running until ctx ends, and then cancels it. A job that fails is begun again, after a pause
// that grows while it keeps failing.
func (p *Prism) Stream(ctx context.Context, s Streaming, log *slog.Logger) error {
	log = log.With("pipeline", s.Name)
	return keep(ctx, log, func() error { return p.once(ctx, s, log) })
}

// keep runs a job again and again until ctx ends. It is nil that once returns when the job is to begin anew.
func keep(ctx context.Context, log *slog.Logger, once func() error) error {
	for backoff := firstBackoff; ctx.Err() == nil; {
		begun := time.Now()
		err := once()
		switch {
		case ctx.Err() != nil:
			return err
		case err == nil:
			continue // drained
		}
		if time.Since(begun) > steady {
			backoff = firstBackoff
		}
		log.Error("pipeline failed and starts again", "error", err, "after", backoff)
		select {
		case <-ctx.Done():
		case <-time.After(backoff):
		}
		backoff = min(2*backoff, maxBackoff)
	}
	return nil
}

// once runs the job until it fails, must be drained (nil) or ctx ends (nil, unless it could not be cancelled).
func (p *Prism) once(ctx context.Context, s Streaming, log *slog.Logger) error {
	pipeline, err := s.Build(ctx)
	if err != nil {
		return fmt.Errorf("build pipeline: %w", err)
	}
	job, err := p.Submit(ctx, s.Name, pipeline)
	if err != nil {
		return err
	}
	if s.Started != nil {
		s.Started(job)
	}
	ended := make(chan error, 1)
	go func() { ended <- job.Wait(context.WithoutCancel(ctx)) }()
	tick := time.NewTicker(watchMemory)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			if err == nil {
				err = errors.New("a job without end ended")
			}
			return err
		case <-ctx.Done():
			return job.Cancel(ctx)
		case <-tick.C:
			if heap := liveHeap(); s.MaxHeap > 0 && heap > s.MaxHeap {
				log.Info("pipeline is begun anew to free its memory", "heap", heap, "max", s.MaxHeap)
				return drain(ctx, s, job, ended)
			}
		}
	}
}

func drain(ctx context.Context, s Streaming, job *Job, ended <-chan error) error {
	if err := s.Drain(ctx); err != nil {
		return errors.Join(fmt.Errorf("drain: %w", err), job.Cancel(ctx))
	}
	select {
	case err := <-ended:
		debug.FreeOSMemory()
		return err
	case <-ctx.Done():
		return job.Cancel(ctx)
	case <-time.After(drainTimeout):
		return errors.Join(fmt.Errorf("the job did not end within %v of draining", drainTimeout), job.Cancel(ctx))
	}
}

// liveHeap is what the last garbage collection found in use.
func liveHeap() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
