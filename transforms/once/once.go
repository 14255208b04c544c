// Package once drops repeats.
package once

import (
	"context"
	"reflect"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/state"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/timers"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"

	"darkroom/transforms/dofn"
	"darkroom/transforms/kafkaio"
)

func init() {
	dofn.Register6x1(&onceFn{})
	register.Emitter1[kafkaio.Record]()
	beam.RegisterType(reflect.TypeFor[kafkaio.Record]())
}

// Records keeps the first of all records of one id and drops the others. Ids are remembered until the watermark has
// passed the record's event time by the horizon; what arrives later than that must be beyond the lateness that windows
// allow, so a horizon of a window more than that means that no repeat is ever counted.
//
//	Records: PCollection<KV<string, Record>> -> PCollection<Record>
func Records(s beam.Scope, horizon time.Duration, byID beam.PCollection) beam.PCollection {
	s = s.Scope("once.Records")
	return beam.ParDo(s, &onceFn{
		HorizonMS: horizon.Milliseconds(),
		Seen:      state.MakeValueState[bool]("seen"),
		Forget:    timers.InEventTime("forget"),
	}, byID)
}

type onceFn struct {
	HorizonMS int64
	Seen      state.Value[bool]
	Forget    timers.EventTime
}

func (f *onceFn) ProcessElement(at beam.EventTime, sp state.Provider, tp timers.Provider, _ string, r kafkaio.Record,
	emit func(kafkaio.Record),
) error {
	_, seen, err := f.Seen.Read(sp)
	if err != nil || seen {
		return err
	}
	if err := f.Seen.Write(sp, true); err != nil {
		return err
	}
	f.Forget.Set(tp, at.ToTime().Add(time.Duration(f.HorizonMS)*time.Millisecond))
	emit(r)
	return nil
}

func (f *onceFn) OnTimer(_ context.Context, sp state.Provider, _ timers.Provider, _ string, _ timers.Context,
	_ func(kafkaio.Record),
) error {
	return f.Seen.Clear(sp)
}
