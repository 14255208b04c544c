package pipelines_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/testing/ptest"

	"darkroom/internal/table"
	"darkroom/pipelines"
)

// stream runs the streaming form from where the tables say, as a start does, until it is drained.
func (w *world) stream(t *testing.T) (drain func()) {
	t.Helper()
	l := newLive(t, w.dsn)
	l.Kafka = w.brokers
	if err := l.Validate(); err != nil {
		t.Fatal(err)
	}
	if err := l.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	p, s := beam.NewPipelineWithRoot()
	l.Build(s)
	ended := make(chan error, 1)
	go func() { ended <- ptest.Run(p) }()
	return func() {
		t.Helper()
		time.Sleep(2 * time.Millisecond) // a wish to drain is in milliseconds, and later than the job
		if err := l.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}
}

func (w *world) becomes(t *testing.T, id, state string) {
	t.Helper()
	within(t, func() error {
		row, err := w.tables.Get(t.Context(), "image", table.Row{"image_id": id})
		if err != nil || row["state"] != state {
			return fmt.Errorf("image %s is not %s: %v, %w", id, state, row, err)
		}
		return nil
	})
}

// TestWhatIsPublishedLateWhileThePipelineIsAwayIsDone replays a letter, and publishes an upload, of two days before.
func TestWhatIsPublishedLateWhileThePipelineIsAwayIsDone(t *testing.T) {
	w := newWorld(t)
	before := time.Now().Add(-48 * time.Hour)
	jpeg := append(readFile(t, photos[0]), "late"...)
	lost := put(t, "lost", jpeg, before)
	lose(t, lost)
	drain := w.stream(t)
	w.produce(t, lost)
	w.becomes(t, "lost", table.StateRejected)
	within(t, func() error {
		at, err := pipelines.CompleteTo(t.Context(), w.tables, pipelines.LiveName)
		if err != nil || time.Since(at) > time.Minute {
			return fmt.Errorf("complete to %v, %w", at, err)
		}
		return nil
	})
	drain()
	put(t, "lost", jpeg, before) // the cause is mended
	if keys := w.replay(t); len(keys) != 1 {
		t.Fatalf("%d letters are replayed", len(keys))
	}
	w.produce(t, put(t, "swept", jpeg, before))
	drain = w.stream(t)
	w.becomes(t, "lost", table.StateAnalysed)
	w.becomes(t, "swept", table.StateAnalysed)
	drain()
}
