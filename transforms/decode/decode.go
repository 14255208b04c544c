// Package decode reads events from records.
package decode

import (
	"context"
	"reflect"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"

	"darkroom/internal/event"
	"darkroom/transforms/deadletter"
	"darkroom/transforms/kafkaio"
)

func init() {
	register.DoFn4x1[context.Context, kafkaio.Record, func(string, kafkaio.Record), func(kafkaio.Message), error](&eventsFn{})
	register.Emitter2[string, kafkaio.Record]()
	register.Emitter1[kafkaio.Message]()
	beam.RegisterType(reflect.TypeFor[kafkaio.Message]())
}

var refused = beam.NewCounter("darkroom.decode", "refused")

// Events keys each record of images.events by the id of the event in it. A record that holds no event becomes a dead
// letter of the code malformed-event.
//
//	Events: PCollection<Record> -> PCollection<KV<string, Record>>, PCollection<Message>
func Events(s beam.Scope, records beam.PCollection) (byID, dead beam.PCollection) {
	s = s.Scope("decode.Events")
	return beam.ParDo2(s, &eventsFn{}, records)
}

type eventsFn struct{}

func (*eventsFn) ProcessElement(ctx context.Context, r kafkaio.Record, emit func(string, kafkaio.Record),
	kill func(kafkaio.Message),
) error {
	e, err := event.Decode(r.Value)
	if err == nil {
		emit(e.ID, r)
		return nil
	}
	m, err := deadletter.Of(r, "decode", event.Permanent, "malformed-event", err.Error(), 1)
	if err != nil {
		return err
	}
	refused.Inc(ctx, 1)
	kill(m)
	return nil
}
