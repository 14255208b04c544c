package aggregate

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/state"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/timers"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"

	"darkroom/internal/table"
)

func init() {
	register.DoFn3x0[beam.EventTime, table.Image, func(string, []byte)](&uploadsFn{})
	register.DoFn6x1[beam.EventTime, state.Provider, timers.Provider, string, []byte, func(string, Sums), error](&latestFn{})
	register.Emitter2[string, []byte]()
	register.Emitter2[string, Sums]()
}

// latest counts the outcome of each upload's last replay: the greatest version of its row. An outcome that comes in the
// place of an older one takes back what that counted for. What the sums end in does not depend on the order of arrival,
// nor on what the earlier outcomes were, which a job that looks again may find to be others.
//
//	latest: PCollection<table.Image> -> PCollection<KV<string, Sums>>
func latest(s beam.Scope, lateness time.Duration, from int64, images beam.PCollection) beam.PCollection {
	uploads := beam.ParDo(s, &uploadsFn{From: from}, images)
	return beam.ParDo(s, &latestFn{
		// A window more than its lateness, so that what is forgotten cannot come back into a window that still counts.
		KeepMS: (lateness + Window).Milliseconds(),
		Tally:  state.MakeValueState[[]byte]("tally"),
		Forget: timers.InEventTime("forget"),
	}, uploads)
}

// outcome is what became of an upload when one record of it was processed.
type outcome struct {
	version                int64 // of the image's row
	sums                   Sums  // of one event
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

// tally is what is kept of an upload: how many records of it came, the outcome of the greatest version, and the keys
// that others counted for and that one does not.
type tally struct {
	records int64
	latest  outcome
	former  []string
}

// add takes in an outcome and emits what changes. Each key that the upload ever counted for has as many events as the
// upload has records, so every change makes a pane fuller, and the end is the same in any order.
func (t *tally) add(o outcome, emit func(string, Sums)) {
	if t.records > 0 && o.version == t.latest.version {
		return // a repeat
	}
	t.records++
	newer := t.records == 1 || o.version > t.latest.version
	var counted []string
	if t.records > 1 {
		counted = append(t.latest.keys(), t.former...)
	}
	keys := slices.Clone(counted)
	for _, k := range o.keys() {
		if !slices.Contains(counted, k) {
			keys = append(keys, k)
		}
	}
	for _, k := range keys {
		sums := Sums{Events: 1}
		if !slices.Contains(counted, k) {
			sums.Events = t.records
		}
		if newer && t.records > 1 && slices.Contains(t.latest.keys(), k) {
			sums = sums.plus(t.latest.sums.negative())
		}
		if newer && slices.Contains(o.keys(), k) {
			sums = sums.plus(o.sums)
		}
		emit(k, sums)
	}
	if newer {
		t.latest = o
	}
	t.former = slices.DeleteFunc(keys, func(k string) bool { return slices.Contains(t.latest.keys(), k) })
}

// negative takes back all but the event.
func (s Sums) negative() Sums { return Sums{-s.Images, -s.Bytes, -s.Pixels, -s.Rejected, 0} }

// encode writes a tally in few bytes: one is kept for each upload.
func (t tally) encode() []byte {
	var b []byte
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

// uploadsFn keys what became of each upload by the upload, as the tally of that alone.
type uploadsFn struct {
	From int64 // milliseconds since 1970
}

func (f *uploadsFn) ProcessElement(at beam.EventTime, i table.Image, emit func(string, []byte)) {
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
	emit(i.ImageID+"/"+strconv.FormatInt(i.UploadedAt, 10), tally{records: 1, latest: o}.encode())
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
		new(tally).add(came.latest, emit)
		return f.Tally.Write(sp, one)
	}
	t, err := decodeTally(kept)
	if err != nil {
		return err
	}
	t.add(came.latest, emit)
	return f.Tally.Write(sp, t.encode())
}

func (f *latestFn) OnTimer(_ context.Context, sp state.Provider, _ timers.Provider, _ string, _ timers.Context,
	_ func(string, Sums),
) error {
	return f.Tally.Clear(sp)
}
