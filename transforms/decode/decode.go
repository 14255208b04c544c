// Package decode reads events from records.
package decode

import (
	"context"
	"fmt"
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

// Events keys each record of images.events by the id of the event in it, and a replay by that and its number, so that
// it is no repeat of the event but a replay that is sent twice is. A record that holds no event becomes a dead letter of
// the code malformed-event, one whose headers are not those of a replay one of malformed-replay.
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
	code := "malformed-event"
	if err == nil && r.Replay == kafkaio.BadReplay {
		code, err = "malformed-replay", errReplay
	}
	if err == nil {
		emit(key(e, r), r)
		return nil
	}
	m, err := deadletter.Of(r, "decode", event.Permanent, code, err.Error(), 1)
	if err != nil {
		return err
	}
	refused.Inc(ctx, 1)
	kill(m)
	return nil
}

var errReplay = fmt.Errorf("the headers %s and %s are not those of a replay", event.HeaderLetter, event.HeaderReplay)

func key(e event.Event, r kafkaio.Record) string {
	if r.Replay == 0 {
		return e.ID
	}
	return fmt.Sprintf("%s.replay.%d", e.ID, r.Replay)
}
