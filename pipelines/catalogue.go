// Package pipelines is the catalogue of Darkroom's pipelines. One file holds one pipeline: its options and its build.
package pipelines

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"

	"darkroom/internal/table"
	"darkroom/runners"
	"darkroom/transforms/kafkaio"
)

// Pipeline is one entry of the catalogue. Its fields are its options, in the tags of the command line
// (github.com/alecthomas/kong): name, help and default.
type Pipeline interface {
	// Summary is one line that says what the pipeline does.
	Summary() string
	// Validate checks the options; its errors name the flag.
	Validate() error
	// Check returns an error if what the pipeline reads from or writes to is not there, or what it needs of this machine
	// if the work is done here.
	Check(ctx context.Context, here bool) error
	// Build constructs the pipeline.
	Build(s beam.Scope)
}

// Streaming is a pipeline that reads a topic, and may do so without end.
type Streaming interface {
	Pipeline
	// Unbounded reports whether the pipeline, with these options, runs without end.
	Unbounded() bool
	// Resume makes the next Build start where a restart loses nothing and counts nothing twice.
	Resume(ctx context.Context) error
	// Source is what the pipeline reads.
	Source() kafkaio.Source
	// OpenTables opens the table store that the pipeline writes to.
	OpenTables(ctx context.Context) (table.Store, error)
	// Drain asks the readers of the pipeline's running job to end.
	Drain(ctx context.Context) error
}

// Batch is a pipeline that works through what there is, and tells what it did.
type Batch interface {
	Pipeline
	// Progress is how much is done, and how much there is to do: zero as long as that is not known.
	Progress(counters []runners.Counter) (done, total int64)
	// Report prints what a job did that took so long. Its error says that not all of it could be done.
	Report(w io.Writer, counters []runners.Counter, took time.Duration) error
}

// IsUnbounded reports whether the pipeline, with its options, runs without end.
func IsUnbounded(p Pipeline) bool {
	s, ok := p.(Streaming)
	return ok && s.Unbounded()
}

// Streams holds the streaming pipelines by name.
type Streams struct {
	Live Live `cmd:"" help:"Analyse images as they arrive, find duplicates and keep the statistics."`
}

// Catalogue holds every pipeline by name.
type Catalogue struct {
	Streams
	Derive Derive `cmd:"" help:"Make the derivatives that a recipe asks for: thumbnails, sizes, other formats."`
}

// CompleteTo is the event time before which all that a pipeline has read is in the tables; zero if that is not known.
func CompleteTo(ctx context.Context, tables table.Store, pipeline string) (time.Time, error) {
	progress, err := table.Progresses.Get(ctx, tables, table.Progress{Pipeline: pipeline})
	if errors.Is(err, table.ErrNotFound) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("get progress: %w", err)
	}
	return time.UnixMicro(progress.CompleteTo), nil
}
