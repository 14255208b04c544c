package ingest_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"image"
	"image/jpeg"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"darkroom/ingest"
	"darkroom/internal/blob"
	"darkroom/internal/event"
	"darkroom/internal/local"
	"darkroom/internal/pixels/engine"
	"darkroom/internal/pixels/pool"
	"darkroom/internal/service"
	"darkroom/internal/table"
)

// gateway is the one S3 gateway that a process can have; each rig has a bucket of its own. It is started when a test
// needs it, so that it does not disturb the fuzzing of what does not.
var gateway = sync.OnceValue(func() *local.S3 {
	dir, err := os.MkdirTemp("", "ingest-test")
	if err != nil {
		panic(err)
	}
	objects = filepath.Join(dir, "objects")
	g, err := local.StartS3(context.Background(), local.S3Options{Dir: dir})
	if err != nil {
		panic(err)
	}
	stopGateway = func() error { return errors.Join(g.Close(), os.RemoveAll(dir)) }
	return g
})

var (
	stopGateway = func() error { return nil }
	objects     string // the gateway's folder: DIR/BUCKET/KEY
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "pixels-child" { // a pool has started it
		if pool.Serve(engine.Open) != nil {
			os.Exit(1)
		}
		return
	}
	flag.Parse()
	err := flag.Set("test.parallel", "16") // the parallel tests wait more than they work
	code := m.Run()
	if err = errors.Join(err, stopGateway()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// rig is a service with what it needs around it.
type rig struct {
	t      testing.TB
	cfg    ingest.Config
	store  blob.Config // as the service sees it
	blobs  *blob.Store // straight to S3
	tables table.Store
	kafka  *kfake.Cluster
	log    *slog.Logger
}

var buckets atomic.Int64

// newRig has S3 and Kafka, and settings that make tests short.
func newRig(t testing.TB) *rig {
	t.Helper()
	c := gateway().Config(fmt.Sprintf("ingest-%d", buckets.Add(1)))
	r := &rig{t: t, store: c, blobs: open(t, c), cfg: ingest.DefaultConfig(), log: slog.New(slog.DiscardHandler)}
	must(t, r.blobs.EnsureBucket(t.Context()))
	var err error
	r.kafka, err = kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(4, event.TopicImages))
	must(t, err)
	t.Cleanup(r.kafka.Close)
	r.cfg.Brokers = r.kafka.ListenAddrs()
	r.cfg.SweepEvery = 50 * time.Millisecond
	r.cfg.Variants.Engine = "go" // which every machine has
	return r
}

func open(t testing.TB, c blob.Config) *blob.Store {
	t.Helper()
	s, err := blob.Open(context.Background(), c)
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

// server is a running service.
type server struct {
	*rig
	url  string
	stop func() // ends it in good order
}

// start runs a service until the test ends.
func (r *rig) start() *server {
	r.t.Helper()
	svc, reg := r.service()
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- svc.Run(ctx) }()
	s := r.serve(svc.Handler())
	stopped := false
	s.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		must(r.t, <-ran)
		must(r.t, svc.Close())
	}
	r.t.Cleanup(s.stop)
	_ = reg
	return s
}

// service makes a service that does not run: it has no sweeper.
func (r *rig) service() (*ingest.Service, *prometheus.Registry) {
	r.t.Helper()
	reg := service.NewRegistry()
	svc, err := ingest.New(r.cfg, open(r.t, r.store), r.tables, r.log, reg)
	must(r.t, err)
	return svc, reg
}

func (r *rig) serve(h http.Handler) *server {
	ts := httptest.NewServer(h)
	r.t.Cleanup(ts.Close)
	return &server{rig: r, url: ts.URL}
}

// answer is an answer of the service.
type answer struct {
	status int
	header http.Header
	body   []byte
}

type stored struct {
	ID         string
	SHA256     string
	Bytes      int64
	State      string
	UploadedAt time.Time `json:"uploaded_at"`
}

func (a answer) upload(t testing.TB) stored {
	t.Helper()
	if a.status != http.StatusCreated {
		t.Fatalf("upload: %s", a)
	}
	return decode[stored](t, a)
}

func (a answer) String() string { return fmt.Sprintf("status %d, %.300s", a.status, a.body) }

// problem returns the slug of the problem that the answer is.
func (a answer) problem() string {
	var p service.Problem
	isProblem := a.header.Get("Content-Type") == "application/problem+json"
	if !isProblem || json.Unmarshal(a.body, &p) != nil || p.Status != a.status {
		return ""
	}
	return strings.TrimPrefix(p.Type, "urn:darkroom:problem:")
}

func (a answer) replayed() bool { return a.header.Get("Idempotency-Replayed") == "true" }

func decode[T any](t testing.TB, a answer) (v T) {
	t.Helper()
	if err := json.Unmarshal(a.body, &v); err != nil {
		t.Fatalf("%v in %s", err, a)
	}
	return v
}

// send sends a request; headers are pairs.
func (s *server) send(method, path string, body io.Reader, headers ...string) answer {
	s.t.Helper()
	req, err := http.NewRequest(method, s.url+path, body)
	must(s.t, err)
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	a, err := s.do(req)
	must(s.t, err)
	return a
}

// do sends a request and holds the answer against the contract.
func (s *server) do(req *http.Request) (answer, error) {
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return answer{}, err
	}
	a := answer{res.StatusCode, res.Header, body}
	if err := conforms(req, a); err != nil {
		s.t.Errorf("%s %s: %s: %v", req.Method, req.URL.Path, a, err)
	}
	return a, nil
}

func (s *server) post(body []byte, headers ...string) answer {
	s.t.Helper()
	return s.send(http.MethodPost, "/v1/images", bytes.NewReader(body), headers...)
}

func (s *server) get(path string, headers ...string) answer {
	s.t.Helper()
	return s.send(http.MethodGet, path, nil, headers...)
}

// metric returns the value of a metric, or -1.
func (s *server) metric(name string) float64 {
	s.t.Helper()
	for line := range strings.Lines(string(s.get("/metrics").body)) {
		if v, ok := strings.CutPrefix(line, name+" "); ok {
			var f float64
			_, err := fmt.Sscan(v, &f)
			must(s.t, err)
			return f
		}
	}
	return -1
}

// published returns every event on the topic, in its order by partition, also repeated ones.
func (r *rig) published() (events []event.Event) {
	r.t.Helper()
	return readEvents(r.t, r.cfg.Brokers)
}

func readEvents(t testing.TB, brokers []string) (events []event.Event) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(event.TopicImages),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(10*time.Millisecond))
	must(t, err)
	defer cl.Close()
	want := ends(t, cl)
	for int64(len(events)) < want {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		fetches := cl.PollFetches(ctx)
		cancel()
		must(t, fetches.Err())
		fetches.EachRecord(func(rec *kgo.Record) {
			e, err := event.Decode(rec.Value)
			must(t, err)
			if string(rec.Key) != e.Image.ImageID || rec.Timestamp.UnixMilli() != e.Time.UnixMilli() {
				t.Errorf("event %s has the key %s and the time %v", e.ID, rec.Key, rec.Timestamp)
			}
			events = append(events, e)
		})
	}
	return events
}

// ends returns how many records the topic has.
func ends(t testing.TB, cl *kgo.Client) (n int64) {
	t.Helper()
	offsets, err := kadm.NewClient(cl).ListEndOffsets(context.Background(), event.TopicImages)
	must(t, err)
	offsets.Each(func(o kadm.ListedOffset) { n += o.Offset })
	return n
}

// eventIDs returns the distinct ids of what was published.
func (r *rig) eventIDs() map[string]int {
	ids := map[string]int{}
	for _, e := range r.published() {
		ids[e.ID]++
	}
	return ids
}

// keys lists the bucket, but for the prefixes to leave out.
func (r *rig) keys(but ...string) (keys []string) {
	r.t.Helper()
list:
	for info, err := range r.blobs.List(context.Background(), "") {
		must(r.t, err)
		for _, p := range but {
			if strings.HasPrefix(info.Key, p) {
				continue list
			}
		}
		keys = append(keys, info.Key)
	}
	return keys
}

// eventually waits until check returns nil.
func eventually(t testing.TB, check func() error) {
	t.Helper()
	err := errors.New("not checked")
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}
	t.Fatal(err)
}

// settled waits until nothing is left in the journal and beside it.
func (r *rig) settled() {
	r.t.Helper()
	eventually(r.t, func() error {
		if left := r.keys("_records/", "default/", "other/"); len(left) > 0 {
			return fmt.Errorf("left over: %v", left)
		}
		return nil
	})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// photo is a small JPEG that is unlike that of any other number.
func photo(n int) []byte {
	img := image.NewGray(image.Rect(0, 0, 16, 16))
	img.Pix[n&255] = 200
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, nil); err != nil {
		panic(err)
	}
	return binary.BigEndian.AppendUint64(b.Bytes(), uint64(n))
}

// big is a JPEG's beginning with bytes behind it, size in all.
func big(n, size int) []byte {
	b := make([]byte, size)
	copy(b, photo(n))
	return b
}
