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
	"darkroom/transforms/dofn"
	"darkroom/transforms/kafkaio"
)

func init() {
	dofn.Register4x1(&eventsFn{})
	register.Emitter2[string, kafkaio.Record]()
	register.Emitter1[kafkaio.Message]()
	beam.RegisterType(reflect.TypeFor[kafkaio.Message]())
}

var refused = beam.NewCounter("darkroom.decode", "refused")

// Events keys each record of images.events by the id of the event in it, and a replay by that and its number, so that
// it is no repeat of the event but a replay that is sent twice is. A record that holds no event becomes a dead letter of
// the code malformed-event, one whose headers are not those of a replay one of malformed-replay, and one over
// event.MaxBytes, which is not looked at, one of record-too-large.
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
	id, code, detail := read(r)
	if code == "" {
		emit(id, r)
		return nil
	}
	m, err := deadletter.Of(r, "decode", event.Permanent, code, detail, 1)
	if err != nil {
		return err
	}
	refused.Inc(ctx, 1)
	kill(m)
	return nil
}

// read returns the key of the event in a record, or why there is none.
func read(r kafkaio.Record) (key, code, detail string) {
	if len(r.Value) > event.MaxBytes {
		return "", "record-too-large", fmt.Sprintf("the record has %d bytes, and an event at most %d", len(r.Value), event.MaxBytes)
	}
	e, err := event.Decode(r.Value)
	switch {
	case err != nil:
		return "", "malformed-event", err.Error()
	case r.Replay == kafkaio.BadReplay:
		return "", "malformed-replay", fmt.Sprintf("the headers %s and %s are not those of a replay", event.HeaderLetter, event.HeaderReplay)
	case r.Replay == 0:
		return e.ID, "", ""
	}
	return fmt.Sprintf("%s.replay.%d", e.ID, r.Replay), "", ""
}
