package kafkaio

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"darkroom/transforms/dofn"
	"darkroom/transforms/sink"
)

func init() {
	dofn.Register3x1(&writeFn{})
	register.Emitter1[int64]()
	beam.RegisterType(reflect.TypeFor[Message]())
}

// Message is a record to be written.
type Message struct{ Key, Value []byte }

// Sink says where to write.
type Sink struct {
	Brokers []string
	Topic   string
}

// Write writes messages to a topic. A bundle ends only when all in-sync replicas have its messages; one that is tried
// again writes them again, so delivery is at least once and messages carry an id by which a repeat is known.
//
//	Write: PCollection<Message> -> ()
func Write(s beam.Scope, to Sink, messages beam.PCollection) {
	s = s.Scope("kafkaio.Write")
	sink.End(s, beam.ParDo(s, &writeFn{Sink: to}, messages))
}

type writeFn struct {
	Sink Sink

	cl      *kgo.Client
	promise *kgo.FirstErrPromise
}

func (f *writeFn) Setup() error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(f.Sink.Brokers...), kgo.DefaultProduceTopic(f.Sink.Topic),
		kgo.RequiredAcks(kgo.AllISRAcks()), kgo.ProducerBatchCompression(kgo.ZstdCompression(), kgo.NoCompression()))
	if err != nil {
		return fmt.Errorf("open kafka client: %w", err)
	}
	f.cl = cl
	return nil
}

func (f *writeFn) StartBundle(func(int64)) { f.promise = kgo.AbortingFirstErrPromise(f.cl) }

func (f *writeFn) ProcessElement(ctx context.Context, m Message, _ func(int64)) error {
	f.cl.Produce(ctx, &kgo.Record{Key: m.Key, Value: m.Value}, explain(f.promise.Promise()))
	return nil
}

// explain says of a message that the topic does not take how large it is.
func explain(promise func(*kgo.Record, error)) func(*kgo.Record, error) {
	return func(r *kgo.Record, err error) {
		if errors.Is(err, kerr.MessageTooLarge) {
			err = fmt.Errorf("a message of %d bytes is over what the topic takes; raise its max.message.bytes: %w",
				len(r.Key)+len(r.Value), err)
		}
		promise(r, err)
	}
}

func (f *writeFn) FinishBundle(func(int64)) error {
	if err := f.promise.Err(); err != nil {
		return fmt.Errorf("write to %s: %w", f.Sink.Topic, err)
	}
	return nil
}

func (f *writeFn) Teardown() { f.cl.Close() }
