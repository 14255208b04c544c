package pipelines_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/options/jobopts"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/testing/passert"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/testing/ptest"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/testing/teststream"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"darkroom/internal/blob"
	"darkroom/internal/event"
	"darkroom/internal/local"
	"darkroom/internal/pixels/engine"
	"darkroom/internal/pixels/pool"
	"darkroom/internal/table"
	"darkroom/internal/table/embedded"
	"darkroom/pipelines"
	"darkroom/transforms/kafkaio"
)

// bucket is the one S3 bucket of this package's tests.
var bucket blob.Config

// objects is the S3 server that the bucket is on.
var objects *local.S3

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "pixels-child" {
		check(pool.Serve(engine.Open))
		return
	}
	register.Function1x1(showMutation)
	register.Function1x2(showLetter)
	dir, err := os.MkdirTemp("", "darkroom-pipelines")
	check(err)
	objects, err = local.StartS3(context.Background(), local.S3Options{Dir: filepath.Join(dir, "s3")})
	check(err)
	bucket = objects.Config("images")
	store, err := blob.Open(context.Background(), bucket)
	check(err)
	check(store.EnsureBucket(context.Background()))
	*jobopts.Experiments = "prism_disable_sdf_split" // as runners.Prism does
	code := ptest.MainRet(m)
	check(objects.Close())
	check(os.RemoveAll(dir))
	os.Exit(code)
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// photos are the names of some photographs in testdata, and what the bucket holds of them.
var photos = mustPhotos()

func mustPhotos() (paths []string) {
	for _, pattern := range []string{"*.jpg", "*.png"} {
		found, err := filepath.Glob("../testdata/photos/" + pattern)
		check(err)
		abs, err := filepath.Abs(".")
		check(err)
		for _, f := range found {
			paths = append(paths, filepath.Join(abs, f)) // the S3 gateway changes the working directory
		}
	}
	slices.Sort(paths)
	return paths
}

// put stores bytes as an upload does, and returns the upload's event.
func put(t *testing.T, id string, body []byte, at time.Time) event.Event {
	t.Helper()
	sum := sha256.Sum256(body)
	i := event.Image{
		ImageID: id, Tenant: "default", SHA256: hex.EncodeToString(sum[:]), Bytes: int64(len(body)),
		Filename: id + ".jpg", UploadedAt: at,
	}
	store, err := blob.Open(t.Context(), bucket)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if _, err := store.Put(t.Context(), i.BlobKey(), body, blob.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	return event.NewUploaded(i)
}

func record(t *testing.T, e event.Event) kafkaio.Record {
	t.Helper()
	key, value, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return kafkaio.Record{Topic: event.TopicImages, Timestamp: e.Time.UnixMilli(), Key: key, Value: value}
}

// newLive returns the pipeline with its defaults, against this package's bucket and the given table store.
func newLive(t *testing.T, dsn string) *pipelines.Live {
	t.Helper()
	l := &pipelines.Live{Ends: pipelines.Ends{S3: bucket, Table: dsn}, Reanalyse: dsn == ""}
	if err := kong.ApplyDefaults(l); err != nil {
		t.Fatal(err)
	}
	l.Table = dsn
	return l
}

func showMutation(m table.Mutation) string {
	if m.Table == "image_stats" {
		return fmt.Sprintf("%s %v=%v images=%v rejected=%v", m.Table, m.Row["dimension"], m.Row["value"], m.Row["images"], m.Row["rejected"])
	}
	if m.Table == "hash_band" {
		return fmt.Sprintf("%s %v deleted=%v", m.Table, m.Row["image_id"], m.Row["deleted"])
	}
	return fmt.Sprintf("%s %v %v %v %vx%v %v", m.Table, m.Row["image_id"], m.Row["state"], m.Row["format"], m.Row["width"],
		m.Row["height"], m.Row["code"])
}

func showLetter(m kafkaio.Message) (string, error) {
	r, err := event.DecodeRejection(m.Value)
	return r.Stage + " " + r.Code, err
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// TestLiveWithItsEndsSwapped scripts what arrives and looks at what leaves.
func TestLiveWithItsEndsSwapped(t *testing.T) {
	jpeg := readFile(t, photos[0])
	good := put(t, "good", jpeg, noon)
	twin := put(t, "twin", jpeg, noon.Add(time.Second))
	cut := put(t, "cut", jpeg[:len(jpeg)/2], noon.Add(2*time.Second))
	bomb := put(t, "bomb", bombBMP(), noon.Add(3*time.Second))
	gone := put(t, "gone", jpeg, noon.Add(4*time.Second))
	gone.Image.SHA256 = strings.Repeat("0", 64)
	deleted := event.NewDeleted(twin.Image, noon.Add(5*time.Second))

	script := teststream.NewConfig()
	for i, r := range []kafkaio.Record{
		record(t, good), record(t, twin), record(t, good), record(t, cut), record(t, bomb), record(t, gone),
		record(t, deleted), {Topic: event.TopicImages, Value: []byte("no event")},
	} {
		if err := script.AddElements(noon.Add(time.Duration(i)*time.Second).UnixMilli(), r); err != nil {
			t.Fatal(err)
		}
	}
	script.AdvanceWatermarkToInfinity()

	p, s := beam.NewPipelineWithRoot()
	facts, _, dead := newLive(t, "").Process(s, teststream.Create(s, script))
	c := decodeConfig(t, photos[0])
	size := fmt.Sprintf("%dx%d", c.Width, c.Height)
	passert.Equals(s, beam.ParDo(s, showMutation, facts),
		"image good analysed jpeg "+size+" ", "hash_band good deleted=false",
		"image twin analysed jpeg "+size+" ", "hash_band twin deleted=false",
		"image twin deleted <nil> <nil>x<nil> <nil>", "hash_band twin deleted=true",
		"image cut rejected  0x0 truncated",
		"image bomb rejected  0x0 too-many-pixels",
		"image gone rejected  0x0 blob-missing")
	passert.Equals(s, beam.ParDo(s, showLetter, dead),
		"analyze truncated", "analyze too-many-pixels", "analyze blob-missing", "decode malformed-event")
	ptest.RunAndValidate(t, p)
}

// world is a broker and a table store, for the pipeline with its own ends.
type world struct {
	brokers []string
	tables  table.Store
	dsn     string

	produced, replayed int // records of images.events
}

func newWorld(t *testing.T) *world {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(4, event.TopicImages, event.TopicRejected))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	store, err := embedded.Open(t.Context(), t.TempDir(), embedded.Options{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- embedded.Serve(ctx, l, store) }()
	t.Cleanup(func() {
		cancel()
		<-served
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return &world{brokers: c.ListenAddrs(), tables: store, dsn: "tcp://" + l.Addr().String()}
}

func (w *world) produce(t *testing.T, events ...event.Event) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.brokers...), kgo.DefaultProduceTopic(event.TopicImages))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	w.produced += len(events)
	for _, e := range events {
		key, value, err := e.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if err := cl.ProduceSync(t.Context(), &kgo.Record{Key: key, Value: value, Timestamp: e.Time}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

func (w *world) run(t *testing.T, change func(*pipelines.Live)) {
	t.Helper()
	l := newLive(t, w.dsn)
	l.Kafka, l.Bounded = w.brokers, true
	change(l)
	if err := l.Validate(); err != nil {
		t.Fatal(err)
	}
	p, s := beam.NewPipelineWithRoot()
	l.Build(s)
	ptest.RunAndValidate(t, p)
}

// rows dumps every table but the progress.
func (w *world) rows(t *testing.T) (rows []string) {
	t.Helper()
	for _, tab := range table.Tables() {
		if tab.Name == "progress" {
			continue
		}
		for row, err := range w.tables.Scan(t.Context(), table.Query{Table: tab.Name}) {
			if err != nil {
				t.Fatal(err)
			}
			line := tab.Name
			for _, k := range slices.Sorted(maps.Keys(row)) {
				line += fmt.Sprintf(" %s=%v", k, row[k])
			}
			rows = append(rows, line)
		}
	}
	slices.Sort(rows)
	return rows
}

func diff(got, want []string) string {
	var b strings.Builder
	for _, r := range got {
		if !slices.Contains(want, r) {
			fmt.Fprintf(&b, "+ %s\n", r)
		}
	}
	for _, r := range want {
		if !slices.Contains(got, r) {
			fmt.Fprintf(&b, "- %s\n", r)
		}
	}
	return b.String()
}

// TestAReplayLeavesEveryTableEqual runs the whole topic again, in each way in which that happens.
func TestAReplayLeavesEveryTableEqual(t *testing.T) {
	w := newWorld(t)
	var events []event.Event
	for i, path := range photos {
		at := noon.Add(time.Duration(i) * 20 * time.Second) // several windows
		events = append(events, put(t, fmt.Sprintf("image%d", i), readFile(t, path), at))
	}
	cut := put(t, "cut", readFile(t, photos[0])[:1000], noon.Add(time.Minute))
	events = append(events, cut, events[0], // a repeat
		event.NewDeleted(events[1].Image, noon.Add(5*time.Minute)))
	w.produce(t, events...)
	w.run(t, func(*pipelines.Live) {})
	want := w.rows(t)
	if len(want) < 2*len(photos) {
		t.Fatalf("only %d rows:\n%s", len(want), strings.Join(want, "\n"))
	}
	for name, change := range map[string]func(*pipelines.Live){
		"with what is known": func(*pipelines.Live) {},
		"analysed again":     func(l *pipelines.Live) { l.Reanalyse = true },
		"from the middle":    func(l *pipelines.Live) { l.From = noon.Add(time.Minute).Format(time.RFC3339) },
	} {
		w.run(t, change)
		if d := diff(w.rows(t), want); d != "" {
			t.Errorf("a replay %s changed rows:\n%s", name, d)
		}
	}

	// The same, in another order of arrival and into a store of its own, ends in the same rows.
	other := newWorld(t)
	slices.Reverse(events)
	other.produce(t, events...)
	other.run(t, func(*pipelines.Live) {})
	if d := diff(other.rows(t), want); d != "" {
		t.Errorf("the reverse order changed rows:\n%s", d)
	}
}

func TestValidateNamesTheFlag(t *testing.T) {
	for flag, spoil := range map[string]func(*pipelines.Live){
		"--max-pixels": func(l *pipelines.Live) { l.MaxPixels = 0 },
		"--lateness":   func(l *pipelines.Live) { l.Lateness = time.Second },
		"--from":       func(l *pipelines.Live) { l.From = "yesterday" },
		"--s3-":        func(l *pipelines.Live) { l.S3.Bucket = "" },
		"--kafka":      func(l *pipelines.Live) { l.Kafka = nil },
	} {
		l := newLive(t, "tcp://127.0.0.1:1")
		spoil(l)
		if err := l.Validate(); err == nil || !strings.Contains(err.Error(), flag) {
			t.Errorf("%s: error %v", flag, err)
		}
	}
}
