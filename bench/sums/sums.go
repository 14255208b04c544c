// Package sums is the job that the stream benchmark measures on every engine: how often each key came, and the sum of
// its sizes, in windows of ten seconds of event time. Kafka's records are the events: their keys, their times, and as
// values {"id":1,"size":2} in JSON.
package sums

import (
	"fmt"
	"hash/fnv"
	"reflect"
	"strconv"
	"sync"
	"time"

	"github.com/goccy/go-json"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/window"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"

	"darkroom/transforms/dofn"
	"darkroom/transforms/kafkaio"
	"darkroom/transforms/presum"
)

// Window is the length of the windows.
const Window = 10 * time.Second

// Closer is the key of the records that follow the events in every partition, later than all of their windows, so that
// an engine which goes by event time alone closes them. They are no events.
const Closer = "-"

// width is the number of sums: size and count.
const width = 2

func init() {
	dofn.Register3x1(&sumFn{})
	dofn.Register1x0(&collectFn{})
	register.Emitter3[beam.EventTime, string, []byte]()
	beam.RegisterType(reflect.TypeFor[presum.Sums]())
}

// Event is a record's value.
type Event struct {
	ID   int64 `json:"id"`
	Size int64 `json:"size"`
}

// Job is the pipeline. Its workers must be in the process that called Collect for its name.
type Job struct {
	Name    string
	Brokers []string
	Topic   string
	Buckets int
}

// Build makes the pipeline.
func (j Job) Build(s beam.Scope) {
	records, _ := kafkaio.Read(s, kafkaio.Source{Brokers: j.Brokers, Topic: j.Topic, Job: j.Name, Built: time.Now().UnixMilli()})
	batches := beam.ParDo(s, &sumFn{Name: j.Name, Buckets: j.Buckets}, records)
	batches = beam.WindowInto(s, window.NewFixedWindows(Window), batches)
	beam.ParDo0(s, &collectFn{Name: j.Name}, presum.Merge(s, width, batches))
}

// Table sums events by window and key.
type Table struct{ sums *presum.Bundle }

// NewTable returns an empty table.
func NewTable() Table { return Table{presum.NewBundle(Window, width)} }

// Add decodes an event and counts it.
func (t Table) Add(at beam.EventTime, key, value []byte) error {
	var e Event
	if err := json.Unmarshal(value, &e); err != nil {
		return fmt.Errorf("decode event: %w", err)
	}
	row := t.sums.Row(at, key)
	row[0] += e.Size
	row[1]++
	return nil
}

// Give hands all sums to the results.
func (t Table) Give(r *Results) {
	t.sums.Each(func(at beam.EventTime, key string, sums []int64) {
		ms := at.Milliseconds()
		r.Add(ms-ms%Window.Milliseconds(), key, sums[0], sums[1])
	})
}

type sumFn struct {
	Name    string
	Buckets int

	results *Results
	table   Table
}

func (f *sumFn) Setup() { f.results = resultsOf(f.Name) }

func (f *sumFn) StartBundle(func(beam.EventTime, string, []byte)) { f.table = NewTable() }

func (f *sumFn) ProcessElement(at beam.EventTime, r kafkaio.Record, _ func(beam.EventTime, string, []byte)) error {
	f.results.Begin()
	if err := f.table.Add(at, r.Key, r.Value); err != nil {
		return fmt.Errorf("sum %s/%d@%d: %w", r.Topic, r.Partition, r.Offset, err)
	}
	return nil
}

func (f *sumFn) FinishBundle(emit func(beam.EventTime, string, []byte)) {
	f.table.sums.Batches(f.Buckets, emit)
	f.table = Table{}
}

type collectFn struct {
	Name    string
	results *Results
}

func (f *collectFn) Setup() { f.results = resultsOf(f.Name) }

func (f *collectFn) ProcessElement(s presum.Sums) {
	f.results.Add(s.Start, s.Key, s.Values[0], s.Values[1])
}

// Results are what a run has given.
type Results struct {
	Took time.Duration // from the first record to the last result
	Done chan struct{} // closed when all is there

	total Total
	want  int64
	first func()
	once  sync.Once
	begun time.Time
	mu    sync.Mutex
}

// Total says whether two runs gave the same results.
type Total struct {
	Results  int64  `json:"results"` // pairs of window and key
	Events   int64  `json:"events"`
	Checksum uint64 `json:"checksum,string"` // FNV-1a of each result's line, added up: the order says nothing
}

var runs sync.Map // of *Results by name

// Collect returns the results of the job of a name, which this process runs, over so many events. It calls first at the
// first record.
func Collect(name string, events int64, first func()) *Results {
	r := &Results{want: events, first: first, Done: make(chan struct{})}
	runs.Store(name, r)
	return r
}

func resultsOf(name string) *Results {
	r, ok := runs.Load(name)
	if !ok {
		panic("no results are collected for " + name)
	}
	return r.(*Results)
}

// Begin is called for each record.
func (r *Results) Begin() {
	r.once.Do(func() {
		r.first()
		r.begun = time.Now()
	})
}

// Add takes a result.
func (r *Results) Add(start int64, key string, size, count int64) {
	if key == Closer {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.total.add(start, key, size, count)
	if r.total.Events == r.want {
		r.Took = time.Since(r.begun)
		close(r.Done)
	}
}

// Total is what there is so far.
func (r *Results) Total() Total {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.total
}

func (t *Total) add(start int64, key string, size, count int64) {
	var line [64]byte
	b := strconv.AppendInt(line[:0], start, 10)
	b = append(append(append(b, ' '), key...), ' ')
	b = append(strconv.AppendInt(b, size, 10), ' ')
	b = strconv.AppendInt(b, count, 10)
	h := fnv.New64a()
	_, _ = h.Write(b) // it cannot fail
	t.Results++
	t.Events += count
	t.Checksum += h.Sum64()
}
