package runners

import (
	"context"
	"errors"
	"fmt"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
)

// ErrStreamingOnSpark is why a pipeline without end is not run on Spark. Run its bounded form there, or it on Flink.
var ErrStreamingOnSpark = errors.New("the Spark runner of Beam translates hardly any transform of a streaming pipeline")

// DefaultSparkServer is where a Spark job server listens beside one of Flink: Beam gives both the same port.
const DefaultSparkServer = "127.0.0.1:8098"

// Spark is a Spark cluster behind Beam's job server.
type Spark struct{ JobServer string }

// Submit starts a pipeline, which must have an end. Without the address of a worker pool its DoFns run in this process.
func (s Spark) Submit(ctx context.Context, name string, pipeline *beam.Pipeline, workers string, option map[string]string) (*Job, error) {
	options := map[string]any{}
	addOptions(options, option)
	job, err := submitTo(ctx, s.JobServer, workers, request{name: name, pipeline: pipeline, options: options})
	if err != nil {
		return nil, fmt.Errorf("run on Spark: %w", err)
	}
	return job, nil
}
