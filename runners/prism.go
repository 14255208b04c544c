// Package runners hands built pipelines to Beam's runners, through the Job API.
package runners

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/apache/beam/sdks/v2/go/container/tools"
	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/graphx"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/util/hooks"
	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/runners/prism"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/runners/universal/extworker"
)

const (
	environment = "beam:env:external:v1"
	stopTimeout = 20 * time.Second
	pollState   = 20 * time.Millisecond
)

// ErrCancelled is returned by Wait for a job that was cancelled. Whoever cancelled it treats it as the job's end.
var ErrCancelled = errors.New("job cancelled")

// Prism is a Prism job server in this process: Beam's runner for one machine. It keeps everything in memory. Its job
// service listens on every interface, on a port that the system chooses, and has no option for another.
type Prism struct{ client jobpb.JobServiceClient }

// StartPrism starts the job server. It runs as long as the process.
func StartPrism(ctx context.Context) (*Prism, error) {
	if !runtime.Initialized() {
		log := slog.Default()
		beam.Init()
		slog.SetDefault(log) // Init puts one of its own in its place
		hooks.SerializeHooksToOptions()
	}
	client, err := prism.CreateJobServer(ctx, prism.Options{})
	if err != nil {
		return nil, fmt.Errorf("start prism: %w", err)
	}
	return &Prism{client}, nil
}

// Job is one run of a pipeline.
type Job struct {
	id      string
	client  jobpb.JobServiceClient
	workers *extworker.Loopback
}

// Submit starts a pipeline. Its DoFns run in this process. Whoever submits a job must end it with Wait or Cancel.
func (p *Prism) Submit(ctx context.Context, name string, pipeline *beam.Pipeline) (*Job, error) {
	edges, _, err := pipeline.Build()
	if err != nil {
		return nil, fmt.Errorf("build pipeline %s: %w", name, err)
	}
	// The workers must outlive ctx: a job whose workers go first fails instead of being cancelled.
	workers, err := extworker.StartLoopback(context.WithoutCancel(ctx), 0)
	if err != nil {
		return nil, fmt.Errorf("start worker pool: %w", err)
	}
	id, err := p.run(ctx, name, edges, workers)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("submit pipeline %s: %w", name, err), workers.Stop(ctx))
	}
	return &Job{id: id, client: p.client, workers: workers}, nil
}

func (p *Prism) run(ctx context.Context, name string, edges []*graph.MultiEdge, workers *extworker.Loopback) (string, error) {
	env, err := graphx.CreateEnvironment(ctx, environment, workers.EnvironmentConfig)
	if err != nil {
		return "", fmt.Errorf("describe environment: %w", err)
	}
	proto, err := graphx.Marshal(edges, &graphx.Options{Environment: env})
	if err != nil {
		return "", fmt.Errorf("encode: %w", err)
	}
	options, err := tools.OptionsToProto(runtime.RawOptionsWrapper{
		Options: beam.PipelineOptions.Export(), AppName: name, Experiments: []string{"beam_fn_api"},
	})
	if err != nil {
		return "", fmt.Errorf("encode options: %w", err)
	}
	prepared, err := p.client.Prepare(ctx, &jobpb.PrepareJobRequest{Pipeline: proto, PipelineOptions: options, JobName: name})
	if err != nil {
		return "", fmt.Errorf("prepare: %w", err)
	}
	run, err := p.client.Run(ctx, &jobpb.RunJobRequest{PreparationId: prepared.GetPreparationId()})
	if err != nil {
		return "", fmt.Errorf("run: %w", err)
	}
	return run.GetJobId(), nil
}

// Wait returns when the job has ended: nil when it is done, ErrCancelled, or why it failed. When ctx ends first, the
// job goes on and the context's error is returned.
func (j *Job) Wait(ctx context.Context) error {
	messages, err := j.client.GetMessageStream(ctx, &jobpb.JobMessagesRequest{JobId: j.id})
	if err != nil {
		return fmt.Errorf("watch job: %w", err)
	}
	var last string // of the messages of the importance of an error
	for {
		m, err := messages.Recv()
		if err != nil && !errors.Is(err, io.EOF) {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("watch job: %w", err)
		}
		if m.GetMessageResponse().GetImportance() >= jobpb.JobMessage_JOB_MESSAGE_ERROR {
			last = m.GetMessageResponse().GetMessageText()
		}
		if err == nil {
			continue
		}
		state, err := j.state(ctx)
		if err != nil {
			return err
		}
		return errors.Join(ended(state, last), j.workers.Stop(ctx))
	}
}

func ended(state jobpb.JobState_Enum, message string) error {
	switch state {
	case jobpb.JobState_DONE, jobpb.JobState_DRAINED:
		return nil
	case jobpb.JobState_CANCELLED:
		return ErrCancelled
	}
	return fmt.Errorf("job %s: %s", strings.ToLower(state.String()), cause(message))
}

// cause is the line of a runner's message that says something to a person: the last, where the SDK puts what the DoFn
// returned, behind many lines of where that was. Of a panic's stack trace there is none, but a first line.
func cause(message string) string {
	message, _, _ = strings.Cut(message, "\nStacktrace")
	message, _, _ = strings.Cut(message, "\ngoroutine ")
	message = strings.TrimSpace(message)
	return strings.TrimSpace(message[strings.LastIndex(message, "\n")+1:])
}

// Cancel ends the job at once and waits until it has ended.
func (j *Job) Cancel(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if _, err := j.client.Cancel(ctx, &jobpb.CancelJobRequest{JobId: j.id}); err != nil {
		return fmt.Errorf("cancel job: %w", err)
	}
	for {
		state, err := j.state(ctx)
		if err != nil {
			return fmt.Errorf("cancel job: %w", err)
		}
		if state != jobpb.JobState_RUNNING && state != jobpb.JobState_CANCELLING {
			return j.workers.Stop(ctx)
		}
		time.Sleep(pollState)
	}
}

func (j *Job) state(ctx context.Context) (jobpb.JobState_Enum, error) {
	r, err := j.client.GetState(ctx, &jobpb.GetJobStateRequest{JobId: j.id})
	if err != nil {
		return 0, fmt.Errorf("get job state: %w", err)
	}
	return r.GetState(), nil
}
