package runners

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"github.com/apache/beam/sdks/v2/go/container/tools"
	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/graphx"
	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"
)

const (
	stopTimeout = 20 * time.Second
	pollState   = 20 * time.Millisecond
)

// ErrCancelled is returned by Wait for a job that was cancelled. Whoever cancelled it treats it as the job's end.
var ErrCancelled = errors.New("job cancelled")

// Job is one run of a pipeline.
type Job struct {
	id       string
	client   jobpb.JobServiceClient
	steps    map[string]string                        // names of the transforms by their ids
	stop     func(context.Context) error              // ends what the job needed beside its runner
	cancel   func(context.Context) error              // ends the job; nil: its job service does
	counters func(context.Context) ([]Counter, error) // of the job while it runs; nil: its job service tells them
	last     atomic.Pointer[lastCounters]             // once the job has ended
}

// ID is the job's id as its job service knows it.
func (j *Job) ID() string { return j.id }

// request is a pipeline for a job service.
type request struct {
	name        string
	pipeline    *beam.Pipeline
	environment *pipepb.Environment
	options     map[string]any // pipeline options of the runner, in its own names
	experiments []string       // of the runner, in its own names
}

// submit prepares and runs a pipeline; stop ends what the job needs. Nothing is staged: workers are our own program,
// which is there already.
func submit(ctx context.Context, client jobpb.JobServiceClient, r request, stop func(context.Context) error) (*Job, error) {
	edges, _, err := r.pipeline.Build()
	if err != nil {
		return nil, fmt.Errorf("build: %w", err)
	}
	proto, err := graphx.Marshal(edges, &graphx.Options{Environment: r.environment})
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	options, err := encodeOptions(r)
	if err != nil {
		return nil, err
	}
	prepared, err := client.Prepare(ctx, &jobpb.PrepareJobRequest{Pipeline: proto, PipelineOptions: options, JobName: r.name})
	if err != nil {
		return nil, refused("prepare", err)
	}
	run, err := client.Run(ctx, &jobpb.RunJobRequest{PreparationId: prepared.GetPreparationId()})
	if err != nil {
		return nil, refused("run", err)
	}
	return &Job{id: run.GetJobId(), client: client, steps: stepNames(proto), stop: stop}, nil
}

// refused says why a job server does not take a pipeline. It names the SDK's version, since a job server does not tell its
// own and one of another version may not know what the pipeline is made of.
func refused(step string, err error) error {
	s := status.Convert(err)
	return fmt.Errorf("%s: the job server refuses a pipeline of Beam %s: %s: %s", step, core.SdkVersion, s.Code(), cause(s.Message()))
}

// encodeOptions writes the options as the Job API wants them: under URNs, of which the last part is the option's name.
func encodeOptions(r request) (*structpb.Struct, error) {
	options, err := tools.OptionsToProto(runtime.RawOptionsWrapper{
		Options: beam.PipelineOptions.Export(), AppName: r.name,
		Experiments: append([]string{"beam_fn_api"}, r.experiments...),
	})
	if err != nil {
		return nil, fmt.Errorf("encode options: %w", err)
	}
	options.Fields["beam:option:job_name:v1"] = structpb.NewStringValue(r.name) // the runner makes up one otherwise
	for name, value := range r.options {
		v, err := structpb.NewValue(value)
		if err != nil {
			return nil, fmt.Errorf("encode option %s: %w", name, err)
		}
		options.Fields["beam:option:"+name+":v1"] = v
	}
	return options, nil
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
		j.last.Store(j.countLast(ctx))
		return errors.Join(ended(state, last), j.stop(ctx))
	}
}

func ended(state jobpb.JobState_Enum, message string) error {
	switch state {
	case jobpb.JobState_DONE, jobpb.JobState_DRAINED:
		return nil
	case jobpb.JobState_CANCELLED:
		return ErrCancelled
	}
	if strings.Contains(message, "JobCancellationException") { // so Flink says it of a job that somebody else cancelled
		return ErrCancelled
	}
	return fmt.Errorf("job %s: %s", strings.ToLower(state.String()), cause(message))
}

// cause is the line of a runner's message that says something to a person: the last, where the SDK puts what the DoFn
// returned, behind many lines of where that was. Of a panic's stack trace there is none, but a first line; and of a
// Java exception the lines that name no cause are dropped.
func cause(message string) string {
	message, _, _ = strings.Cut(message, "\nStacktrace")
	message, _, _ = strings.Cut(message, "\ngoroutine ")
	var last string
	for line := range strings.Lines(message) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "at ") && !strings.HasPrefix(line, "... ") {
			last = line
		}
	}
	return strings.TrimPrefix(last, "Caused by: ")
}

// Cancel ends the job at once and waits until it has ended.
func (j *Job) Cancel(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if j.cancel != nil {
		return errors.Join(j.cancel(ctx), j.stop(ctx))
	}
	if _, err := j.client.Cancel(ctx, &jobpb.CancelJobRequest{JobId: j.id}); err != nil {
		return fmt.Errorf("cancel job: %w", err)
	}
	for {
		state, err := j.state(ctx)
		if err != nil {
			return fmt.Errorf("cancel job: %w", err)
		}
		if state != jobpb.JobState_RUNNING && state != jobpb.JobState_CANCELLING {
			return j.stop(ctx)
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
