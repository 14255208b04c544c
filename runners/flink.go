package runners

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
)

// DefaultFlinkServer is where Beam's Flink job server listens unless it is told otherwise.
const DefaultFlinkServer = "127.0.0.1:8099"

// Flink is a Flink cluster behind Beam's job server.
type Flink struct {
	JobServer string
	REST      FlinkREST
}

// ErrRunning is returned for a streaming pipeline of which a job runs already. Cancel or drain that one first.
var ErrRunning = errors.New("it runs already")

// FlinkOptions say how a job runs on Flink. The help names what Beam calls them.
type FlinkOptions struct {
	Parallelism        int               `help:"Parallel instances of each step." default:"1"`
	MaxParallelism     int               `help:"Key groups: the most that the parallelism may ever be raised to." default:"128"`
	CheckpointInterval time.Duration     `help:"Time between checkpoints of a streaming job." default:"10s"`
	CheckpointDir      string            `help:"Where checkpoints go, as a URL that every machine of Flink reaches; Flink's own setting if empty." placeholder:"URL"`
	StateBackend       string            `help:"Where state is kept between checkpoints: rocksdb (incremental checkpoints) or filesystem (the heap)." default:"rocksdb" enum:"rocksdb,filesystem"`
	BundleTime         time.Duration     `help:"Longest that a bundle stays open." default:"200ms"`
	BundleSize         int64             `help:"Most elements of a bundle; at most 80 where a step sets timers." default:"10000"`
	Savepoint          string            `help:"Savepoint or checkpoint to begin from, as a URL." placeholder:"URL"`
	Option             map[string]string `help:"Any other pipeline option of Beam's runner, as snake_case=value; a value may be JSON." placeholder:"K=V" mapsep:"none"`
}

// Validate checks the options; its errors name the flag.
func (o FlinkOptions) Validate() error {
	var errs []error
	check := func(ok bool, flag, want string) {
		if !ok {
			errs = append(errs, fmt.Errorf("--%s: %s", flag, want))
		}
	}
	check(o.Parallelism > 0, "parallelism", "must be positive")
	check(o.MaxParallelism >= o.Parallelism && o.MaxParallelism <= 1<<15, "max-parallelism", "must be from --parallelism to 32768")
	check(o.CheckpointInterval >= 10*time.Millisecond, "checkpoint-interval", "must be 10ms or more")
	check(o.BundleTime >= time.Millisecond, "bundle-time", "must be 1ms or more")
	check(o.BundleSize > 0, "bundle-size", "must be positive")
	check(o.CheckpointDir == "" || strings.Contains(o.CheckpointDir, "://"), "checkpoint-dir", "must be a URL, such as file:///checkpoints or s3://bucket/checkpoints")
	for name := range o.Option {
		_, ours := o.encode(true)[name]
		check(!ours || name == optionFinishBundle, "option", name+" has a flag of its own")
		check(name != optionFinishBundle, "option", name+" is always true: without it a checkpoint loses what a source has not read yet")
	}
	return errors.Join(errs...)
}

// optionFinishBundle: without it, a checkpoint that meets a splittable DoFn in mid-bundle loses the rest of what that
// was to read, and no later restart brings it back.
const optionFinishBundle = "finish_bundle_before_checkpointing"

// encode is the options in Beam's names.
func (o FlinkOptions) encode(streaming bool) map[string]any {
	options := map[string]any{
		"parallelism":     o.Parallelism,
		"max_parallelism": o.MaxParallelism,
		// A bundle is closed by time only in streaming mode.
		"streaming":             streaming,
		"max_bundle_size":       o.BundleSize,
		"max_bundle_time_mills": o.BundleTime.Milliseconds(),
		optionFinishBundle:      true,
	}
	if streaming {
		// The option and not Flink's own setting: with that, Beam believes that checkpointing is off.
		options["checkpointing_interval"] = o.CheckpointInterval.Milliseconds()
		options["externalized_checkpoints_enabled"] = true
		options["retain_externalized_checkpoints_on_cancellation"] = true
		if o.CheckpointDir != "" {
			options["state_backend"] = o.StateBackend
			options["state_backend_storage_path"] = o.CheckpointDir
		}
	}
	if o.Savepoint != "" {
		options["savepoint_path"] = o.Savepoint
	}
	return options
}

// Submit starts a pipeline. Without the address of a worker pool its DoFns run in this process. A streaming pipeline is
// started once: two jobs would do the same work twice, to the same end.
func (f Flink) Submit(ctx context.Context, name string, pipeline *beam.Pipeline, streaming bool, workers string, o FlinkOptions) (*Job, error) {
	before, unlisted := f.REST.Jobs(ctx)
	if streaming {
		if unlisted != nil {
			return nil, unlisted
		}
		if slices.ContainsFunc(before, func(j FlinkJob) bool { return j.Name == name && j.Running() }) {
			return nil, fmt.Errorf("run %s on Flink: %w", name, ErrRunning)
		}
	}
	var err error
	if o.BundleSize, err = bundleSize(pipeline, o.BundleSize); err != nil {
		return nil, fmt.Errorf("run on Flink: %w", err)
	}
	options := o.encode(streaming)
	addOptions(options, o.Option)
	job, err := submitTo(ctx, f.JobServer, workers, request{name: name, pipeline: pipeline, options: options})
	if err != nil {
		return nil, fmt.Errorf("run on Flink: %w", err)
	}
	// Of batches of one name this one alone is ended, and none if that cannot be told.
	find := func(ctx context.Context) (FlinkJob, error) {
		if unlisted != nil {
			return FlinkJob{}, unlisted
		}
		return f.REST.next(ctx, name, before)
	}
	// Beam's job server would forget the job and leave it running.
	job.cancel = func(ctx context.Context) error {
		own, err := find(ctx)
		if errors.Is(err, ErrNoJob) || err == nil && !own.Running() {
			return nil
		}
		if err != nil {
			return err
		}
		return f.REST.cancel(ctx, own)
	}
	// It knows no counters before the job ends.
	job.counters = func(ctx context.Context) ([]Counter, error) {
		own, err := find(ctx)
		if err != nil {
			return nil, err
		}
		return f.REST.Counters(ctx, own)
	}
	return job, nil
}

// addOptions adds options that are given as text. A value is read as JSON if it is that, since the job server takes
// true for a boolean, and not "true".
func addOptions(options map[string]any, more map[string]string) {
	for name, text := range more {
		var value any
		if json.Unmarshal([]byte(text), &value) != nil {
			value = text
		}
		options[name] = value
	}
}

// Stream keeps a pipeline running until ctx ends, and then cancels it. Flink itself repeats what a crash of workers or
// TaskManagers cut short; a job that is lost all the same, as with a JobManager that keeps nothing, is begun anew. A
// job of the name that runs already was left by somebody who was killed, and is cancelled first.
func (f Flink) Stream(ctx context.Context, s Streaming, workers string, o FlinkOptions, log *slog.Logger) error {
	log = log.With("pipeline", s.Name)
	return keep(ctx, log, func() error {
		if err := f.REST.cancelAll(ctx, s.Name); err != nil {
			return err
		}
		pipeline, err := s.Build(ctx)
		if err != nil {
			return fmt.Errorf("build pipeline: %w", err)
		}
		job, err := f.Submit(ctx, s.Name, pipeline, true, workers, o)
		if err != nil {
			return err
		}
		if s.Started != nil {
			s.Started(job)
		}
		if err = job.Wait(ctx); ctx.Err() != nil {
			return job.Cancel(ctx)
		}
		if err == nil {
			err = errors.New("a job without end ended")
		}
		return err
	})
}
