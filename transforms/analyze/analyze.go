// Package analyze looks at each image: what it is, whether it is whole, and what it says of itself.
package analyze

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"reflect"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"golang.org/x/sync/errgroup"

	"darkroom/internal/blob"
	"darkroom/internal/event"
	"darkroom/internal/pixels"
	"darkroom/internal/table"
	"darkroom/internal/table/open"
	"darkroom/internal/variant"
	"darkroom/transforms/deadletter"
	"darkroom/transforms/dofn"
	"darkroom/transforms/kafkaio"
	"darkroom/transforms/retry"
)

const (
	stage = "analyze"
	// Images looked at side by side: it is the wait for S3 that this hides, not the work.
	sideBySide = 8
	batchSize  = 64
)

func init() {
	dofn.Register5x1(&imagesFn{})
	register.Emitter2[beam.EventTime, table.Image]()
	register.Emitter2[beam.EventTime, kafkaio.Message]()
	beam.RegisterType(reflect.TypeFor[table.Image]())
	beam.RegisterType(reflect.TypeFor[kafkaio.Message]())
}

var (
	analysed = beam.NewCounter("darkroom.analyze", "analysed")
	rejected = beam.NewCounter("darkroom.analyze", "rejected")
	deleted  = beam.NewCounter("darkroom.analyze", "deleted")
	reused   = beam.NewCounter("darkroom.analyze", "reused")
)

// Options say where the images and what is already known of them are, and how large an image may be.
type Options struct {
	Blobs     blob.Config
	TableDSN  string
	MaxPixels int64 // width × height × frames is not looked at beyond this
	// Reuse takes the facts of an image from the table store if they are there for the same bytes, so that a replay
	// need not read every image again.
	Reuse bool
}

// Images turns each event of images.events into a row of the image table: analysed with its facts, rejected with the
// reason, or deleted. A rejected image also becomes a dead letter. When S3 or the table store stays away, the bundle
// fails and the runner tries it again: an outage rejects nothing. A row's version is the event's time, and that of the
// n-th replay n microseconds more: newer than what it replaces, older than what happened to the image next.
//
//	Images: PCollection<Record> -> PCollection<table.Image>, PCollection<Message>
func Images(s beam.Scope, o Options, records beam.PCollection) (images, dead beam.PCollection) {
	s = s.Scope("analyze.Images")
	return beam.ParDo2(s, &imagesFn{Options: o}, records)
}

type imagesFn struct {
	Options Options

	blobs  *blob.Store
	tables table.Store
	batch  []timed
}

type timed struct {
	at     beam.EventTime
	record kafkaio.Record
}

func (f *imagesFn) Setup(ctx context.Context) (err error) {
	if f.blobs, err = blob.Open(ctx, f.Options.Blobs); err != nil {
		return fmt.Errorf("open blob store: %w", err)
	}
	if f.Options.Reuse {
		if f.tables, err = open.Open(ctx, f.Options.TableDSN); err != nil {
			return fmt.Errorf("open table store: %w", err)
		}
	}
	return nil
}

func (f *imagesFn) StartBundle(func(beam.EventTime, table.Image), func(beam.EventTime, kafkaio.Message)) {
	f.batch = f.batch[:0]
}

func (f *imagesFn) ProcessElement(ctx context.Context, at beam.EventTime, r kafkaio.Record,
	emit func(beam.EventTime, table.Image), kill func(beam.EventTime, kafkaio.Message),
) error {
	f.batch = append(f.batch, timed{at, r})
	if len(f.batch) < batchSize {
		return nil
	}
	return f.flush(ctx, emit, kill)
}

func (f *imagesFn) FinishBundle(ctx context.Context, emit func(beam.EventTime, table.Image),
	kill func(beam.EventTime, kafkaio.Message),
) error {
	return f.flush(ctx, emit, kill)
}

func (f *imagesFn) Teardown() error {
	err := f.blobs.Close()
	if f.tables != nil {
		err = errors.Join(err, f.tables.Close())
	}
	return err
}

// outcome is what became of one record.
type outcome struct {
	row    table.Image
	reused bool // what was known
	letter *kafkaio.Message
}

func (f *imagesFn) flush(ctx context.Context, emit func(beam.EventTime, table.Image),
	kill func(beam.EventTime, kafkaio.Message),
) error {
	outcomes := make([]outcome, len(f.batch))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(sideBySide)
	for i, t := range f.batch {
		group.Go(func() (err error) {
			outcomes[i], err = f.persistently(gctx, t.record)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for i, o := range outcomes {
		o.count(ctx)
		emit(f.batch[i].at, o.row)
		if o.letter != nil {
			kill(f.batch[i].at, *o.letter)
		}
	}
	f.batch = f.batch[:0]
	return nil
}

// count is for the bundle's own goroutine, as all of Beam's metrics.
func (o outcome) count(ctx context.Context) {
	if o.reused {
		reused.Inc(ctx, 1)
	}
	switch o.row.State {
	case table.StateAnalysed:
		analysed.Inc(ctx, 1)
	case table.StateRejected:
		rejected.Inc(ctx, 1)
	case table.StateDeleted:
		deleted.Inc(ctx, 1)
	}
}

// persistently tries again while a store is away.
func (f *imagesFn) persistently(ctx context.Context, r kafkaio.Record) (o outcome, err error) {
	what := fmt.Sprintf("analyze %s/%d@%d", r.Topic, r.Partition, r.Offset)
	err = retry.Do(ctx, what, func(attempt int) (err error) {
		o, err = f.one(ctx, r, attempt)
		return err
	})
	return o, err
}

func (f *imagesFn) one(ctx context.Context, r kafkaio.Record, attempt int) (outcome, error) {
	e, err := event.Decode(r.Value)
	if err != nil {
		return outcome{}, err
	}
	row := variant.Uploaded(e.Image)
	row.Version = e.Version() + r.Replay
	if e.Type == event.TypeDeleted {
		row.State = table.StateDeleted
		return outcome{row: row}, nil
	}
	known, err := f.known(ctx, &row, r.Replay > 0)
	if err != nil {
		return outcome{}, err
	}
	if !known {
		if row.Code, row.Detail, err = f.look(ctx, e.Image, &row); err != nil {
			return outcome{}, err
		}
	}
	if row.Code == "" {
		row.State = table.StateAnalysed
		return outcome{row: row, reused: known}, nil
	}
	// Also when it is known: the row may have been written by a job that died before its letter was.
	row.State = table.StateRejected
	letter, err := deadletter.Of(r, stage, event.Permanent, row.Code, row.Detail, attempt)
	return outcome{row: row, reused: known, letter: &letter}, err
}

// known fills in the facts, or the code and detail, that the table store holds for the same bytes, if it does. A replay
// is there to look again, so all that answers it is the row that it, or a later replay of the same upload, has left.
func (f *imagesFn) known(ctx context.Context, row *table.Image, replay bool) (bool, error) {
	if f.tables == nil {
		return false, nil
	}
	old, err := table.Images.Get(ctx, f.tables, *row)
	if errors.Is(err, table.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("get image %s: %w", row.ImageID, err)
	}
	if old.SHA256 != row.SHA256 || old.Format == "" && old.Code == "" {
		return false, nil
	}
	// A deletion's row is newer than the facts in it.
	if replay && (old.State == table.StateDeleted || old.UploadedAt != row.UploadedAt || old.Version < row.Version) {
		return false, nil
	}
	row.Format, row.Width, row.Height, row.Frames = old.Format, old.Width, old.Height, old.Frames
	row.Orientation, row.Camera, row.TakenAt = old.Orientation, old.Camera, old.TakenAt
	row.Code, row.Detail = old.Code, old.Detail
	return true, nil
}

// look reads the image once: its facts go into the row. The code is empty when all is well; an error is a fault of the
// store and says nothing of the image.
func (f *imagesFn) look(ctx context.Context, i event.Image, row *table.Image) (code, detail string, err error) {
	object, err := f.blobs.Open(ctx, i.BlobKey(), "")
	if errors.Is(err, blob.ErrNotFound) {
		return event.CodeBlobMissing, "the bucket has no object " + i.BlobKey(), nil
	}
	if err != nil {
		return "", "", fmt.Errorf("open blob %s: %w", i.BlobKey(), err)
	}
	defer object.Body.Close()

	hash := sha256.New()
	limits := pixels.DefaultLimits
	limits.MaxPixels = f.Options.MaxPixels
	facts, err := pixels.Probe(io.TeeReader(object.Body, hash), limits)
	if code := pixels.CodeOf(err); code != "" {
		return code, err.Error(), nil
	}
	if err != nil {
		return "", "", fmt.Errorf("read blob %s: %w", i.BlobKey(), err)
	}
	if sum := hex.EncodeToString(hash.Sum(nil)); sum != i.SHA256 {
		return event.CodeChecksum, fmt.Sprintf("the object's SHA-256 is %s, the event's %s", sum, i.SHA256), nil
	}
	row.Format, row.Width, row.Height, row.Frames = string(facts.Format), facts.Width, facts.Height, facts.Frames
	row.Orientation, row.Camera, row.TakenAt = facts.Orientation, facts.Camera, facts.TakenAt
	return "", "", nil
}
