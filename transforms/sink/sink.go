// Package sink ends pipelines.
package sink

import (
	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
)

func init() { register.Function1x0(drop) }

// End consumes what a sink's DoFn emits, which is nothing, in a stage of its own. Without a consumer the DoFn's stage
// has no output, and while such a stage's bundle runs, Prism (2.77.0) spins on a channel that is closed already: it
// costs a core for as long as the sink waits for its store.
//
//	End: PCollection<int64> -> ()
func End(s beam.Scope, nothing beam.PCollection) {
	beam.ParDo0(s, drop, beam.Reshuffle(s, nothing))
}

func drop(int64) {}
