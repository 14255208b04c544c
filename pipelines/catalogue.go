// Package pipelines is the catalogue of Darkroom's pipelines. One file holds one pipeline: its options and its build.
package pipelines

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"

	"darkroom/internal/table"
	"darkroom/transforms/kafkaio"
)

// Pipeline is one entry of the catalogue. Its fields are its options, in the tags of the command line
// (github.com/alecthomas/kong): name, help and default.
type Pipeline interface {
	// Summary is one line that says what the pipeline does.
	Summary() string
	// Validate checks the options; its errors name the flag.
	Validate() error
	// Check returns an error if what the pipeline reads from or writes to is not there.
	Check(ctx context.Context) error
	// Resume makes the next Build start where a restart loses nothing and counts nothing twice.
	Resume(ctx context.Context) error
	// Build constructs the pipeline.
	Build(s beam.Scope)
	// Source is what the pipeline reads.
	Source() kafkaio.Source
	// OpenTables opens the table store that the pipeline writes to.
	OpenTables(ctx context.Context) (table.Store, error)
	// Drain asks the readers of the pipeline's running job to end.
	Drain(ctx context.Context) error
	// Unbounded reports whether the pipeline, with these options, runs without end.
	Unbounded() bool
}

// Catalogue holds every pipeline by name.
type Catalogue struct {
	Live Live `cmd:"" help:"Analyse images as they arrive, find duplicates and keep the statistics."`
}

// All lists the catalogue.
func All() map[string]Pipeline { return map[string]Pipeline{LiveName: &Live{}} }

// CompleteTo is the event time before which all that a pipeline has read is in the tables; zero if that is not known.
func CompleteTo(ctx context.Context, tables table.Store, pipeline string) (time.Time, error) {
	row, err := tables.Get(ctx, table.Progresses.Table().Name, table.Progresses.Key(table.Progress{Pipeline: pipeline}))
	if errors.Is(err, table.ErrNotFound) {
		return time.Time{}, nil
	}
	var progress table.Progress
	if err == nil {
		progress, err = table.Progresses.FromRow(row)
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("get progress: %w", err)
	}
	return time.UnixMicro(progress.CompleteTo), nil
}
