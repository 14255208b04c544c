package stack_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/gif"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"darkroom/internal/blob"
	"darkroom/internal/event"
	"darkroom/internal/pixels"
	"darkroom/internal/table"
)

const parityRecipe = `name: parity
outputs:
  - {name: large, width: 320, format: jpeg, quality: 75, sharpen: 0.5, keep_copyright: true}
  - {name: square, width: 96, height: 96, fit: cover, gravity: attention, format: webp, quality: 70, animate: true}
  - {name: small, width: 48, height: 48, format: png}
`

// studio is a bucket and tables of its own, which hold the images of a test.
type studio struct {
	tables
	bucket           blob.Config
	blobs            *blob.Store
	events, rejected string
	recipe           string // its path
}

// TestDeriveOnEveryRunner derives of the same images on every runner, and holds rows, objects, dead letters and what
// the command says against those of Prism, byte for byte. A second run, on the events instead of the rows, makes nothing.
func TestDeriveOnEveryRunner(t *testing.T) {
	e := shared
	photos := originals(t)
	var want map[string]int
	var wantReport, wantAgain string
	for _, r := range []struct {
		name string
		args []string
	}{
		{"prism", nil},
		{"flink", e.onFlink("--parallelism", "2")},
		{"spark", e.onSpark()},
	} {
		t.Run(r.name, func(t *testing.T) {
			s := e.newStudio(t, r.name, photos)
			report := s.derive(t, "table", r.args...)
			made := s.results(t)
			again := s.derive(t, "kafka", r.args...)
			if text := differ(s.objects(t), only(made, "object ")); text != "" {
				t.Errorf("a second run: %s", text)
			}
			if r.name == "prism" {
				want, wantReport, wantAgain = made, report, again
				check(t, report, len(photos)-2, 3*(len(photos)-2), 0)
				check(t, again, len(photos)-2, 0, 3*(len(photos)-2))
				return
			}
			if text := differ(made, want); text != "" {
				t.Error(text)
			}
			if report != wantReport || again != wantAgain {
				t.Errorf("%s\n%s\nwant\n%s\n%s", report, again, wantReport, wantAgain)
			}
		})
	}
}

// TestLiveDerivesOnFlink streams the same images through the live pipeline, which derives of them.
func TestLiveDerivesOnFlink(t *testing.T) {
	e := shared
	photos := originals(t)
	s := e.newStudio(t, "eager", photos)
	e = &env{dir: e.dir, bin: e.bin, stack: e.stack, bucket: s.bucket, workers: e.workers, toKafka: e.toKafka}
	job := e.stream(t, s.events, s.rejected, s.tables, "--parallelism", "2", "--eager", s.recipe, "--engine", "go")
	eventually(t, time.Minute, func() error {
		if n := len(s.objects(t)); n != 3*(len(photos)-2) {
			return fmt.Errorf("%d variants of %d images", n, len(photos)-2)
		}
		return nil
	})
	job.afterCheckpoints(1)
	job.drain()
	letters := map[string]int{}
	for _, l := range s.letters(t) {
		letters[l.Stage+" "+l.Code]++
	}
	// The rows of both say that they were analysed.
	if want := map[string]int{"derive truncated": 1, "derive blob-missing": 1}; !maps.Equal(letters, want) {
		t.Errorf("letters %v, want %v", letters, want)
	}
}

// check holds a report against what must have become of the images that are whole, and of two more.
func check(t *testing.T, report string, whole, made, current int) {
	t.Helper()
	for _, line := range []string{
		fmt.Sprintf("images selected %d", whole+2), fmt.Sprintf("variants made %d", made),
		fmt.Sprintf("variants current %d", current), "images failed: truncated 1", "images failed: blob-missing 1",
		fmt.Sprintf("2 of %d images failed", whole+2),
	} {
		if !strings.Contains(report, line) {
			t.Errorf("no %q in\n%s", line, report)
		}
	}
}

// gone is an image that is not in the bucket.
var gone = []byte("gone")

// originals are photographs, a moving picture, small ones, a broken one and one that is gone.
func originals(t *testing.T) [][]byte {
	t.Helper()
	files, err := filepath.Glob("../../testdata/photos/*.*g")
	if err != nil || len(files) < 5 {
		t.Fatal(files, err)
	}
	var all [][]byte
	for _, f := range append(files, "../../testdata/photos/life.webp") {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, data)
	}
	for _, p := range photographs(rand.New(rand.NewPCG(5, 0)), 3)[1:] {
		all = append(all, p.data)
	}
	return append(all, moving(t), all[0][:len(all[0])/2], gone)
}

// moving is an animation of two frames.
func moving(t *testing.T) []byte {
	t.Helper()
	g := &gif.GIF{Delay: []int{5, 5}}
	for i := range 2 {
		frame := image.NewPaletted(image.Rect(0, 0, 60, 40), color.Palette{color.Black, color.White})
		for x := range 30 {
			frame.SetColorIndex(x+i*20, 20, 1)
		}
		g.Image = append(g.Image, frame)
	}
	var b bytes.Buffer
	if err := gif.EncodeAll(&b, g); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// newStudio makes a studio, and does for each image what its upload and the live pipeline do.
func (e *env) newStudio(t *testing.T, name string, photos [][]byte) *studio {
	t.Helper()
	s := &studio{tables: newTables(t), bucket: e.bucket, recipe: filepath.Join(t.TempDir(), "recipe.yaml")}
	s.events, s.rejected = e.topics(t)
	s.bucket.Bucket = "derive-" + name
	if err := os.WriteFile(s.recipe, []byte(parityRecipe), 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	if s.blobs, err = blob.Open(t.Context(), s.bucket); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.blobs.Close() })
	if err := s.blobs.EnsureBucket(t.Context()); err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for i, data := range photos {
		s.upload(t, e.kafka(t), fmt.Sprintf("%032x", i), data, at.Add(time.Duration(i)*time.Minute))
	}
	return s
}

func (s *studio) upload(t *testing.T, kafka *kgo.Client, id string, data []byte, at time.Time) {
	t.Helper()
	sum := sha256.Sum256(data)
	i := event.Image{ImageID: id, Tenant: "default", SHA256: hex.EncodeToString(sum[:]), Bytes: int64(len(data)), UploadedAt: at}
	if !bytes.Equal(data, gone) {
		if _, err := s.blobs.Put(t.Context(), i.BlobKey(), data, blob.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	row := table.Image{
		ImageID: i.ImageID, Tenant: i.Tenant, State: table.StateAnalysed, SHA256: i.SHA256, Bytes: i.Bytes,
		UploadedAt: at.UnixMicro(), Version: at.UnixMicro(), Format: "jpeg", Width: 640, Height: 480,
	}
	if facts, err := pixels.Probe(bytes.NewReader(data), pixels.Limits{}); err == nil {
		row.Format, row.Width, row.Height = string(facts.Format), facts.Width, facts.Height
	}
	if err := s.store.Apply(t.Context(), []table.Mutation{table.Images.Mutation(row)}); err != nil {
		t.Fatal(err)
	}
	key, value, err := event.NewUploaded(i).Encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := kafka.ProduceSync(t.Context(), &kgo.Record{Topic: s.events, Key: key, Value: value, Timestamp: at}).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// derive runs the pipeline, which must fail for the images that are broken, and returns what it says without the time.
func (s *studio) derive(t *testing.T, source string, args ...string) string {
	t.Helper()
	p, err := shared.start(append([]string{
		"pipeline", "run", "derive", "--recipe", s.recipe, "--source", source, "--engine", "go",
		"--kafka", shared.stack.Addr("kafka"), "--events-topic", s.events, "--rejected-topic", s.rejected,
		"--s3-endpoint", s.bucket.Endpoint, "--s3-bucket", s.bucket.Bucket, "--s3-access-key", s.bucket.AccessKey,
		"--s3-secret-key", s.bucket.SecretKey, "--table", s.dsn,
	}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.ended:
	case <-time.After(2 * time.Minute):
		p.stop()
		t.Fatalf("it did not end\n%s", p.text())
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 1 {
		t.Fatalf("exit status %d\n%s", code, p.text())
	}
	_, report, _ := strings.Cut(p.text(), "images selected")
	lines := []string{}
	for l := range strings.Lines("images selected" + report) {
		if !strings.HasPrefix(l, "seconds") {
			lines = append(lines, strings.Join(strings.Fields(l), " "))
		}
	}
	return strings.Join(lines, "\n")
}

// results are all that the pipeline has left, but for the time at which it ran.
func (s *studio) results(t *testing.T) map[string]int {
	t.Helper()
	all := s.objects(t)
	for row, err := range table.Variants.Scan(t.Context(), s.store, table.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		row.Version = 0
		add(t, all, "variant ", row)
	}
	for _, letter := range s.letters(t) {
		letter.ID, letter.Topic = "", "" // of the job, and of the test
		add(t, all, "letter ", letter)
	}
	return all
}

func add(t *testing.T, to map[string]int, kind string, v any) {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	to[kind+string(data)]++
}

// objects are the derivatives in the bucket, with the hash of their bytes.
func (s *studio) objects(t *testing.T) map[string]int {
	t.Helper()
	all := map[string]int{}
	for info, err := range s.blobs.List(t.Context(), "_variants/") {
		if err != nil {
			t.Fatal(err)
		}
		data, _, err := s.blobs.Get(t.Context(), info.Key)
		if err != nil {
			t.Fatal(err)
		}
		all[fmt.Sprintf("object %s %x", info.Key, sha256.Sum256(data))]++
	}
	return all
}

func only(all map[string]int, kind string) map[string]int {
	some := map[string]int{}
	for k, n := range all {
		if strings.HasPrefix(k, kind) {
			some[k] = n
		}
	}
	return some
}

// letters are the dead letters of the topic.
func (s *studio) letters(t *testing.T) (letters []event.Rejection) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(shared.stack.Addr("kafka")), kgo.ConsumeTopics(s.rejected),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ends, err := kadm.NewClient(cl).ListEndOffsets(t.Context(), s.rejected)
	if err := errors.Join(err, ends.Error()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	end, _ := ends.Lookup(s.rejected, 0)
	for last := int64(-1); last < end.Offset-1; {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			letter, err := event.DecodeRejection(r.Value)
			if err != nil {
				t.Error(err)
			}
			letters, last = append(letters, letter), r.Offset
		})
	}
	return letters
}
