package runners_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/state"
)

var (
	passed atomic.Int64
	// together is handed over by two values that are processed at the same time.
	together = make(chan struct{})
)

func twins(_ []byte, emit func(string, int)) {
	emit("key", 1)
	emit("key", 2)
}

func pass(int) { passed.Add(1) }

// firstFn lets the first value of a key pass. It is slow with it: it waits for another that is processed beside it, for
// ten times as long as Prism lets a bundle stand still.
type firstFn struct{ Seen state.Value[bool] }

func (f *firstFn) ProcessElement(sp state.Provider, _ string, n int, emit func(int)) error {
	_, seen, err := f.Seen.Read(sp)
	if err != nil || seen {
		return err
	}
	if err := f.Seen.Write(sp, true); err != nil {
		return err
	}
	emit(n)
	select {
	case together <- struct{}{}:
	case <-together:
	case <-time.After(2 * time.Second):
	}
	return nil
}

func TestValuesOfAKeyAreProcessedOneAfterAnother(t *testing.T) {
	passed.Store(0)
	p, s := beam.NewPipelineWithRoot()
	values := beam.ParDo(s, twins, beam.Impulse(s)) // in one bundle
	beam.ParDo0(s, pass, beam.ParDo(s, &firstFn{Seen: state.MakeValueState[bool]("seen")}, values))
	job, err := prism.Submit(t.Context(), t.Name(), p)
	if err != nil {
		t.Fatal(err)
	}
	if err := job.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := passed.Load(); n != 1 {
		t.Errorf("%d values of the key passed, want the first alone", n)
	}
}
