package pipelines

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"

	"darkroom/internal/blob"
	"darkroom/internal/recipe"
	"darkroom/internal/table/open"
	"darkroom/runners"
	"darkroom/transforms/derive"
	"darkroom/transforms/imageio"
	"darkroom/transforms/kafkaio"
)

// DeriveName names the pipeline and its jobs.
const DeriveName = "derive"

// The sources of Derive.
const (
	fromTable  = "table"
	fromKafka  = "kafka"
	fromBucket = "bucket"
)

// Derive makes what a recipe asks for of the images that are there. What is there and current it leaves as it is.
type Derive struct {
	Recipe string    `help:"Recipe: a YAML file that says which images, and what is made of each." placeholder:"FILE"`
	Source string    `help:"Where the images are looked up: table (those that were analysed), kafka (the events) or bucket (the records of the upload service)." default:"table" enum:"table,kafka,bucket"`
	From   time.Time `help:"Only images uploaded at this time or later." placeholder:"TIME"`
	To     time.Time `help:"Only images uploaded before this time." placeholder:"TIME"`
	DryRun bool      `help:"Write nothing: count what would be made, and estimate bytes and time from a sample."`
	Deriving
	Ends
	MaxBytes  int64 `help:"Refuse images of more bytes." default:"67108864"`
	MaxPixels int64 `help:"Refuse images of more pixels." default:"100000000"`

	recipe recipe.Recipe
}

// Summary implements Pipeline.
func (d *Derive) Summary() string {
	return "table, kafka or bucket -> derive -> bucket and table; what is current is skipped"
}

// Validate implements Pipeline. It reads the recipe.
func (d *Derive) Validate() error {
	var wrong flagErrors
	d.Ends.validate(&wrong)
	d.Deriving.validate(&wrong)
	wrong.check(d.MaxPixels > 0, "max-pixels", "must be positive")
	wrong.check(d.MaxBytes > 0, "max-bytes", "must be positive")
	wrong.check(d.From.IsZero() || d.To.IsZero() || d.From.Before(d.To), "from", "must be before --to")
	if d.Recipe == "" {
		wrong.add("recipe", errors.New("needs the path of a recipe, such as recipes/sizes.yaml"))
		return wrong.err()
	}
	r, err := recipe.Read(d.Recipe)
	wrong.add("recipe", err)
	d.recipe = d.narrow(r)
	return wrong.err()
}

// narrow leaves of what the recipe selects what was uploaded in the time that is wanted.
func (d *Derive) narrow(r recipe.Recipe) recipe.Recipe {
	if d.From.After(r.Select.From.Time) {
		r.Select.From.Time = d.From
	}
	if to := r.Select.To; !d.To.IsZero() && (to.IsZero() || d.To.Before(to.Time)) {
		r.Select.To.Time = d.To
	}
	return r
}

// Check implements Pipeline.
func (d *Derive) Check(ctx context.Context, here bool) error {
	if here {
		if err := d.Choice.Check(ctx); err != nil {
			return err
		}
	}
	topics := []string{d.RejectedTopic}
	if d.Source == fromKafka {
		topics = append(topics, d.EventsTopic)
	}
	if err := kafkaio.Check(ctx, d.Kafka, topics...); err != nil {
		return err
	}
	tables, err := open.Open(ctx, d.Table)
	if err != nil {
		return fmt.Errorf("open table store: %w", err)
	}
	defer tables.Close()
	if err := tables.Ping(ctx); err != nil {
		return fmt.Errorf("ping table store: %w", err)
	}
	blobs, err := blob.Open(ctx, d.S3)
	if err != nil {
		return fmt.Errorf("open blob store: %w", err)
	}
	defer blobs.Close()
	return blobs.Ping(ctx)
}

// Build implements Pipeline.
func (d *Derive) Build(s beam.Scope) {
	dead := derive.Variants(s, derive.Options{
		Recipes: []recipe.Recipe{d.recipe}, Version: time.Now().UnixMicro(), Blobs: d.S3, TableDSN: d.Table, EventsTopic: d.EventsTopic,
		MaxBytes: d.MaxBytes, MaxPixels: d.MaxPixels, Choice: d.Choice, MaxShare: d.MaxShare,
		DryRun: d.DryRun,
	}, d.images(s))
	kafkaio.Write(s, kafkaio.Sink{Brokers: d.Kafka, Topic: d.RejectedTopic}, dead)
}

// images are those of the source.
//
//	images: () -> PCollection<table.Image>
func (d *Derive) images(s beam.Scope) beam.PCollection {
	switch d.Source {
	case fromBucket:
		return imageio.ReadBucket(s, d.S3)
	case fromKafka:
		// To the end of the topic, whatever To is, for the deletions.
		src := kafkaio.Source{Brokers: d.Kafka, Topic: d.EventsTopic}
		if from := d.recipe.Select.From; !from.IsZero() {
			src.From = max(0, from.UnixMilli())
		}
		return imageio.OfEvents(s, kafkaio.ReadBounded(s, src))
	default:
		return imageio.ReadTable(s, d.Table)
	}
}

// sums are the job's counters, over all its steps.
func sums(counters []runners.Counter) map[string]int64 {
	all := map[string]int64{}
	for _, c := range counters {
		if c.Namespace == derive.Namespace {
			all[c.Name] += c.Value
		}
	}
	return all
}

// Progress implements Batch, in images.
func (d *Derive) Progress(counters []runners.Counter) (done, total int64) {
	n := sums(counters)
	return n[derive.Images], n[derive.Selected]
}

// Report implements Batch.
func (d *Derive) Report(w io.Writer, counters []runners.Counter, took time.Duration) error {
	n := sums(counters)
	images := n[derive.Selected] - n[derive.PassedOver]
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(what string, n int64) { fmt.Fprintf(t, "%s\t%d\n", what, n) }
	row("images selected", images)
	if d.DryRun {
		row("variants current", n[derive.Current])
		estimate(t, n)
	} else {
		row("variants made", n[derive.Made])
		row("variants current", n[derive.Current])
		row("bytes in", n[derive.BytesIn])
		row("bytes out", n[derive.BytesOut])
	}
	failed := int64(0)
	for _, name := range slices.Sorted(maps.Keys(n)) {
		if code, ok := derive.FailedCode(name); ok {
			row("images failed: "+code, n[name])
			failed += n[name]
		}
	}
	fmt.Fprintf(t, "seconds\t%.1f\n", took.Seconds())
	if err := t.Flush(); err != nil {
		return fmt.Errorf("print table: %w", err)
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d images failed", failed, images)
	}
	return nil
}

// estimate says what a dry run expects.
func estimate(w io.Writer, n map[string]int64) {
	fmt.Fprintf(w, "images to derive\t%d\nvariants to make\t%d\n", n[derive.PendingImages], n[derive.PendingVariants])
	if n[derive.SampleImages] == 0 {
		return
	}
	bytes := n[derive.SampleBytes] * n[derive.PendingVariants] / n[derive.SampleVariants]
	micros := n[derive.SampleMicros] * n[derive.PendingImages] / n[derive.SampleImages]
	fmt.Fprintf(w, "images in the sample\t%d\nbytes to write, about\t%d\nseconds on one machine, about\t%.1f\n",
		n[derive.SampleImages], bytes, (time.Duration(micros) * time.Microsecond).Seconds())
}
