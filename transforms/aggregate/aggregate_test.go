package aggregate_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/window"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/testing/passert"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/testing/ptest"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/testing/teststream"

	"darkroom/internal/table"
	"darkroom/transforms/aggregate"
)

func TestMain(m *testing.M) {
	register.Function2x1(image)
	register.Function1x2(keyed)
	register.Function2x1(fullest)
	register.Iter1[table.ImageStats]()
	ptest.Main(m)
}

const base = int64(1_767_268_800_000) // 2026-01-01T12:00:00Z in milliseconds

// image makes an image, uploaded at its event's time, of "state format camera replays".
func image(at beam.EventTime, spec string) table.Image {
	i := table.Image{ImageID: "i", Tenant: "t1", Bytes: 1000, Width: 20, Height: 10, UploadedAt: at.Milliseconds() * 1000}
	var replays int64
	fmt.Sscan(spec, &i.State, &i.Format, &i.Camera, &replays)
	i.Version = i.UploadedAt + replays
	return i
}

// inTheTable shows the panes that win in the table: of each row the one of the greatest version.
func inTheTable(s beam.Scope, stats beam.PCollection) beam.PCollection {
	global := beam.WindowInto(s, window.NewGlobalWindows(), stats)
	return beam.ParDo(s, fullest, beam.GroupByKey(s, beam.ParDo(s, keyed, global)))
}

func keyed(s table.ImageStats) (string, table.ImageStats) {
	return fmt.Sprintf("%s %q %d", s.Dimension, s.Value, s.WindowStart), s
}

func fullest(_ string, panes func(*table.ImageStats) bool) string {
	var best, s table.ImageStats
	for panes(&s) {
		if s.Version > best.Version {
			best = s
		}
	}
	return fmt.Sprintf("%s %s=%q %s +%dm images=%d bytes=%d pixels=%d rejected=%d v=+%d", best.Tenant, best.Dimension,
		best.Value, best.Day, (best.WindowStart/1000-base)/60_000, best.Images, best.Bytes, best.Pixels, best.Rejected,
		best.Version-best.WindowStart)
}

func TestStatsCountByWindowAndDimension(t *testing.T) {
	script := teststream.NewConfig()
	for _, e := range []struct {
		at   int64
		spec string
	}{
		{base + 1000, "analysed jpeg Canon"},
		{base + 59_999, "analysed png -"},
		{base + 2000, "rejected - -"},
		{base + 3000, "deleted jpeg Canon"},
		{base + 60_000, "analysed jpeg Canon"},
	} {
		if err := script.AddElements(e.at, e.spec); err != nil {
			t.Fatal(err)
		}
	}
	script.AdvanceWatermarkToInfinity()
	p, s := beam.NewPipelineWithRoot()
	stats := aggregate.Stats(s, time.Hour, 0, beam.ParDo(s, image, teststream.Create(s, script)))
	passert.Equals(s, inTheTable(s, stats),
		`t1 all="" 2026-01-01 +0m images=2 bytes=2000 pixels=400 rejected=1 v=+3`,
		`t1 format="jpeg" 2026-01-01 +0m images=1 bytes=1000 pixels=200 rejected=0 v=+1`,
		`t1 format="png" 2026-01-01 +0m images=1 bytes=1000 pixels=200 rejected=0 v=+1`,
		`t1 camera="Canon" 2026-01-01 +0m images=1 bytes=1000 pixels=200 rejected=0 v=+1`,
		`t1 camera="-" 2026-01-01 +0m images=1 bytes=1000 pixels=200 rejected=0 v=+1`,
		`t1 all="" 2026-01-01 +1m images=1 bytes=1000 pixels=200 rejected=0 v=+1`,
		`t1 format="jpeg" 2026-01-01 +1m images=1 bytes=1000 pixels=200 rejected=0 v=+1`,
		`t1 camera="Canon" 2026-01-01 +1m images=1 bytes=1000 pixels=200 rejected=0 v=+1`)
	ptest.RunAndValidate(t, p)
}

func TestALateImageStillCounts(t *testing.T) {
	script := teststream.NewConfig()
	add := func(at int64) {
		if err := script.AddElements(at, "analysed jpeg Canon"); err != nil {
			t.Fatal(err)
		}
	}
	add(base + 1000)
	script.AdvanceWatermark(base + 10*60_000) // the window's end has long passed
	add(base + 2000)                          // late, within the lateness
	script.AdvanceProcessingTime(5000)
	script.AdvanceWatermark(base + 3*3600_000)
	add(base + 3000) // later than the lateness: beyond what is counted
	script.AdvanceProcessingTime(5000)
	script.AdvanceWatermarkToInfinity()
	p, s := beam.NewPipelineWithRoot()
	stats := aggregate.Stats(s, time.Hour, 0, beam.ParDo(s, image, teststream.Create(s, script)))
	passert.Equals(s, inTheTable(s, stats),
		`t1 all="" 2026-01-01 +0m images=2 bytes=2000 pixels=400 rejected=0 v=+2`,
		`t1 format="jpeg" 2026-01-01 +0m images=2 bytes=2000 pixels=400 rejected=0 v=+2`,
		`t1 camera="Canon" 2026-01-01 +0m images=2 bytes=2000 pixels=400 rejected=0 v=+2`)
	ptest.RunAndValidate(t, p)
}

func TestAReplayCountsInThePlaceOfWhatItReplays(t *testing.T) {
	script := teststream.NewConfig()
	add := func(at int64, spec string) {
		if err := script.AddElements(at, spec); err != nil {
			t.Fatal(err)
		}
		script.AdvanceProcessingTime(5000) // a pane of its own
	}
	add(base+1000, "rejected - - 0")
	add(base+2000, "analysed png - 0")
	add(base+3000, "analysed jpeg Canon 2") // before what it is a replay of
	script.AdvanceWatermark(base + 60*60_000)
	add(base+1000, "rejected - - 1")
	add(base+1000, "analysed jpeg Canon 2")
	add(base+3000, "rejected - - 0")
	add(base+2000, "rejected - - 1") // of a record that was analysed in the end: it counts for good
	script.AdvanceWatermark(base + 61*60_000)
	add(base+2000, "analysed png - 2") // after the lateness
	script.AdvanceWatermarkToInfinity()
	p, s := beam.NewPipelineWithRoot()
	stats := aggregate.Stats(s, time.Hour, 0, beam.ParDo(s, image, teststream.Create(s, script)))
	passert.Equals(s, inTheTable(s, stats),
		`t1 all="" 2026-01-01 +0m images=3 bytes=3000 pixels=600 rejected=0 v=+7`,
		`t1 format="jpeg" 2026-01-01 +0m images=2 bytes=2000 pixels=400 rejected=0 v=+5`,
		`t1 camera="Canon" 2026-01-01 +0m images=2 bytes=2000 pixels=400 rejected=0 v=+5`,
		`t1 format="png" 2026-01-01 +0m images=1 bytes=1000 pixels=200 rejected=0 v=+1`,
		`t1 camera="-" 2026-01-01 +0m images=1 bytes=1000 pixels=200 rejected=0 v=+1`)
	ptest.RunAndValidate(t, p)
}

func TestWindowsBeforeTheBeginningAreNotCounted(t *testing.T) {
	script := teststream.NewConfig()
	for _, at := range []int64{base - 1, base, base + 1} {
		if err := script.AddElements(at, "rejected - -"); err != nil {
			t.Fatal(err)
		}
	}
	script.AdvanceWatermarkToInfinity()
	p, s := beam.NewPipelineWithRoot()
	stats := aggregate.Stats(s, time.Hour, base, beam.ParDo(s, image, teststream.Create(s, script)))
	passert.Equals(s, inTheTable(s, stats), `t1 all="" 2026-01-01 +0m images=0 bytes=0 pixels=0 rejected=2 v=+2`)
	ptest.RunAndValidate(t, p)
}
