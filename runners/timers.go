package runners

import (
	"fmt"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
)

// mostTimers is how many timers a bundle may set on Flink. Beam's Go SDK sends each in a message of its own when the
// bundle ends, and Beam's Flink runner takes up to 100 messages of a bundle before it waits for the bundle's end. What is
// over that stops the connection that all bundles of a worker share, and once its buffers are full, the bundle too, which
// then ends never: the job stands still without an error. The rest of the 100 is for what the bundle sends else.
const mostTimers = 80

// bundleSize is the most elements that a bundle of a pipeline may have on Flink, where each may set each of the timers of
// a DoFn once.
func bundleSize(p *beam.Pipeline, wanted int64) (int64, error) {
	edges, _, err := p.Build()
	if err != nil {
		return 0, fmt.Errorf("build: %w", err)
	}
	for _, e := range edges {
		if e.DoFn == nil {
			continue
		}
		timers, _ := e.DoFn.PipelineTimers()
		families := 0
		for _, t := range timers {
			families += len(t.Timers())
		}
		if families > 0 {
			wanted = min(wanted, max(1, int64(mostTimers/families)))
		}
	}
	return wanted, nil
}
