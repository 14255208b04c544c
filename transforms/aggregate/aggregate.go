// Package aggregate sums up what is known of images over time.
package aggregate

import (
	"reflect"
	"strings"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/window"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/window/trigger"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"

	"darkroom/internal/table"
)

const (
	// Window is the length of a window.
	Window = time.Minute
	// Early is how soon after a change an unfinished or a late window is published.
	Early = time.Second
)

func init() {
	register.Combiner1[Sums](&mergeFn{})
	register.Function3x1(row)
	register.Emitter3[beam.EventTime, string, Sums]()
	beam.RegisterType(reflect.TypeFor[Sums]())
	beam.RegisterType(reflect.TypeFor[table.ImageStats]())
}

// width is the number of sums.
const width = 5

// Sums are what is kept for each key and window.
type Sums struct{ Images, Bytes, Pixels, Rejected, Events int64 }

func (s Sums) plus(t Sums) Sums {
	return Sums{s.Images + t.Images, s.Bytes + t.Bytes, s.Pixels + t.Pixels, s.Rejected + t.Rejected, s.Events + t.Events}
}

func (s Sums) minus(t Sums) Sums {
	return Sums{s.Images - t.Images, s.Bytes - t.Bytes, s.Pixels - t.Pixels, s.Rejected - t.Rejected, s.Events - t.Events}
}

// addTo adds to a row of width sums.
func (s Sums) addTo(row []int64) {
	for i, v := range [width]int64{s.Images, s.Bytes, s.Pixels, s.Rejected, s.Events} {
		row[i] += v
	}
}

func sumsOf(row []int64) Sums { return Sums{row[0], row[1], row[2], row[3], row[4]} }

// Stats counts uploads in windows of one minute of event time, for each tenant as a whole and by format and camera. A
// window is published within a second of a change, on its end, and again for each late image within the lateness.
// Panes accumulate, and a row's version is the window's start plus the events in it, so the fullest pane wins in
// whatever order rows are applied, and a replay cannot move a figure backwards. Of an upload that was refused and whose
// record was replayed the last replay counts, and each is an event. What is older than from, in milliseconds since 1970, is not counted: the
// job began there, so it does not know all of those windows.
//
//	Stats: PCollection<table.Image> -> PCollection<table.ImageStats>
func Stats(s beam.Scope, lateness time.Duration, from int64, images beam.PCollection) beam.PCollection {
	s = s.Scope("aggregate.Stats")
	early := trigger.AfterProcessingTime().PlusDelay(Early)
	sums := beam.WindowInto(s, window.NewFixedWindows(Window), outcomes(s, lateness, from, images),
		beam.Trigger(trigger.AfterEndOfWindow().EarlyFiring(early).LateFiring(early)),
		beam.PanesAccumulate(), beam.AllowedLateness(lateness))
	return beam.ParDo(s, row, beam.CombinePerKey(s, &mergeFn{}, sums))
}

// startOf is the start of the window that a time is in, in milliseconds since 1970.
func startOf(at beam.EventTime) int64 {
	ms := at.Milliseconds()
	return ms - ms%Window.Milliseconds()
}

type mergeFn struct{}

func (*mergeFn) MergeAccumulators(a, b Sums) Sums { return a.plus(b) }

// key joins its parts by a byte that neither tenants nor dimensions can hold; the value comes last.
func key(tenant, dimension, value string) string { return tenant + "\x00" + dimension + "\x00" + value }

func row(w beam.Window, key string, s Sums) table.ImageStats {
	parts := strings.SplitN(key, "\x00", 3)
	start := time.UnixMilli(w.MaxTimestamp().Milliseconds() + 1).Add(-Window).UTC()
	return table.ImageStats{
		Tenant: parts[0], Dimension: parts[1], Day: start.Format(time.DateOnly), WindowStart: start.UnixMicro(), Value: parts[2],
		Images: s.Images, Bytes: s.Bytes, Pixels: s.Pixels, Rejected: s.Rejected, Events: s.Events,
		Version: start.UnixMicro() + s.Events,
	}
}
