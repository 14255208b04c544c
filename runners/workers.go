package runners

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/graphx"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/util/hooks"
	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/runners/universal/extworker"
	"google.golang.org/protobuf/proto"
)

// paramBuild is the parameter of an environment that says which build submitted the job.
const paramBuild = "darkroom-build"

// initialize readies the SDK, once.
var initialize = sync.OnceFunc(func() {
	if runtime.Initialized() {
		return
	}
	log := slog.Default()
	beam.Init()
	slog.SetDefault(log) // Init puts one of its own in its place
	hooks.SerializeHooksToOptions()
})

// submitWithWorkers starts a pipeline whose DoFns run in this process.
func submitWithWorkers(ctx context.Context, client jobpb.JobServiceClient, r request) (*Job, error) {
	// The workers must outlive ctx: a job whose workers go first fails instead of being cancelled.
	workers, err := extworker.StartLoopback(context.WithoutCancel(ctx), 0)
	if err != nil {
		return nil, fmt.Errorf("start workers: %w", err)
	}
	var job *Job
	if r.environment, err = external(ctx, workers.EnvironmentConfig(ctx), nil); err == nil {
		job, err = submit(ctx, client, r, workers.Stop)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("submit pipeline %s: %w", r.name, err), workers.Stop(ctx))
	}
	return job, nil
}

// external is the environment of workers that whoever serves addr starts, by those parameters.
func external(ctx context.Context, addr string, params map[string]string) (*pipepb.Environment, error) {
	env, err := graphx.CreateEnvironment(ctx, graphx.URNEnvExternal, func(context.Context) string { return addr })
	if err != nil {
		return nil, fmt.Errorf("describe environment: %w", err)
	}
	env.Dependencies = nil // nothing is staged
	env.Payload, err = proto.Marshal(&pipepb.ExternalPayload{
		Endpoint: &pipepb.ApiServiceDescriptor{Url: addr},
		Params:   params,
	})
	if err != nil {
		return nil, fmt.Errorf("encode environment: %w", err)
	}
	return env, nil
}
