package aggregate

import (
	"context"
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/state"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/timers"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"

	"darkroom/internal/table"
	"darkroom/transforms/dofn"
	"darkroom/transforms/presum"
)

func init() {
	dofn.Register4x0(&uploadsFn{})
	dofn.Register6x1(&latestFn{})
	register.Emitter2[string, []byte]()
	register.Emitter2[string, Sums]()
}

// outcomes are what each upload counts for. One that is analysed at its first record counts there and then, which is
// the way of nearly all; only a refused one can be replayed, so its outcomes, and those of replays, are tallied.
//
//	outcomes: PCollection<table.Image> -> PCollection<KV<string, Sums>>
func outcomes(s beam.Scope, lateness time.Duration, from int64, images beam.PCollection) beam.PCollection {
	first, contested := beam.ParDo2(s, &uploadsFn{From: from}, images)
	return beam.Flatten(s, first, beam.ParDo(s, &latestFn{
		// A window more than its lateness, so that what is forgotten cannot come back into a window that still counts.
		KeepMS: (lateness + Window).Milliseconds(),
		Tally:  state.MakeValueState[[]byte]("tally"),
		Forget: timers.InEventTime("forget"),
	}, contested))
}

// outcome is what became of an upload when one record of it was processed.
type outcome struct {
	version                int64 // of the image's row
	sums                   Sums  // but for events
	tenant, format, camera string
}

// keys are those that the outcome counts for.
func (o outcome) keys() []string {
	all := key(o.tenant, table.DimensionAll, "")
	if o.sums.Images == 0 {
		return []string{all}
	}
	return []string{all, key(o.tenant, table.DimensionFormat, o.format), key(o.tenant, table.DimensionCamera, o.camera)}
}

// tally is what is kept of an upload that was refused or replayed. The outcome of the greatest version counts, in the
// place of those before it. What the sums end in depends neither on the order of arrival nor on what the outcomes before
// the last were, which a job that looks again may find to be others.
type tally struct {
	records int64    // that came
	refused bool     // the first record is one of them; else that one was analysed, and counts for itself
	latest  outcome  // of the greatest version
	former  []string // keys that others counted for and the latest does not
}

// add takes in the tally of one record, and emits by how much what the upload counts for changes.
func (t *tally) add(one tally, emit func(string, Sums)) {
	o := one.latest
	if t.records > 0 && o.version == t.latest.version {
		return // a repeat
	}
	before := t.counted()
	if t.records == 0 || o.version > t.latest.version {
		t.latest = o
	}
	t.records++
	t.refused = t.refused || one.refused
	t.former = nil
	for _, k := range slices.Sorted(maps.Keys(before)) {
		if !slices.Contains(t.latest.keys(), k) {
			t.former = append(t.former, k)
		}
	}
	for _, k := range o.keys() {
		if _, known := before[k]; !known && !slices.Contains(t.latest.keys(), k) {
			t.former = append(t.former, k)
		}
	}
	for k, s := range t.counted() {
		emit(k, s.minus(before[k]))
	}
}

// counted is what the upload counts for beside a first record that was analysed. Each key that a record ever counted
// for has as many events as there are records, so that every change makes a pane fuller.
func (t *tally) counted() map[string]Sums {
	all := map[string]Sums{}
	if t.records == 0 {
		return all
	}
	for _, k := range t.former {
		all[k] = Sums{Events: t.records}
	}
	for _, k := range t.latest.keys() {
		all[k] = Sums{Events: t.records}
		if t.refused {
			all[k] = all[k].plus(t.latest.sums)
		}
	}
	return all
}

// encode writes a tally in few bytes: one is kept for each upload.
func (t tally) encode() []byte {
	b := []byte{0}
	if t.refused {
		b[0] = 1
	}
	for _, n := range []int64{
		t.records, t.latest.version, t.latest.sums.Images, t.latest.sums.Bytes, t.latest.sums.Pixels, t.latest.sums.Rejected,
	} {
		b = binary.AppendVarint(b, n)
	}
	for _, s := range append([]string{t.latest.tenant, t.latest.format, t.latest.camera}, t.former...) {
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	return b
}

var errTally = errors.New("decode tally: it is none")

func decodeTally(b []byte) (t tally, err error) {
	if len(b) == 0 || b[0] > 1 {
		return tally{}, errTally
	}
	t.refused, b = b[0] == 1, b[1:]
	for _, to := range []*int64{
		&t.records, &t.latest.version, &t.latest.sums.Images, &t.latest.sums.Bytes, &t.latest.sums.Pixels,
		&t.latest.sums.Rejected,
	} {
		n, size := binary.Varint(b)
		if size <= 0 {
			return tally{}, errTally
		}
		*to, b = n, b[size:]
	}
	var texts []string
	for len(b) > 0 {
		n, size := binary.Uvarint(b)
		if size <= 0 || n > uint64(len(b)-size) {
			return tally{}, errTally
		}
		end := size + int(n)
		texts, b = append(texts, string(b[size:end])), b[end:]
	}
	if len(texts) < 3 {
		return tally{}, errTally
	}
	t.latest.tenant, t.latest.format, t.latest.camera, t.former = texts[0], texts[1], texts[2], texts[3:]
	return t, nil
}

// uploadsFn sums the first records of uploads by bundle, and keys the others by their upload, each as the tally of that
// record alone.
type uploadsFn struct {
	From int64 // milliseconds since 1970

	sums *presum.Bundle
}

func (f *uploadsFn) StartBundle(func(beam.EventTime, string, Sums), func(string, []byte)) {
	f.sums = presum.NewBundle(Window, width)
}

func (f *uploadsFn) ProcessElement(at beam.EventTime, i table.Image, _ func(beam.EventTime, string, Sums),
	contest func(string, []byte),
) {
	if at.Milliseconds() < f.From {
		return
	}
	o := outcome{version: i.Version, tenant: i.Tenant}
	switch i.State {
	case table.StateAnalysed:
		o.sums = Sums{Images: 1, Bytes: i.Bytes, Pixels: i.Width * i.Height}
		o.format, o.camera = i.Format, i.Camera
	case table.StateRejected:
		o.sums = Sums{Rejected: 1}
	default:
		return // a deletion takes nothing back from what was uploaded
	}
	first := i.Version == i.UploadedAt
	if first && i.State == table.StateAnalysed {
		o.sums.Events = 1
		for _, k := range o.keys() {
			o.sums.addTo(f.sums.Row(at, []byte(k)))
		}
		return
	}
	contest(i.ImageID+"/"+strconv.FormatInt(i.UploadedAt, 10), tally{records: 1, refused: first, latest: o}.encode())
}

func (f *uploadsFn) FinishBundle(emit func(beam.EventTime, string, Sums), _ func(string, []byte)) {
	f.sums.Each(func(at beam.EventTime, key string, row []int64) { emit(at, key, sumsOf(row)) })
	f.sums = nil
}

type latestFn struct {
	KeepMS int64 // after the end of the upload's window
	Tally  state.Value[[]byte]
	Forget timers.EventTime
}

func (f *latestFn) ProcessElement(at beam.EventTime, sp state.Provider, tp timers.Provider, _ string, one []byte,
	emit func(string, Sums),
) error {
	came, err := decodeTally(one)
	if err != nil {
		return err
	}
	kept, found, err := f.Tally.Read(sp)
	if err != nil {
		return err
	}
	if !found {
		f.Forget.Set(tp, time.UnixMilli(startOf(at)).Add(Window+time.Duration(f.KeepMS)*time.Millisecond))
		new(tally).add(came, emit)
		return f.Tally.Write(sp, one)
	}
	t, err := decodeTally(kept)
	if err != nil {
		return err
	}
	t.add(came, emit)
	return f.Tally.Write(sp, t.encode())
}

func (f *latestFn) OnTimer(_ context.Context, sp state.Provider, _ timers.Provider, _ string, _ timers.Context,
	_ func(string, Sums),
) error {
	return f.Tally.Clear(sp)
}
