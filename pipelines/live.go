package pipelines

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/window"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"

	"darkroom/internal/recipe"
	"darkroom/internal/table"
	"darkroom/internal/table/open"
	"darkroom/transforms/aggregate"
	"darkroom/transforms/analyze"
	"darkroom/transforms/decode"
	"darkroom/transforms/dedupe"
	"darkroom/transforms/derive"
	"darkroom/transforms/kafkaio"
	"darkroom/transforms/once"
	"darkroom/transforms/tableio"
)

// LiveName names the pipeline and its jobs.
const LiveName = "live"

func init() {
	register.Function1x1(imageMutation)
	register.Function1x1(bandMutation)
	register.Function1x1(statsMutation)
	register.Function1x2(toOne)
	register.Function3x1(progressMutation)
	register.Iter1[int64]()
	beam.RegisterType(reflect.TypeFor[table.Mutation]())
}

// Live looks at each image as it arrives. Its bounded form does the same for what the topic holds at its start.
type Live struct {
	Ends
	MaxPixels int64         `help:"Reject images of more pixels, over all frames." default:"100000000"`
	Lateness  time.Duration `help:"How late an event may be and still be counted; repeats are known for as long." default:"24h"`
	Skew      time.Duration `help:"How far events of one partition may be out of order before they count as late." default:"1s"`
	From      string        `help:"Where to begin: resume, earliest, or the minute of a time in RFC 3339." default:"resume"`
	Bounded   bool          `help:"Process what the topic holds now, from where --from says, then end."`
	Eager     []string      `help:"Recipe (YAML) of what is derived of each image as it arrives; once for each recipe." type:"path" sep:"none" placeholder:"FILE"`
	Deriving
	MaxBytes int64 `help:"Derive nothing of images of more bytes." default:"67108864"`
	// Reanalyse reads every image again, also where its facts are known. It is no flag: the rows have the versions of those
	// that are there, so what is found must be the same.
	Reanalyse bool `kong:"-"`

	eager []recipe.Recipe
	from  int64 // milliseconds since 1970; zero is the earliest record
}

// Summary implements Pipeline.
func (l *Live) Summary() string {
	return "images.events -> once -> analyze -> dedupe -> aggregate -> tables, and -> derive with --eager; " +
		"streaming, or bounded with --bounded"
}

// Unbounded implements Streaming.
func (l *Live) Unbounded() bool { return !l.Bounded }

// Validate implements Pipeline.
func (l *Live) Validate() error {
	var wrong flagErrors
	l.Ends.validate(&wrong)
	l.Deriving.validate(&wrong)
	wrong.check(l.MaxPixels > 0, "max-pixels", "must be positive")
	wrong.check(l.MaxBytes > 0, "max-bytes", "must be positive")
	wrong.check(l.Lateness >= time.Minute, "lateness", "must be a minute or more")
	wrong.check(l.Skew >= 0 && l.Skew <= l.Lateness, "skew", "must not be negative, nor more than --lateness")
	var err error
	l.eager, err = readRecipes(l.Eager)
	wrong.add("eager", err)
	l.from, err = parseFrom(l.From)
	wrong.check(err == nil, "from", "must be resume, earliest or a time in RFC 3339")
	return wrong.err()
}

// readRecipes reads recipes, whose variants must not be each other's.
func readRecipes(paths []string) (recipes []recipe.Recipe, err error) {
	for _, path := range paths {
		r, err := recipe.Read(path)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(recipes, func(o recipe.Recipe) bool { return o.Name == r.Name }) {
			return nil, fmt.Errorf("recipe %s: there are two of the name %s", path, r.Name)
		}
		recipes = append(recipes, r)
	}
	return recipes, nil
}

func parseFrom(s string) (int64, error) {
	if s == "resume" || s == "earliest" {
		return 0, nil
	}
	t, err := time.Parse(time.RFC3339, s)
	return t.Truncate(aggregate.Window).UnixMilli(), err // windows are counted whole or not at all
}

// Resume implements Streaming. Windows are counted anew by a job that starts anew, and a pane wins only if it has seen
// more events than the one in the table. So reading begins far enough back that every window which an event to come may
// still touch is counted whole: the allowed lateness before the time up to which all is done.
func (l *Live) Resume(ctx context.Context) error {
	if l.From != "resume" {
		return nil
	}
	store, err := l.OpenTables(ctx)
	if err != nil {
		return err
	}
	defer store.Close()
	done, err := CompleteTo(ctx, store, LiveName)
	if err != nil {
		return err
	}
	l.from = 0
	if !done.IsZero() {
		if now := time.Now(); done.After(now) { // by the clock of a machine that is ahead
			done = now
		}
		l.from = max(0, done.Add(-l.Lateness).Truncate(aggregate.Window).UnixMilli())
	}
	return nil
}

// OpenTables implements Streaming.
func (l *Live) OpenTables(ctx context.Context) (table.Store, error) {
	store, err := open.Open(ctx, l.Table)
	if err != nil {
		return nil, fmt.Errorf("open table store: %w", err)
	}
	return store, nil
}

// Check implements Pipeline.
func (l *Live) Check(ctx context.Context, here bool) error {
	if here && len(l.Eager) > 0 {
		if err := l.Choice.Check(ctx); err != nil {
			return err
		}
	}
	return kafkaio.Check(ctx, l.Kafka, l.EventsTopic, l.RejectedTopic)
}

// Source implements Streaming.
func (l *Live) Source() kafkaio.Source {
	return kafkaio.Source{
		Brokers: l.Kafka, Topic: l.EventsTopic, From: l.from, Resume: l.From == "resume", Skew: l.Skew.Milliseconds(),
		Job: LiveName, Built: time.Now().UnixMilli(),
	}
}

// Drain implements Streaming.
func (l *Live) Drain(ctx context.Context) error {
	return kafkaio.Drain(ctx, l.Kafka, l.EventsTopic, LiveName)
}

// Build implements Pipeline.
func (l *Live) Build(s beam.Scope) {
	var records, ticks beam.PCollection
	if l.Bounded {
		records = kafkaio.ReadBounded(s, l.Source())
	} else {
		records, ticks = kafkaio.Read(s, l.Source())
	}
	images, mutations, dead := l.Process(s, records)
	kafkaio.Write(s, kafkaio.Sink{Brokers: l.Kafka, Topic: l.RejectedTopic}, dead)
	written := tableio.Write(s, l.Table, images)
	tableio.Write(s, l.Table, mutations)
	if !l.Bounded {
		tableio.Write(s, l.Table, progress(s, written, ticks))
	}
}

// Process is what the streaming and the bounded form have in common: records in, rows and dead letters out.
//
//	Process: PCollection<Record> -> PCollection<table.Mutation> (facts), PCollection<table.Mutation> (statistics),
//	         PCollection<Message>
func (l *Live) Process(s beam.Scope, records beam.PCollection) (facts, statistics, dead beam.PCollection) {
	s = s.Scope("live.Process")
	byID, malformed := decode.Events(s, records)
	// A window ends up to its length after an event, and counts for its lateness more.
	first := once.Records(s, l.Lateness+2*aggregate.Window, byID)
	images, refused := analyze.Images(s, analyze.Options{
		Blobs: l.S3, TableDSN: l.Table, MaxPixels: l.MaxPixels, Reuse: !l.Reanalyse,
	}, first)
	facts = beam.Flatten(s,
		beam.ParDo(s, imageMutation, images),
		beam.ParDo(s, bandMutation, dedupe.SameBytes(s, images)))
	statistics = beam.ParDo(s, statsMutation, aggregate.Stats(s, l.Lateness, l.from, images))
	if len(l.eager) == 0 {
		return facts, statistics, beam.Flatten(s, malformed, refused)
	}
	underivable := derive.Eagerly(s, derive.Options{
		Recipes: l.eager, Blobs: l.S3, TableDSN: l.Table, EventsTopic: l.EventsTopic, MaxBytes: l.MaxBytes,
		MaxPixels: l.MaxPixels, Choice: l.Choice, MaxShare: l.MaxShare,
	}, images)
	return facts, statistics, beam.Flatten(s, malformed, refused, underivable)
}

// progress publishes the event time up to which the facts are in the tables: a window of one second that closes after
// the writes have passed it says that everything before it is there. The ticks see to it that every second has a
// window, also when no image arrives.
//
//	progress: PCollection<int64>, PCollection<int64> -> PCollection<table.Mutation>
func progress(s beam.Scope, written, ticks beam.PCollection) beam.PCollection {
	s = s.Scope("live.Progress")
	// Beam's Flink runner cannot translate a Flatten of a reader's second output unless a shuffle lies between.
	ticks = beam.Reshuffle(s, ticks)
	seconds := beam.WindowInto(s, window.NewFixedWindows(time.Second), beam.Flatten(s, written, ticks))
	return beam.ParDo(s, progressMutation, beam.GroupByKey(s, beam.ParDo(s, toOne, seconds)))
}

func toOne(tick int64) (string, int64) { return LiveName, tick }

func progressMutation(w beam.Window, pipeline string, _ func(*int64) bool) table.Mutation {
	start := w.(window.IntervalWindow).Start.ToTime().UnixMicro()
	return table.Progresses.Mutation(table.Progress{Pipeline: pipeline, CompleteTo: start, Version: start})
}

// imageMutation writes the row whole, but for a deletion: that says nothing of the facts, which stay for the reader
// that meets the upload again.
func imageMutation(i table.Image) table.Mutation {
	m := table.Images.Mutation(i)
	if i.State == table.StateDeleted {
		m.Row = table.Row{
			"image_id": i.ImageID, "tenant": i.Tenant, "state": i.State, "uploaded_at": i.UploadedAt, "version": i.Version,
		}
	}
	return m
}

func bandMutation(b table.HashBand) table.Mutation { return table.HashBands.Mutation(b) }

func statsMutation(s table.ImageStats) table.Mutation { return table.AllImageStats.Mutation(s) }
