package runners

import (
	"testing"
	"time"

	"darkroom/transforms/dofn"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/timers"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
)

func init() {
	dofn.Register3x0(newOneTimerFn())
	dofn.Register3x0(newTwoTimersFn())
	register.Function1x2(keyed)
}

func keyed([]byte) (string, int) { return "", 0 }

type oneTimerFn struct{ End timers.EventTime }

func newOneTimerFn() *oneTimerFn { return &oneTimerFn{End: timers.InEventTime("end")} }

func (f *oneTimerFn) ProcessElement(p timers.Provider, _ string, _ int) { f.End.Set(p, time.Time{}) }
func (*oneTimerFn) OnTimer(timers.Provider, string, timers.Context)     {}

type twoTimersFn struct {
	End timers.EventTime
	Now timers.ProcessingTime
}

func newTwoTimersFn() *twoTimersFn {
	return &twoTimersFn{End: timers.InEventTime("end"), Now: timers.InProcessingTime("now")}
}

func (f *twoTimersFn) ProcessElement(p timers.Provider, _ string, _ int) { f.End.Set(p, time.Time{}) }
func (*twoTimersFn) OnTimer(timers.Provider, string, timers.Context)     {}

func TestTimersBoundABundle(t *testing.T) {
	one, two := newOneTimerFn(), newTwoTimersFn()
	for _, c := range []struct {
		fns          []any
		wanted, want int64
	}{
		{nil, 10_000, 10_000},
		{[]any{one}, 10_000, 80},
		{[]any{one}, 50, 50},
		{[]any{one, two}, 10_000, 40},
	} {
		p, s := beam.NewPipelineWithRoot()
		values := beam.ParDo(s, keyed, beam.Impulse(s))
		for _, fn := range c.fns {
			beam.ParDo0(s, fn, values)
		}
		if got, err := bundleSize(p, c.wanted); got != c.want || err != nil {
			t.Errorf("%d timers, %d elements wanted: %d, %v; want %d", len(c.fns), c.wanted, got, err, c.want)
		}
	}
}
