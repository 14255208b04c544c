package analyze

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/mtime"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/metrics"

	"darkroom/internal/event"
	"darkroom/internal/table"
	"darkroom/internal/variant"
	"darkroom/transforms/kafkaio"
)

// knowing is a table store that knows every image, and answers once all ask at the same time.
type knowing struct {
	table.Store
	rows   map[string]table.Row
	asking *sync.WaitGroup
}

func (k knowing) Get(_ context.Context, _ string, key table.Row) (table.Row, error) {
	k.asking.Done()
	k.asking.Wait()
	return k.rows[key["image_id"].(string)], nil
}

// The metrics of a bundle belong to its goroutine: two that count at a time end the whole worker.
func TestManyKnownAtOnce(t *testing.T) {
	store := knowing{rows: map[string]table.Row{}, asking: new(sync.WaitGroup)}
	f := &imagesFn{tables: store}
	f.StartBundle(nil, nil)
	ctx := metrics.SetPTransformID(metrics.SetBundleID(t.Context(), "bundle"), "analyze")
	var emitted []table.Image
	emit := func(_ beam.EventTime, i table.Image) { emitted = append(emitted, i) }
	kill := func(_ beam.EventTime, m kafkaio.Message) { t.Errorf("dead letter %s", m.Value) }
	store.asking.Add(sideBySide)
	for i := range sideBySide {
		e := event.NewUploaded(event.Image{
			ImageID: fmt.Sprintf("%032x", i), Tenant: "t", SHA256: strings.Repeat("ab", 32), Bytes: 1, UploadedAt: time.Now(),
		})
		known := variant.Uploaded(e.Image)
		known.State, known.Format, known.Version = table.StateAnalysed, "jpeg", e.Version()
		store.rows[known.ImageID] = table.Images.Mutation(known).Row
		_, value, err := e.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if err := f.ProcessElement(ctx, mtime.Now(), kafkaio.Record{Value: value}, emit, kill); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.FinishBundle(ctx, emit, kill); err != nil {
		t.Fatal(err)
	}
	if len(emitted) != sideBySide || emitted[0].Format != "jpeg" {
		t.Errorf("rows %v", emitted)
	}
	counted := map[string]int64{}
	for _, c := range metrics.ResultsExtractor(ctx).AllMetrics().Counters() {
		counted[c.Name()] = c.Result()
	}
	if counted["reused"] != sideBySide || counted["analysed"] != sideBySide {
		t.Errorf("counted %v", counted)
	}
}
