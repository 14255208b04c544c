// Package tableio writes mutations to the table store.
package tableio

import (
	"context"
	"fmt"
	"reflect"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"

	"darkroom/internal/table"
	"darkroom/internal/table/open"
	"darkroom/transforms/dofn"
	"darkroom/transforms/retry"
	"darkroom/transforms/sink"
)

const batchSize = 500

func init() {
	dofn.Register3x1(&writeFn{})
	register.Emitter1[int64]()
	beam.RegisterType(reflect.TypeFor[table.Mutation]())
	beam.RegisterCoder(reflect.TypeFor[table.Mutation](), encodeMutation, decodeMutation)
}

func encodeMutation(m table.Mutation) ([]byte, error) { return m.MarshalBinary() }

func decodeMutation(b []byte) (m table.Mutation, err error) { return m, m.UnmarshalBinary(b) }

// Write applies mutations to the table store at the given data source name. A bundle ends only when the store has all
// of its mutations; one that is tried again applies them again, which changes nothing. The returned collection never
// has an element: its watermark says up to which event time the mutations are in the store.
//
//	Write: PCollection<table.Mutation> -> PCollection<int64>
func Write(s beam.Scope, dsn string, mutations beam.PCollection) beam.PCollection {
	s = s.Scope("tableio.Write")
	written := beam.ParDo(s, &writeFn{DSN: dsn}, mutations)
	sink.End(s, written)
	return written
}

type writeFn struct {
	DSN string

	store table.Store
	batch []table.Mutation
}

func (f *writeFn) Setup(ctx context.Context) error {
	store, err := open.Open(ctx, f.DSN)
	if err != nil {
		return fmt.Errorf("open table store: %w", err)
	}
	f.store = store
	return nil
}

func (f *writeFn) StartBundle(func(int64)) { f.batch = f.batch[:0] }

func (f *writeFn) ProcessElement(ctx context.Context, m table.Mutation, _ func(int64)) error {
	f.batch = append(f.batch, m)
	if len(f.batch) < batchSize {
		return nil
	}
	return f.flush(ctx)
}

func (f *writeFn) FinishBundle(ctx context.Context, _ func(int64)) error { return f.flush(ctx) }

func (f *writeFn) Teardown() error { return f.store.Close() }

// flush applies the batch, again if it must: a store may be away for a moment.
func (f *writeFn) flush(ctx context.Context) error {
	if len(f.batch) == 0 {
		return nil
	}
	err := retry.Do(ctx, fmt.Sprintf("apply %d mutations", len(f.batch)), func(int) error { return f.store.Apply(ctx, f.batch) })
	if err == nil {
		f.batch = f.batch[:0]
	}
	return err
}
