package runners

import (
	"context"
	"fmt"
	"runtime"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/runners/prism"
)

// Prism is a Prism job server in this process: Beam's runner for one machine. It keeps everything in memory. Its job
// service listens on every interface, on a port that the system chooses, and has no option for another.
type Prism struct{ client jobpb.JobServiceClient }

// noSplits has Prism leave bundles whole. Otherwise it halves any bundle that stands still from one tick to the next,
// of 100 ms or more, also one of a DoFn with state, and frees the keys of the second half though the first may hold
// elements of them, too: the halves then run side by side on the state from before, so that a repeat passes.
const noSplits = "prism_disable_sdf_split"

// minThreads is how many threads run Go code at a time beside Prism, at least. Prism (2.77.0) spins from a bundle's last
// output to the bundle's answer. On two threads two such bundles keep the answers, and all else, from running until
// their time slices of 10 ms are over: half a core was lost to it at 20 uploads a second, and a third of freshness.
const minThreads = 4

// StartPrism starts the job server. It runs as long as the process.
func StartPrism(ctx context.Context) (*Prism, error) {
	initialize()
	runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), minThreads))
	client, err := prism.CreateJobServer(ctx, prism.Options{})
	if err != nil {
		return nil, fmt.Errorf("start prism: %w", err)
	}
	return &Prism{client}, nil
}

// Submit starts a pipeline. Its DoFns run in this process. Whoever submits a job must end it with Wait or Cancel.
func (p *Prism) Submit(ctx context.Context, name string, pipeline *beam.Pipeline) (*Job, error) {
	return submitWithWorkers(ctx, p.client, request{
		name: name, pipeline: pipeline, experiments: []string{noSplits},
	})
}
