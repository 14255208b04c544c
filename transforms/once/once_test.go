package once_test

import (
	"testing"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/testing/passert"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/testing/ptest"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/testing/teststream"

	"darkroom/transforms/kafkaio"
	"darkroom/transforms/once"
)

func TestMain(m *testing.M) {
	register.Function1x2(byKey)
	register.Function1x1(key)
	ptest.Main(m)
}

func byKey(k string) (string, kafkaio.Record) { return k, kafkaio.Record{Key: []byte(k)} }

func key(r kafkaio.Record) string { return string(r.Key) }

const hour = int64(3600_000)

func TestARepeatIsDroppedWithinTheHorizon(t *testing.T) {
	script := teststream.NewConfig()
	add := func(at int64, ids ...any) {
		if err := script.AddElements(at, ids...); err != nil {
			t.Fatal(err)
		}
	}
	advance := func(to int64) { script.AdvanceWatermark(to) }
	add(0, "a", "b", "a")
	advance(hour)
	add(hour, "a", "c") // a again, one hour later: still known
	advance(3 * hour)   // past the horizon of the first a
	add(3*hour, "a")    // so it counts as new
	script.AdvanceWatermarkToInfinity()

	p, s := beam.NewPipelineWithRoot()
	ids := teststream.Create(s, script)
	got := beam.ParDo(s, key, once.Records(s, 2*time.Hour, beam.ParDo(s, byKey, ids)))
	passert.Equals(s, got, "a", "b", "c", "a")
	ptest.RunAndValidate(t, p)
}
