package runners

import (
	"context"
	"fmt"
	"strings"

	"github.com/apache/beam/sdks/v2/go/container/tools"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/harness"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/util/grpcx"
)

// Worker is one worker of a pool: who it is, and where its runner serves it.
type Worker struct {
	ID        string `help:"The worker's id." required:""`
	Control   string `help:"Address from which the runner sends work." required:""`
	Logging   string `help:"Address for the log." required:""`
	Provision string `help:"Address that tells the job's options." required:""`
}

// Run does the work that the runner sends, until that ends the worker.
func (w Worker) Run(ctx context.Context) error {
	initialize()
	ctx = grpcx.WriteWorkerID(ctx, w.ID)
	info, err := tools.ProvisionInfo(ctx, w.Provision)
	if err != nil {
		return fmt.Errorf("ask for the job's options: %w", err)
	}
	var options runtime.RawOptionsWrapper
	if err := tools.ProtoToOptions(info.GetPipelineOptions(), &options); err != nil {
		return fmt.Errorf("read the job's options: %w", err)
	}
	runtime.GlobalOptions.Import(options.Options)
	err = harness.MainWithOptions(ctx, w.Logging, w.Control, harness.Options{
		RunnerCapabilities: info.GetRunnerCapabilities(), StatusEndpoint: info.GetStatusEndpoint().GetUrl(),
	})
	if err == nil || ctx.Err() != nil || strings.Contains(err.Error(), "code = Canceled") {
		return nil //nolint:nilerr // told to end by the pool, or by its runner, which hung up
	}
	return fmt.Errorf("run worker %s: %w", w.ID, err)
}
