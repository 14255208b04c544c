package presum

import (
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"strconv"

	"darkroom/transforms/dofn"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/window"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/cespare/xxhash/v2"
)

func init() {
	dofn.Register4x1(&mergeFn{})
	register.Iter1[[]byte]()
	register.Emitter1[Sums]()
	beam.RegisterType(reflect.TypeFor[Sums]())
}

// Sums are a key's sums in the window that starts at Start, in milliseconds since 1970.
type Sums struct {
	Start  int64
	Key    string
	Values []int64
}

// Batches calls f with the sums of every window in batches: a key is in the batch of the bucket that a hash of it names,
// and the bucket is what the batches are to be shuffled by. With many keys that costs a runner far less than a key at a
// time, since what it handles is bytes. The batch is f's to keep.
func (b *Bundle) Batches(buckets int, f func(at beam.EventTime, bucket string, batch []byte)) {
	for _, g := range b.groups {
		batches := make([][]byte, buckets)
		for i, k := range g.keys {
			n := xxhash.Sum64String(k) % uint64(buckets)
			batches[n] = appendRow(batches[n], k, g.sums[i*b.width:(i+1)*b.width])
		}
		for n, batch := range batches {
			if batch != nil {
				f(g.at, strconv.Itoa(n), batch)
			}
		}
	}
}

// appendRow writes the key's length, the key, and the sums, all integers as varints.
func appendRow(batch []byte, key string, sums []int64) []byte {
	batch = binary.AppendUvarint(batch, uint64(len(key)))
	batch = append(batch, key...)
	for _, v := range sums {
		batch = binary.AppendVarint(batch, v)
	}
	return batch
}

var errCut = errors.New("it is cut short")

// readRow reads what appendRow has written, into sums, and returns the rest.
func readRow(batch []byte, sums []int64) (key, rest []byte, err error) {
	size, n := binary.Uvarint(batch)
	if n <= 0 || size > uint64(len(batch)-n) {
		return nil, nil, errCut
	}
	key, batch = batch[n:n+int(size)], batch[n+int(size):]
	for i := range sums {
		if sums[i], n = binary.Varint(batch); n <= 0 {
			return nil, nil, errCut
		}
		batch = batch[n:]
	}
	return key, batch, nil
}

// Merge adds up the batches of each bucket and window, which must be fixed windows of the bundles' length.
//
//	Merge: PCollection<KV<string, []byte>> -> PCollection<Sums>
func Merge(s beam.Scope, width int, batches beam.PCollection) beam.PCollection {
	s = s.Scope("presum.Merge")
	return beam.ParDo(s, &mergeFn{Width: width}, beam.GroupByKey(s, batches))
}

type mergeFn struct{ Width int }

func (f *mergeFn) ProcessElement(w beam.Window, bucket string, batches func(*[]byte) bool,
	emit func(Sums),
) error {
	all := group{start: w.(window.IntervalWindow).Start.Milliseconds(), index: map[string]int{}}
	row := make([]int64, f.Width)
	for batch := []byte(nil); batches(&batch); {
		for len(batch) > 0 {
			key, rest, err := readRow(batch, row)
			if err != nil {
				return fmt.Errorf("merge bucket %s: read batch: %w", bucket, err)
			}
			sums := all.row(key, f.Width)
			for i, v := range row {
				sums[i] += v
			}
			batch = rest
		}
	}
	for i, k := range all.keys {
		emit(Sums{all.start, k, all.sums[i*f.Width : (i+1)*f.Width]})
	}
	return nil
}
