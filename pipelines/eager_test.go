package pipelines_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/testing/ptest"

	"darkroom/internal/blob"
	"darkroom/internal/deadletter"
	"darkroom/internal/event"
	"darkroom/internal/table"
	"darkroom/pipelines"
)

const oneMore = `name: more
select: {tenants: [default], to: 2026-01-01T12:01:00Z}
outputs:
  - {name: tiny, width: 16, format: jpeg}
`

// arrives does what an upload does.
func (s *studio) arrives(t *testing.T, name string, body []byte, at time.Time) event.Image {
	t.Helper()
	sum := sha256.Sum256(body)
	i := event.Image{
		ImageID: idOf(name), Tenant: "default", SHA256: hex.EncodeToString(sum[:]), Bytes: int64(len(body)), UploadedAt: at,
	}
	if _, err := s.blobs.Put(t.Context(), i.BlobKey(), body, blob.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	s.produce(t, event.NewUploaded(i))
	return i
}

// eager makes the live pipeline derive by both recipes.
func (s *studio) eager(t *testing.T) func(*pipelines.Live) {
	t.Helper()
	second := filepath.Join(t.TempDir(), "more.yaml")
	if err := os.WriteFile(second, []byte(oneMore), 0o600); err != nil {
		t.Fatal(err)
	}
	return func(l *pipelines.Live) {
		l.S3, l.Engine, l.Eager = s.bucket, "go", []string{s.recipe, second}
	}
}

// states are what became of the variants, as "image recipe/output state".
func (s *studio) states(t *testing.T) (all []string) {
	t.Helper()
	for key, v := range s.variants(t) {
		all = append(all, key+" "+v.State)
	}
	slices.Sort(all)
	return all
}

func (s *studio) waiting(t *testing.T) (letters []string) {
	t.Helper()
	_, all := s.letters(t)
	for _, l := range (deadletter.Filter{}).Of(all, 0) {
		letters = append(letters, fmt.Sprintf("%s %s %s %d", l.Key, l.Stage, l.Code, l.Replays))
	}
	slices.Sort(letters)
	return letters
}

func equal(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestLiveDerivesAsImagesArrive runs the topic twice, the second time as after a restart, then again with a limit that
// refused an image raised, before its letters are replayed and after.
func TestLiveDerivesAsImagesArrive(t *testing.T) {
	s := newStudio(t)
	eager := s.eager(t)
	jpeg := readFile(t, photos[0])
	good, late, large := idOf("good"), idOf("late"), idOf("large")
	s.arrives(t, "good", jpeg, noon)
	s.arrives(t, "late", jpeg, noon.Add(2*time.Minute)) // for the second recipe
	s.arrives(t, "cut", jpeg[:len(jpeg)/2], noon)
	s.arrives(t, "large", append(slices.Clone(jpeg), make([]byte, 100)...), noon)
	deleted := s.arrives(t, "deleted", jpeg, noon)
	s.delete(t, deleted, noon.Add(time.Second))
	limited := func(l *pipelines.Live) {
		eager(l)
		l.MaxBytes = int64(len(jpeg))
	}
	made := func(id string, names ...string) (rows []string) {
		for _, n := range names {
			rows = append(rows, id+" "+n+" "+table.StateMade)
		}
		return rows
	}
	whole := append(made(good, "two/large", "two/small", "more/tiny"), made(late, "two/large", "two/small")...)
	refused := []string{
		large + " two/large " + table.StateFailed, large + " two/small " + table.StateFailed, large + " more/tiny " + table.StateFailed,
	}
	letters := func(n int) []string {
		letter := fmt.Sprintf("%s derive too-large %d", large, n)
		return []string{letter, letter, fmt.Sprintf("%s analyze truncated %d", idOf("cut"), n)}
	}
	s.run(t, limited)
	equal(t, "variants", s.states(t), append(refused, whole...)...)
	equal(t, "letters", s.waiting(t), letters(0)...)
	figures, rows := s.figures(t), s.variants(t)
	_, put := s.files(t)

	s.run(t, limited)
	s.checkKept(t, rows, put, func(table.Variant) bool { return true })
	equal(t, "letters of a second run", s.waiting(t), letters(0)...)
	equal(t, "figures of a second run", s.figures(t), figures...)

	s.replay(t)
	s.run(t, limited)
	equal(t, "letters of a replay in vain", s.waiting(t), letters(1)...)
	s.replay(t)
	s.run(t, eager)
	equal(t, "letters of a replay", s.waiting(t), fmt.Sprintf("%s analyze truncated 2", idOf("cut")))
	equal(t, "variants", s.states(t), append(made(large, "two/large", "two/small", "more/tiny"), whole...)...)
	s.checkKept(t, rows, put, func(table.Variant) bool { return true })
	for _, f := range s.figures(t) {
		if strings.HasPrefix(f, "12:00") && !strings.HasPrefix(f, "12:00 images=3 rejected=1") {
			t.Errorf("figures: %s", f)
		}
	}
}

// TestFiguresDoNotWaitForDeriving keeps every variant from the bucket while images arrive, each in a bundle of its own,
// and more of them than Prism works on side by side.
func TestFiguresDoNotWaitForDeriving(t *testing.T) {
	s := newStudio(t)
	target, err := url.Parse(s.bucket.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	held := make(chan struct{})
	release := sync.OnceFunc(func() { close(held) })
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL.Scheme, r.Out.URL.Host = target.Scheme, target.Host // the host that was signed stays
	}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/_variants/") {
			<-held
		}
		proxy.ServeHTTP(w, r)
	}))
	defer server.Close()
	defer release()
	l := newLive(t, s.dsn)
	s.eager(t)(l)
	l.S3.Endpoint, l.Kafka = server.URL, s.brokers
	if err := l.Validate(); err != nil {
		t.Fatal(err)
	}
	p, scope := beam.NewPipelineWithRoot()
	l.Build(scope)
	ended := make(chan error, 1)
	go func() { ended <- ptest.Run(p) }()

	jpeg := readFile(t, photos[0])
	const images = 12
	for n := range images {
		i := s.arrives(t, fmt.Sprint(n), jpeg, noon.Add(time.Duration(n)*time.Second))
		within(t, func() error {
			if _, err := s.tables.Get(t.Context(), "image", table.Row{"image_id": i.ImageID}); err != nil {
				return fmt.Errorf("get image %d: %w", n, err)
			}
			return nil
		})
	}
	if rows := s.variants(t); len(rows) != 0 {
		t.Errorf("%d variants came through", len(rows))
	}
	release()
	within(t, func() error {
		if rows := s.variants(t); len(rows) != 3*images {
			return fmt.Errorf("%d variants of %d images", len(rows), images)
		}
		return nil
	})
	if err := l.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// within waits until check returns nil.
func within(t *testing.T, check func() error) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

func TestEagerRecipesAreChecked(t *testing.T) {
	s := newStudio(t)
	for want, paths := range map[string][]string{
		"--eager: read recipe":              {s.recipe + ".none"},
		"there are two of the name two":     {s.recipe, s.recipe},
		"--max-share: must be more than 0":  nil,
		"--max-bytes: must be positive":     nil,
		"--eager: read recipe " + photos[0]: {photos[0]},
	} {
		l := newLive(t, "tcp://127.0.0.1:1")
		if l.Eager = paths; paths == nil {
			l.MaxShare, l.MaxBytes = 2, 0
		}
		if err := l.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v", want, err)
		}
	}
}
