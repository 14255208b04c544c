package pipelines_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/testing/ptest"
	"github.com/twmb/franz-go/pkg/kgo"

	"darkroom/internal/blob"
	"darkroom/internal/event"
	"darkroom/internal/pixels"
	"darkroom/internal/pixels/engine"
	"darkroom/internal/pixels/goengine"
	"darkroom/internal/recipe"
	"darkroom/internal/table"
	"darkroom/pipelines"
	"darkroom/runners"
)

const twoSizes = `name: two
select: {formats: [jpeg], min_width: 500}
outputs:
  - {name: large, width: 300, format: jpeg, quality: 70}
  - {name: small, width: 40, height: 40, fit: cover, format: png}
`

// studio is a world with a bucket of its own, in which images were uploaded and analysed.
type studio struct {
	*world
	bucket blob.Config
	blobs  *blob.Store
	recipe string // its path
}

func newStudio(t *testing.T) *studio {
	t.Helper()
	s := &studio{world: newWorld(t), recipe: filepath.Join(t.TempDir(), "recipe.yaml")}
	sum := sha256.Sum256([]byte(t.TempDir()))
	s.bucket = objects.Config("derive-" + hex.EncodeToString(sum[:8]))
	var err error
	if s.blobs, err = blob.Open(t.Context(), s.bucket); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.blobs.Close() })
	if err := s.blobs.EnsureBucket(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.asks(t, twoSizes)
	return s
}

func (s *studio) asks(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile(s.recipe, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// idOf is an id as the upload service makes them.
func idOf(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:16])
}

// upload does what an upload and the live pipeline do.
func (s *studio) upload(t *testing.T, name string, body []byte, at time.Time) event.Image {
	t.Helper()
	sum := sha256.Sum256(body)
	i := event.Image{
		ImageID: idOf(name), Tenant: "default", SHA256: hex.EncodeToString(sum[:]), Bytes: int64(len(body)), UploadedAt: at,
	}
	if _, err := s.blobs.Put(t.Context(), i.BlobKey(), body, blob.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	row := table.Image{
		ImageID: i.ImageID, Tenant: i.Tenant, State: table.StateAnalysed, SHA256: i.SHA256, Bytes: i.Bytes,
		UploadedAt: at.UnixMicro(), Version: at.UnixMicro(), Format: "jpeg", Width: 1024, Height: 682,
	}
	if facts, err := pixels.Probe(bytes.NewReader(body), pixels.Limits{}); err == nil {
		row.Format, row.Width, row.Height = string(facts.Format), facts.Width, facts.Height
	}
	s.happens(t, event.NewUploaded(i), row, time.Time{})
	return i
}

func (s *studio) delete(t *testing.T, i event.Image, at time.Time) {
	t.Helper()
	s.happens(t, event.NewDeleted(i, at), table.Image{
		ImageID: i.ImageID, Tenant: i.Tenant, State: table.StateDeleted, Version: at.UnixMicro(),
	}, at)
}

func (s *studio) happens(t *testing.T, e event.Event, row table.Image, deleted time.Time) {
	t.Helper()
	data, err := json.Marshal(event.Record{Image: e.Image, DeletedAt: deleted, Events: []string{e.ID}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.blobs.Put(t.Context(), event.RecordPrefix+e.Image.ImageID, data, blob.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := s.tables.Apply(t.Context(), []table.Mutation{table.Images.Mutation(row)}); err != nil {
		t.Fatal(err)
	}
	s.produce(t, e)
}

// derive runs the pipeline and returns its counters, and an error if the job failed.
func (s *studio) derive(t *testing.T, change func(*pipelines.Derive)) (*pipelines.Derive, []runners.Counter, error) {
	t.Helper()
	d := &pipelines.Derive{
		Recipe: s.recipe, Deriving: pipelines.Deriving{Choice: engine.Choice{Engine: engine.Go}},
		Ends: pipelines.Ends{Kafka: s.brokers, S3: s.bucket, Table: s.dsn},
	}
	if err := kong.ApplyDefaults(d); err != nil {
		t.Fatal(err)
	}
	change(d)
	if err := d.Validate(); err != nil {
		t.Fatal(err)
	}
	if err := d.Check(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	p, scope := beam.NewPipelineWithRoot()
	d.Build(scope)
	result, err := ptest.RunWithMetrics(p)
	if err != nil {
		return d, nil, err
	}
	var counters []runners.Counter
	for _, c := range result.Metrics().AllMetrics().Counters() {
		counters = append(counters, runners.Counter{Namespace: c.Namespace(), Name: c.Name(), Value: c.Result()})
	}
	return d, counters, nil
}

// report is what the job tells, without the line of seconds.
func (s *studio) report(t *testing.T, change func(*pipelines.Derive)) (string, error) {
	t.Helper()
	d, counters, err := s.derive(t, change)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	err = d.Report(&b, counters, time.Second)
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	if last := strings.Fields(lines[len(lines)-1]); last[0] != "seconds" {
		t.Errorf("the last line is %q", last)
	}
	for i, l := range lines {
		lines[i] = strings.Join(strings.Fields(l), " ")
	}
	return strings.Join(lines[:len(lines)-1], "\n"), err
}

// variants are the rows, by image and name.
func (s *studio) variants(t *testing.T) map[string]table.Variant {
	t.Helper()
	all := map[string]table.Variant{}
	for v, err := range table.Variants.Scan(t.Context(), s.tables, table.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		all[v.ImageID+" "+v.Name] = v
	}
	return all
}

// files are the derivatives in the bucket, by key, and when each was put.
func (s *studio) files(t *testing.T) (data map[string]string, put map[string]time.Time) {
	t.Helper()
	data, put = map[string]string{}, map[string]time.Time{}
	for info, err := range s.blobs.List(t.Context(), "_variants/") {
		if err != nil {
			t.Fatal(err)
		}
		o, err := s.blobs.Open(t.Context(), info.Key, "")
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(o.Body)
		if err != nil {
			t.Fatal(err)
		}
		data[info.Key], put[info.Key] = string(b), info.ModTime
		if want := http.DetectContentType(b); o.ContentType != want {
			t.Errorf("%s has the type %q, want %q", info.Key, o.ContentType, want)
		}
	}
	return data, put
}

// rejected are the codes of derive's dead letters.
func (s *studio) rejected(t *testing.T) (codes []string) {
	t.Helper()
	_, letters := s.letters(t)
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.brokers...), kgo.ConsumeTopics(event.TopicRejected),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for len(codes) < len(letters) {
		fetches := cl.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			l, err := event.DecodeRejection(r.Value)
			if err != nil || l.Stage != "derive" || l.Topic != event.TopicImages {
				t.Errorf("letter %+v, %v", l, err)
			}
			e, err := event.Decode(l.Value)
			if err != nil || e.Type != event.TypeUploaded || e.Image.ImageID != string(r.Key) || !e.Time.Equal(noon) {
				t.Errorf("it holds %+v, %v", e, err)
			}
			codes = append(codes, e.Image.ImageID+" "+l.Code)
		})
	}
	slices.Sort(codes)
	return codes
}

// fill uploads good images, and some of which nothing can or may be made. It returns the bodies of the good ones.
func (s *studio) fill(t *testing.T) map[string][]byte {
	t.Helper()
	good := map[string][]byte{}
	for n, path := range photos {
		body := readFile(t, path)
		i := s.upload(t, path, body, noon.Add(time.Duration(n)*time.Second))
		if strings.HasSuffix(path, ".jpg") { // the recipe is for no others
			good[i.ImageID] = body
		}
	}
	jpeg := readFile(t, photos[0])
	s.upload(t, "cut", jpeg[:len(jpeg)/2], noon)
	lost := s.upload(t, "lost", append(slices.Clone(jpeg), "lost"...), noon)
	if err := s.blobs.Delete(t.Context(), lost.BlobKey()); err != nil {
		t.Fatal(err)
	}
	changed := s.upload(t, "changed", append(slices.Clone(jpeg), "one"...), noon)
	if _, err := s.blobs.Put(t.Context(), changed.BlobKey(), append(slices.Clone(jpeg), "two"...), blob.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	s.delete(t, s.upload(t, "deleted", jpeg, noon), noon.Add(time.Hour))
	s.upload(t, "early", jpeg, noon.Add(-time.Hour))
	return good
}

// TestDeriveMakesTheSameFromEachSource also runs it twice, and then with another recipe.
func TestDeriveMakesTheSameFromEachSource(t *testing.T) {
	for _, source := range []string{"table", "kafka", "bucket"} {
		t.Run(source, func(t *testing.T) {
			s := newStudio(t)
			good := s.fill(t)
			from := func(d *pipelines.Derive) { d.Source, d.From = source, noon }
			report, err := s.report(t, from)
			if err == nil || err.Error() != fmt.Sprintf("3 of %d images failed", len(good)+3) {
				t.Errorf("error %v", err)
			}
			s.checkReport(t, report, len(good)+3, 2*len(good), 0)
			want := []string{idOf("changed") + " checksum-mismatch", idOf("cut") + " truncated", idOf("lost") + " blob-missing"}
			slices.Sort(want)
			if got := s.rejected(t); !slices.Equal(got, want) {
				t.Errorf("dead letters %q, want %q", got, want)
			}
			s.checkMade(t, good)

			rows, files := s.variants(t), first(s.files(t))
			_, put := s.files(t)
			report, _ = s.report(t, from)
			s.checkReport(t, report, len(good)+3, 0, 2*len(good))
			s.checkKept(t, rows, put, func(table.Variant) bool { return true })

			s.asks(t, strings.Replace(twoSizes, "quality: 70", "quality: 50", 1))
			report, _ = s.report(t, from)
			s.checkReport(t, report, len(good)+3, len(good), len(good))
			s.checkKept(t, rows, put, func(v table.Variant) bool { return v.Name == "two/small" })
			for key, data := range first(s.files(t)) {
				if strings.Contains(key, "large") == (data == files[key]) {
					t.Errorf("%s: equal %v", key, data == files[key])
				}
			}
		})
	}
}

func first[A, B any](a A, _ B) A { return a }

func (s *studio) checkReport(t *testing.T, report string, images, made, current int) {
	t.Helper()
	for _, want := range []string{
		fmt.Sprintf("images selected %d", images), fmt.Sprintf("variants made %d", made),
		fmt.Sprintf("variants current %d", current), "images failed: truncated 1", "images failed: blob-missing 1",
		"images failed: checksum-mismatch 1",
	} {
		if !slices.Contains(strings.Split(report, "\n"), want) {
			t.Errorf("the report lacks %q:\n%s", want, report)
		}
	}
}

// checkMade compares rows and files with what pixels.Derive gives.
func (s *studio) checkMade(t *testing.T, good map[string][]byte) {
	t.Helper()
	r, err := recipe.Read(s.recipe)
	if err != nil {
		t.Fatal(err)
	}
	var outputs []pixels.Output
	for _, o := range r.Outputs {
		out, err := o.Pixels()
		if err != nil {
			t.Fatal(err)
		}
		outputs = append(outputs, out)
	}
	rows := s.variants(t)
	files, _ := s.files(t)
	if len(files) != 2*len(good) || len(rows) != 2*len(good)+2*3 {
		t.Errorf("%d files and %d rows of %d images:\n%v", len(files), len(rows), len(good), slices.Sorted(maps.Keys(rows)))
	}
	info := goengine.New().Info()
	for id, body := range good {
		made, err := pixels.Derive(goengine.New(), body, pixels.Limits{}, outputs)
		if err != nil {
			t.Fatal(err)
		}
		source := sha256.Sum256(body)
		for n, o := range r.Outputs {
			d := made[n]
			key := fmt.Sprintf("_variants/default/%s/two/%s.%s", id, o.Name, d.Format.Extension())
			sum := sha256.Sum256(d.Data)
			got := rows[id+" two/"+o.Name]
			want := table.Variant{
				ImageID: id, Name: "two/" + o.Name, Tenant: "default", State: table.StateMade, BlobKey: key,
				Format: string(d.Format), Width: int64(d.Width), Height: int64(d.Height), Frames: 1, Bytes: int64(len(d.Data)),
				Quality: int64(d.Quality), Plain: true, SHA256: hex.EncodeToString(sum[:]), SourceSHA256: hex.EncodeToString(source[:]),
				RecipeHash: r.Hash(o), Engine: info.Name + " " + info.Version, Version: got.Version,
			}
			if got != want || time.Since(time.UnixMicro(got.Version)) > time.Hour {
				t.Errorf("row %+v\nwant %+v", got, want)
			}
			if files[key] != string(d.Data) {
				t.Errorf("%s has %d bytes, want %d", key, len(files[key]), len(d.Data))
			}
		}
	}
	for name, code := range map[string]string{"cut": "truncated", "lost": "blob-missing", "changed": "checksum-mismatch"} {
		v := rows[idOf(name)+" two/large"]
		if v.State != table.StateFailed || v.Code != code || v.Detail == "" || v.BlobKey != "" {
			t.Errorf("%s: %+v", name, v)
		}
	}
}

// checkKept checks that some of the variants that were made have not been written again.
func (s *studio) checkKept(t *testing.T, rows map[string]table.Variant, put map[string]time.Time, which func(table.Variant) bool) {
	t.Helper()
	now := s.variants(t)
	_, putNow := s.files(t)
	kept := 0
	for key, v := range rows {
		if v.State != table.StateMade || !which(v) {
			continue
		}
		kept++
		if now[key] != v || !putNow[v.BlobKey].Equal(put[v.BlobKey]) {
			t.Errorf("%s was written again at %v: %+v", v.BlobKey, putNow[v.BlobKey], now[key])
		}
	}
	if kept == 0 {
		t.Error("nothing was to be kept")
	}
}

// TestDeriveGoesOnWhereItWasCut takes the bucket away in the middle of a job.
func TestDeriveGoesOnWhereItWasCut(t *testing.T) {
	s := newStudio(t)
	good := s.fill(t)
	target, err := url.Parse(s.bucket.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	var puts atomic.Int64
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL.Scheme, r.Out.URL.Host = target.Scheme, target.Host // the host that was signed stays
	}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut && puts.Add(1) > 3 {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	defer server.Close()
	if _, _, err := s.derive(t, func(d *pipelines.Derive) { d.From, d.S3.Endpoint = noon, server.URL }); err == nil {
		t.Fatal("the job did not fail")
	}
	rows := s.variants(t)
	_, put := s.files(t)
	made := 0
	for _, v := range rows {
		if v.State == table.StateMade {
			made++
		}
	}
	if made == 0 || made > 3 {
		t.Fatalf("%d variants were made by 3 puts", made)
	}
	report, _ := s.report(t, func(d *pipelines.Derive) { d.From = noon })
	s.checkReport(t, report, len(good)+3, 2*len(good)-made, made)
	s.checkMade(t, good)
	s.checkKept(t, rows, put, func(table.Variant) bool { return true })
}

func TestADryRunWritesNothingAndEstimates(t *testing.T) {
	s := newStudio(t)
	good := s.fill(t)
	dry := func(d *pipelines.Derive) { d.From, d.DryRun, d.MaxShare = noon, true, 0.5 }
	report, err := s.report(t, dry)
	if err == nil {
		t.Error("three images that cannot be derived are no error")
	}
	for _, want := range []string{
		fmt.Sprintf("images to derive %d", len(good)), fmt.Sprintf("variants to make %d", 2*len(good)), "variants current 0",
		fmt.Sprintf("images in the sample %d", len(good)), "bytes to write, about ", "images failed: truncated 1",
	} {
		if !strings.Contains(report, want) {
			t.Errorf("the report lacks %q:\n%s", want, report)
		}
	}
	if files, _ := s.files(t); len(files)+len(s.variants(t))+len(s.rejected(t)) > 0 {
		t.Errorf("it wrote %v, %v, %v", files, s.variants(t), s.rejected(t))
	}
	want := 0
	if _, err := s.report(t, func(d *pipelines.Derive) { d.From = noon }); err == nil {
		t.Error("no error")
	}
	for _, v := range s.variants(t) {
		want += int(v.Bytes)
	}
	if !strings.Contains(report, fmt.Sprintf("bytes to write, about %d", want)) { // the sample was all of them
		t.Errorf("%d bytes were written:\n%s", want, report)
	}
}

// Workers elsewhere have what they have.
func TestAnEngineThatIsNotHereIsRefusedHere(t *testing.T) {
	s := newStudio(t)
	_, _, err := s.derive(t, func(d *pipelines.Derive) {
		d.Choice = engine.Choice{Engine: engine.Auto, Libvips: t.TempDir()}
		if err := d.Check(t.Context(), true); err == nil || !strings.Contains(err.Error(), "--libvips "+d.Libvips+": ") {
			t.Errorf("here: %v", err)
		}
		if err := d.Check(t.Context(), false); err != nil {
			t.Errorf("elsewhere: %v", err)
		}
		d.Choice = engine.Choice{Engine: engine.Go}
	})
	if err != nil {
		t.Error(err)
	}
}

func TestDeriveValidateNamesTheFlag(t *testing.T) {
	path := filepath.Join(t.TempDir(), "recipe.yaml")
	if err := os.WriteFile(path, []byte(twoSizes), 0o600); err != nil {
		t.Fatal(err)
	}
	for flag, spoil := range map[string]func(*pipelines.Derive){
		"--recipe: needs":         func(d *pipelines.Derive) { d.Recipe = "" },
		"--recipe: read recipe":   func(d *pipelines.Derive) { d.Recipe += ".none" },
		"--max-pixels":            func(d *pipelines.Derive) { d.MaxPixels = 0 },
		"--max-bytes":             func(d *pipelines.Derive) { d.MaxBytes = 0 },
		"--max-share":             func(d *pipelines.Derive) { d.MaxShare = 1.5 },
		"--from: must be before":  func(d *pipelines.Derive) { d.From, d.To = noon, noon },
		"--s3-":                   func(d *pipelines.Derive) { d.S3.Bucket = "" },
		"--kafka":                 func(d *pipelines.Derive) { d.Kafka = nil },
		"--rejected-topic: needs": func(d *pipelines.Derive) { d.RejectedTopic = "" },
	} {
		d := &pipelines.Derive{Recipe: path, Ends: pipelines.Ends{S3: bucket}}
		if err := kong.ApplyDefaults(d); err != nil {
			t.Fatal(err)
		}
		if err := d.Validate(); err != nil {
			t.Fatal(err)
		}
		spoil(d)
		if err := d.Validate(); err == nil || !strings.Contains(err.Error(), flag) {
			t.Errorf("%s: error %v", flag, err)
		}
	}
}
