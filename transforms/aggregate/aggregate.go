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
	register.DoFn3x0[beam.EventTime, table.Image, func(beam.EventTime, string, Sums)](&sumFn{})
	register.Combiner1[Sums](&mergeFn{})
	register.Function3x1(row)
	register.Emitter3[beam.EventTime, string, Sums]()
	beam.RegisterType(reflect.TypeFor[Sums]())
	beam.RegisterType(reflect.TypeFor[table.ImageStats]())
}

// Sums are what is kept for each key and window.
type Sums struct{ Images, Bytes, Pixels, Rejected, Events int64 }

func (s Sums) plus(t Sums) Sums {
	return Sums{s.Images + t.Images, s.Bytes + t.Bytes, s.Pixels + t.Pixels, s.Rejected + t.Rejected, s.Events + t.Events}
}

// Stats counts uploads in windows of one minute of event time, for each tenant as a whole and by format and camera. A
// window is published within a second of a change, on its end, and again for each late image within the lateness.
// Panes accumulate, and a row's version is the window's start plus the events in it, so the fullest pane wins in
// whatever order rows are applied, and a replay cannot move a figure backwards.
//
//	Stats: PCollection<table.Image> -> PCollection<table.ImageStats>
func Stats(s beam.Scope, lateness time.Duration, images beam.PCollection) beam.PCollection {
	s = s.Scope("aggregate.Stats")
	early := trigger.AfterProcessingTime().PlusDelay(Early)
	// Sums of a bundle are made before the shuffle: a runner need not combine there by itself, and Flink does not.
	sums := beam.WindowInto(s, window.NewFixedWindows(Window), beam.ParDo(s, &sumFn{}, images),
		beam.Trigger(trigger.AfterEndOfWindow().EarlyFiring(early).LateFiring(early)),
		beam.PanesAccumulate(), beam.AllowedLateness(lateness))
	return beam.ParDo(s, row, beam.CombinePerKey(s, &mergeFn{}, sums))
}

// sumFn sums the images of a bundle by key and window.
type sumFn struct{ sums map[bucket]*timedSums }

type bucket struct {
	start int64 // of the window, milliseconds
	key   string
}

// timedSums also hold the earliest event time in them, which cannot be later than the watermark allows.
type timedSums struct {
	Sums
	at beam.EventTime
}

func (f *sumFn) StartBundle(func(beam.EventTime, string, Sums)) { f.sums = map[bucket]*timedSums{} }

func (f *sumFn) ProcessElement(at beam.EventTime, i table.Image, _ func(beam.EventTime, string, Sums)) {
	one := Sums{Events: 1}
	switch i.State {
	case table.StateAnalysed:
		one.Images, one.Bytes, one.Pixels = 1, i.Bytes, i.Width*i.Height
		f.add(at, key(i.Tenant, table.DimensionFormat, i.Format), one)
		f.add(at, key(i.Tenant, table.DimensionCamera, i.Camera), one)
	case table.StateRejected:
		one.Rejected = 1
	default:
		return // a deletion takes nothing back from what was uploaded
	}
	f.add(at, key(i.Tenant, table.DimensionAll, ""), one)
}

func (f *sumFn) add(at beam.EventTime, key string, s Sums) {
	ms := at.Milliseconds()
	b := bucket{ms - ms%Window.Milliseconds(), key}
	if old, ok := f.sums[b]; ok {
		old.Sums, old.at = old.plus(s), min(old.at, at)
		return
	}
	f.sums[b] = &timedSums{s, at}
}

func (f *sumFn) FinishBundle(emit func(beam.EventTime, string, Sums)) {
	for b, s := range f.sums {
		emit(s.at, b.key, s.Sums)
	}
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
