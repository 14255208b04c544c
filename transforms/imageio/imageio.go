// Package imageio reads which images there are: from the table store, the bucket, or events.
//
// All of them leave out what was deleted. What is read from the bucket or from events has the facts of the upload only:
// format, width, height and those of EXIF are empty.
package imageio

import (
	"context"
	"fmt"
	"reflect"
	"strings"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"golang.org/x/sync/errgroup"

	"darkroom/internal/blob"
	"darkroom/internal/event"
	"darkroom/internal/table"
	"darkroom/internal/table/open"
	"darkroom/internal/variant"
	"darkroom/transforms/dofn"
	"darkroom/transforms/kafkaio"
)

const (
	// Records of the bucket that are read side by side, to hide the wait for S3, and how many are read at a time.
	sideBySide = 16
	batchSize  = 256
)

func init() {
	dofn.Register3x1(&tableFn{})
	dofn.Register3x1(&bucketFn{})
	dofn.Register3x0(&eventsFn{})
	register.Function3x0(newest)
	register.Emitter1[table.Image]()
	register.Emitter2[string, table.Image]()
	register.Iter1[table.Image]()
	beam.RegisterType(reflect.TypeFor[table.Image]())
}

var unreadable = beam.NewCounter("darkroom.imageio", "unreadable")

// ReadTable reads the images of the table store that were analysed. Those that were rejected are left out, too.
//
//	ReadTable: () -> PCollection<table.Image>, bounded
func ReadTable(s beam.Scope, dsn string) beam.PCollection {
	s = s.Scope("imageio.ReadTable")
	return beam.ParDo(s, &tableFn{DSN: dsn}, beam.Impulse(s))
}

type tableFn struct{ DSN string }

func (f *tableFn) ProcessElement(ctx context.Context, _ []byte, emit func(table.Image)) error {
	store, err := open.Open(ctx, f.DSN)
	if err != nil {
		return fmt.Errorf("open table store: %w", err)
	}
	defer store.Close()
	for image, err := range table.Images.Scan(ctx, store, table.Query{}) {
		if err != nil {
			return fmt.Errorf("scan images: %w", err)
		}
		if image.State == table.StateAnalysed {
			emit(image)
		}
	}
	return nil
}

// ReadBucket reads the images of the bucket. The originals are filed by the hash of their bytes, which several images
// may share, so that it lists the records which the upload service keeps beside them, one of each image.
//
//	ReadBucket: () -> PCollection<table.Image>, bounded
func ReadBucket(s beam.Scope, c blob.Config) beam.PCollection {
	s = s.Scope("imageio.ReadBucket")
	var prefixes []string
	for _, digit := range "0123456789abcdef" { // an image's id begins with one
		prefixes = append(prefixes, event.RecordPrefix+string(digit))
	}
	return beam.ParDo(s, &bucketFn{Blobs: c}, beam.Reshuffle(s, beam.CreateList(s, prefixes)))
}

type bucketFn struct{ Blobs blob.Config }

func (f *bucketFn) ProcessElement(ctx context.Context, prefix string, emit func(table.Image)) error {
	store, err := blob.Open(ctx, f.Blobs)
	if err != nil {
		return fmt.Errorf("open blob store: %w", err)
	}
	defer store.Close()
	var keys []string
	for info, err := range store.List(ctx, prefix) {
		if err != nil {
			return err
		}
		if keys = append(keys, info.Key); len(keys) == batchSize {
			if err := readRecords(ctx, store, keys, emit); err != nil {
				return err
			}
			keys = keys[:0]
		}
	}
	return readRecords(ctx, store, keys, emit)
}

// readRecords emits the images of records. One that cannot be read is an error: whoever lists too little may take an
// image for done, or for gone.
func readRecords(ctx context.Context, store *blob.Store, keys []string, emit func(table.Image)) error {
	records := make([]event.Record, len(keys))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(sideBySide)
	for i, key := range keys {
		group.Go(func() error {
			data, _, err := store.Get(ctx, key)
			if err != nil {
				return err
			}
			records[i], err = event.DecodeRecord(strings.TrimPrefix(key, event.RecordPrefix), data)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("read records: %w", err)
	}
	for _, r := range records {
		if r.DeletedAt.IsZero() {
			emit(variant.Uploaded(r.Image))
		}
	}
	return nil
}

// OfEvents returns the images that were uploaded and not deleted since, as far as the records tell. A record that is no
// event is passed over and counted as darkroom.imageio unreadable: the live pipeline has made a dead letter of it.
//
//	OfEvents: PCollection<Record> -> PCollection<table.Image>
func OfEvents(s beam.Scope, records beam.PCollection) beam.PCollection {
	s = s.Scope("imageio.OfEvents")
	return beam.ParDo(s, newest, beam.GroupByKey(s, beam.ParDo(s, &eventsFn{}, records)))
}

type eventsFn struct{}

func (*eventsFn) ProcessElement(ctx context.Context, r kafkaio.Record, emit func(string, table.Image)) {
	e, err := event.Decode(r.Value)
	if err != nil {
		unreadable.Inc(ctx, 1)
		return
	}
	image := variant.Uploaded(e.Image)
	image.Version = e.Version()
	if e.Type == event.TypeDeleted {
		image.State = table.StateDeleted
	}
	emit(e.Image.ImageID, image)
}

// newest emits the last of an image's events, unless it is its deletion.
func newest(_ string, events func(*table.Image) bool, emit func(table.Image)) {
	var last, e table.Image
	for events(&e) {
		if e.Version >= last.Version {
			last = e
		}
	}
	if last.State != table.StateDeleted {
		emit(last)
	}
}
