package presum

import (
	"maps"
	"slices"
	"strconv"
	"testing"
	"time"

	"darkroom/transforms/dofn"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/mtime"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/window"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/testing/passert"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/testing/ptest"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) {
	dofn.Register3x0(&batchFn{})
	register.Function1x1(text)
	register.Emitter3[beam.EventTime, string, []byte]()
	ptest.Main(m)
}

const length = 10 * time.Second

// place is a window and a key.
type place struct {
	start int64
	key   string
}

func startOf(at beam.EventTime) int64 {
	return at.ToTime().Truncate(length).UnixMilli()
}

func TestABundleSumsByWindowAndKey(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		width := rapid.IntRange(1, 3).Draw(t, "width")
		buckets := rapid.IntRange(1, 5).Draw(t, "buckets")
		bundle := NewBundle(length, width)
		want := map[place][]int64{}
		earliest := map[int64]beam.EventTime{}
		for range rapid.IntRange(0, 200).Draw(t, "elements") {
			at := mtime.Time(rapid.Int64Range(-30_000, 60_000).Draw(t, "at"))
			key := rapid.SampledFrom([]string{"", "a", "b", "key with \x00 and more"}).Draw(t, "key")
			row, p := bundle.Row(at, []byte(key)), place{startOf(at), key}
			if want[p] == nil {
				want[p] = make([]int64, width)
			}
			for i := range width {
				v := rapid.Int64().Draw(t, "value")
				row[i] += v
				want[p][i] += v
			}
			if first, ok := earliest[p.start]; !ok || at < first {
				earliest[p.start] = at
			}
		}

		equal := func(got map[place][]int64) {
			if !maps.EqualFunc(got, want, slices.Equal) {
				t.Fatalf("got %v, want %v", got, want)
			}
		}
		got := map[place][]int64{}
		bundle.Each(func(at beam.EventTime, key string, sums []int64) {
			if at != earliest[startOf(at)] {
				t.Fatalf("the window's sums are at %v, its earliest element at %v", at, earliest[startOf(at)])
			}
			got[place{startOf(at), key}] = slices.Clone(sums)
		})
		equal(got)

		got, bucketOf := map[place][]int64{}, map[string]string{}
		bundle.Batches(buckets, func(at beam.EventTime, bucket string, batch []byte) {
			if n, err := strconv.Atoi(bucket); err != nil || n < 0 || n >= buckets {
				t.Fatalf("bucket %q of %d", bucket, buckets)
			}
			for row := make([]int64, width); len(batch) > 0; {
				key, rest, err := readRow(batch, row)
				if err != nil {
					t.Fatal(err)
				}
				if b, ok := bucketOf[string(key)]; ok && b != bucket {
					t.Fatalf("key %q is in the buckets %s and %s", key, b, bucket)
				}
				bucketOf[string(key)] = bucket
				got[place{startOf(at), string(key)}] = slices.Clone(row)
				batch = rest
			}
		})
		equal(got)
	})
}

// batchFn makes a batch of every element: its key is its last digit.
type batchFn struct{}

func (*batchFn) ProcessElement(_ beam.EventTime, n int64, emit func(beam.EventTime, string, []byte)) {
	at := mtime.Time(n * 1000)
	bundle := NewBundle(length, 2)
	row := bundle.Row(at, strconv.AppendInt(nil, n%10, 10))
	row[0], row[1] = n, 1
	bundle.Batches(3, emit)
}

func text(s Sums) string {
	return strconv.FormatInt(s.Start/1000, 10) + " " + s.Key + " " + strconv.FormatInt(s.Values[0], 10) + " " + strconv.FormatInt(s.Values[1], 10)
}

func TestMergeAddsUpWhatBundlesHold(t *testing.T) {
	p, s := beam.NewPipelineWithRoot()
	batches := beam.ParDo(s, &batchFn{}, beam.Create(s, int64(1), int64(1), int64(2), int64(11), int64(12), int64(2)))
	sums := Merge(s, 2, beam.WindowInto(s, window.NewFixedWindows(length), batches))
	global := beam.WindowInto(s, window.NewGlobalWindows(), beam.ParDo(s, text, sums))
	passert.Equals(s, global, "0 1 2 2", "0 2 4 2", "10 1 11 1", "10 2 12 1")
	ptest.RunAndValidate(t, p)
}

func FuzzReadRow(f *testing.F) {
	f.Add(appendRow(nil, "key", []int64{1, -2}))
	f.Add([]byte{0xff})
	f.Fuzz(func(t *testing.T, batch []byte) {
		row, again := make([]int64, 2), make([]int64, 2)
		key, rest, err := readRow(batch, row)
		if err != nil {
			return
		}
		if len(rest) >= len(batch) {
			t.Fatal("nothing was read")
		}
		k, _, err := readRow(appendRow(nil, string(key), row), again)
		if err != nil || string(k) != string(key) || !slices.Equal(row, again) {
			t.Fatalf("%q %v became %q %v: %v", key, row, k, again, err)
		}
	})
}
