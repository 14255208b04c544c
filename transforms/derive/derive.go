// Package derive makes the derivatives of images that a recipe asks for.
package derive

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/state"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"golang.org/x/sync/errgroup"

	"darkroom/internal/blob"
	"darkroom/internal/event"
	"darkroom/internal/pixels"
	"darkroom/internal/pixels/engine"
	"darkroom/internal/pixels/pool"
	"darkroom/internal/recipe"
	"darkroom/internal/table"
	"darkroom/internal/table/open"
	"darkroom/internal/variant"
	"darkroom/transforms/deadletter"
	"darkroom/transforms/dofn"
	"darkroom/transforms/kafkaio"
	"darkroom/transforms/retry"
)

const (
	stage = "derive"
	// Images under way beside those that are being derived: they wait for S3 or the table store.
	waiting = 8
	// sampleSize is how many images a dry run derives in each worker.
	sampleSize = 20

	// lanes bounds the bundles of a job without end: Prism works on eight at a time, and the others need theirs.
	lanes = 4
)

func init() {
	dofn.Register3x0(&selectFn{})
	dofn.Register3x1(&variantsFn{})
	dofn.Register5x1(&laneFn{})
	register.Function1x2(toLane)
	register.Emitter1[table.Image]()
	register.Emitter1[kafkaio.Message]()
	beam.RegisterType(reflect.TypeFor[table.Image]())
	beam.RegisterType(reflect.TypeFor[kafkaio.Message]())
}

// Namespace is that of this package's counters.
const Namespace = "darkroom.derive"

// The names of the counters. Of each image that was selected Images counts one when it is done with.
const (
	Selected   = "selected"    // images
	PassedOver = "passed_over" // images that were selected, until their facts or their deletion were known
	Images     = "images"      // images done with, whatever became of them
	Made       = "made"        // variants
	Current    = "current"     // variants that were there
	Failed     = "failed_"     // images; followed by the code, with an underscore for each hyphen
	BytesIn    = "bytes_in"    // of images that were read
	BytesOut   = "bytes_out"   // of variants that were made

	// Those of a dry run.
	PendingImages   = "pending_images" // images of which a variant is missing
	PendingVariants = "pending_variants"
	SampleImages    = "sample_images" // images that were really derived
	SampleVariants  = "sample_variants"
	SampleBytes     = "sample_bytes"  // of their variants
	SampleMicros    = "sample_micros" // that deriving them took, divided by how many are derived at a time
)

// Options say what is made, where the images and their variants are, and what deriving may take.
type Options struct {
	Recipes []recipe.Recipe // of different names
	// Version is that of the rows: the time of the job's making in microseconds. Zero is for a job without end: then it
	// is the time at which an image is derived, and each image has one dead letter of a recipe, of all such jobs.
	Version  int64
	Blobs    blob.Config
	TableDSN string
	// EventsTopic is where a dead letter, which holds the event of the image's upload, is replayed to.
	EventsTopic string

	MaxBytes  int64 // an image of more bytes is refused
	MaxPixels int64
	engine.Choice
	MaxShare float64 // of the CPUs of each worker's machine: more than 0, at most 1

	// DryRun writes nothing. It counts what is missing, and derives the first images of which something is, as a sample:
	// their ids are hashes, so that an order by id is none of the images' own.
	DryRun bool
}

// Variants makes what the recipes ask for of each image that they select: it decodes an image once for all variants
// which are missing or out of date, puts them into the bucket and then their rows into the table store. So whatever was
// made counts at once, and a job that was interrupted is resumed by another. It does so itself, and not by way of a
// collection of rows, since a runner may keep what a step emits back until all of a job's images are through.
//
// An image of which nothing can be made has rows of the state failed, and a dead letter; the next job tries it again.
// When a store stays away, or no process can be started, the bundle fails and the runner tries it again. Images that
// were rejected or deleted are left out.
//
//	Variants: PCollection<table.Image> -> PCollection<Message>
func Variants(s beam.Scope, o Options, images beam.PCollection) (dead beam.PCollection) {
	s = s.Scope("derive.Variants")
	return beam.ParDo(s, &variantsFn{deriver: deriver{Options: o, Priority: pool.Idle}}, beam.Reshuffle(s, selected(s, o, images)))
}

// Eagerly is Variants as part of a job that has more to do than that: it takes some of what a runner works on side by
// side, and leaves the rest.
//
//	Eagerly: PCollection<table.Image> -> PCollection<Message>
func Eagerly(s beam.Scope, o Options, images beam.PCollection) (dead beam.PCollection) {
	s = s.Scope("derive.Eagerly")
	return beam.ParDo(s, &laneFn{deriver: deriver{Options: o, Priority: pool.Low}, Lane: state.MakeValueState[bool]("lane")},
		beam.ParDo(s, toLane, selected(s, o, images)))
}

// laneFn declares a state, which it never writes, so that no two bundles of a lane are worked on at a time. It is done
// with an image before it takes the next: Beam's harness answers nobody, whatever else runs in the process, from when
// the runner asks how far a bundle is until the end of that bundle's FinishBundle.
type laneFn struct {
	deriver
	Lane state.Value[bool]
}

func (f *laneFn) ProcessElement(ctx context.Context, _ state.Provider, _ string, i table.Image, kill func(kafkaio.Message)) error {
	o, err := f.persistently(ctx, i)
	if err != nil {
		return err
	}
	o.tell(ctx, kill)
	return nil
}

func toLane(i table.Image) (string, table.Image) {
	h := fnv.New32a()
	h.Write([]byte(i.ImageID))
	return fmt.Sprint(h.Sum32() % lanes), i
}

// selected are the images that a recipe at least is for.
func selected(s beam.Scope, o Options, images beam.PCollection) beam.PCollection {
	f := &selectFn{}
	for _, r := range o.Recipes {
		f.Selections = append(f.Selections, r.Select)
	}
	return beam.ParDo(s, f, images)
}

type selectFn struct{ Selections []recipe.Selection }

func (f *selectFn) ProcessElement(ctx context.Context, i table.Image, emit func(table.Image)) {
	if i.State == table.StateRejected || i.State == table.StateDeleted {
		return
	}
	seen := variant.Seen(i)
	if slices.ContainsFunc(f.Selections, func(s recipe.Selection) bool { return s.Selects(seen) }) {
		counter(Selected).Inc(ctx, 1)
		emit(i)
	}
}

func counter(name string) beam.Counter { return beam.NewCounter(Namespace, name) }

// deriver does what is to be done for one image.
type deriver struct {
	Options  Options
	Priority pool.Priority

	blobs   *blob.Store
	tables  table.Store
	lab     variant.LabConfig
	sampled atomic.Int64
}

// outcome is what became of one image.
type outcome struct {
	counts  map[string]int64
	letters []kafkaio.Message
}

// tell counts what became of the image, and emits its letters: that is for the bundle's own goroutine.
func (o outcome) tell(ctx context.Context, kill func(kafkaio.Message)) {
	for name, n := range o.counts {
		counter(name).Inc(ctx, n)
	}
	for _, letter := range o.letters {
		kill(letter)
	}
}

func (f *deriver) Setup(ctx context.Context) (err error) {
	if f.blobs, err = blob.Open(ctx, f.Options.Blobs); err != nil {
		return fmt.Errorf("open blob store: %w", err)
	}
	if f.tables, err = open.Open(ctx, f.Options.TableDSN); err != nil {
		return fmt.Errorf("open table store: %w", err)
	}
	f.lab = variant.LabConfig{Choice: f.Options.Choice, Priority: f.Priority}
	f.lab.Size, f.lab.Duty = variant.Share(f.Options.MaxShare)
	return nil
}

func (f *deriver) Teardown() error { return errors.Join(f.blobs.Close(), f.tables.Close()) }

// variantsFn works on several images at a time; they are done when the bundle is.
type variantsFn struct {
	deriver

	group *errgroup.Group
	ctx   context.Context // of the bundle: it ends when an image fails it

	mu       sync.Mutex
	outcomes []outcome     // of images that nobody has been told of
	news     chan struct{} // has a token when there are some
}

func (f *variantsFn) StartBundle(ctx context.Context, _ func(kafkaio.Message)) {
	f.group, f.ctx = errgroup.WithContext(ctx)
	f.group.SetLimit(f.lab.Size + waiting)
	f.outcomes, f.news = nil, make(chan struct{}, 1)
}

// ProcessElement begins with an image as soon as there is room for it.
func (f *variantsFn) ProcessElement(ctx context.Context, i table.Image, kill func(kafkaio.Message)) error {
	f.group.Go(func() error {
		o, err := f.persistently(f.ctx, i)
		if err != nil {
			return err
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		f.outcomes = append(f.outcomes, o)
		select {
		case f.news <- struct{}{}:
		default:
		}
		return nil
	})
	if f.ctx.Err() != nil {
		return f.group.Wait()
	}
	f.tell(ctx, kill)
	return nil
}

func (f *variantsFn) FinishBundle(ctx context.Context, kill func(kafkaio.Message)) error {
	done := make(chan error, 1)
	go func() { done <- f.group.Wait() }()
	for {
		select {
		case <-f.news:
			f.tell(ctx, kill)
		case err := <-done:
			f.tell(ctx, kill)
			return err
		}
	}
}

// tell tells of the images that are done.
func (f *variantsFn) tell(ctx context.Context, kill func(kafkaio.Message)) {
	f.mu.Lock()
	outcomes := f.outcomes
	f.outcomes = nil
	f.mu.Unlock()
	for _, o := range outcomes {
		o.tell(ctx, kill)
	}
}

// persistently tries again while something is away.
func (f *deriver) persistently(ctx context.Context, i table.Image) (o outcome, err error) {
	err = retry.Do(ctx, "derive image "+i.ImageID, func(attempt int) (err error) {
		o, err = f.one(ctx, i, attempt)
		return err
	})
	return o, err
}

// one does all that is to be done for an image. An error says nothing of the image.
func (f *deriver) one(ctx context.Context, i table.Image, attempt int) (outcome, error) {
	rows, err := variant.Rows(ctx, f.tables, i.ImageID)
	if err != nil {
		return outcome{}, err
	}
	w := work{fn: f, image: i, attempt: attempt, outcome: outcome{counts: map[string]int64{Images: 1}}}
	if w.parts = f.parts(i, rows, w.counts); len(w.parts) == 0 {
		return w.outcome, nil
	}
	deleted, err := f.deleted(ctx, i)
	if err != nil {
		return outcome{}, err
	}
	if deleted {
		w.counts[PassedOver] = 1
		return w.outcome, nil
	}
	if f.Options.DryRun && f.sampled.Add(1) > sampleSize {
		w.pending()
		return w.outcome, nil
	}
	if w.lab, err = variant.Enter(f.lab); err != nil {
		return outcome{}, err
	}
	defer w.lab.Leave()
	return w.outcome, w.run(ctx)
}

// parts are the recipes of which something is missing among the variants of an image. It counts the others' variants.
func (f *deriver) parts(i table.Image, rows []table.Variant, counts map[string]int64) (parts []part) {
	version := f.Options.Version
	if version == 0 {
		version = time.Now().UnixMicro()
	}
	for _, r := range f.Options.Recipes {
		if !r.Select.Selects(variant.Seen(i)) {
			continue
		}
		job := variant.Job{Image: i, Recipe: r, Version: version}
		missing := job.Outdated(rows)
		counts[Current] += int64(len(r.Outputs) - len(missing))
		if len(missing) > 0 {
			parts = append(parts, part{job, missing})
		}
	}
	return parts
}

// deleted reports whether the image was deleted since: whoever reads old events, or takes long, has not heard of it.
func (f *deriver) deleted(ctx context.Context, i table.Image) (bool, error) {
	row, err := table.Images.Get(ctx, f.tables, i)
	if errors.Is(err, table.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("get image %s: %w", i.ImageID, err)
	}
	return row.State == table.StateDeleted && row.Version > i.Version, nil
}

// upload is the record of the image's upload, as far as it can be told from its row.
func (f *deriver) upload(j variant.Job) (kafkaio.Record, error) {
	i := j.Image
	e := event.NewUploaded(event.Image{
		ImageID: i.ImageID, Tenant: i.Tenant, SHA256: i.SHA256, Bytes: i.Bytes, MediaType: i.MediaType, Filename: i.Filename,
		UploadedAt: time.UnixMicro(i.UploadedAt),
	})
	key, value, err := e.Encode()
	r := kafkaio.Record{
		Topic: f.Options.EventsTopic, Partition: -1, Offset: -1, Timestamp: e.Time.UnixMilli(), Key: key, Value: value,
	}
	name := fmt.Sprintf("%s/%s/%s", stage, e.ID, j.Recipe.Name)
	if f.Options.Version == 0 {
		// As analyze makes them: the version of a replay's row is that of the event and the number of the replay.
		if n := i.Version - i.UploadedAt; n > 0 && n <= event.MaxReplays {
			r.Replay = n
		}
	} else {
		// Each job's refusal is a letter of its own, so that one which was replayed does not hide the next.
		name = fmt.Sprintf("%s/%d", name, f.Options.Version)
	}
	r.Letter = event.LetterID(name)
	return r, err
}

// letter is the dead letter of an image that was refused.
func (f *deriver) letter(j variant.Job, refused *pixels.Error, attempt int) (kafkaio.Message, error) {
	record, err := f.upload(j)
	if err != nil {
		return kafkaio.Message{}, err
	}
	return deadletter.Of(record, stage, event.Permanent, refused.Code, refused.Error(), attempt)
}

// FailedCode is the code of which a counter counts the images that failed, if it is such a counter.
func FailedCode(name string) (code string, ok bool) {
	code, ok = strings.CutPrefix(name, Failed)
	return strings.ReplaceAll(code, "_", "-"), ok
}

func failedCounter(code string) string { return Failed + strings.ReplaceAll(code, "-", "_") }
