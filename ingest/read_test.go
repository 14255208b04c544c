package ingest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"strings"
	"testing"
	"time"

	"darkroom/ingest"
	"darkroom/internal/table"
)

// tables is a table store that has one row, or fails.
type tables struct {
	row table.Row
	err error
}

func (s *tables) Get(_ context.Context, name string, key table.Row) (table.Row, error) {
	if s.err != nil {
		return nil, s.err
	}
	if name != "image" || s.row == nil || s.row["image_id"] != key["image_id"] {
		return nil, fmt.Errorf("get: %w", table.ErrNotFound)
	}
	return s.row, nil
}

func (s *tables) Apply(context.Context, []table.Mutation) error { return errors.New("not here") }

func (s *tables) Scan(context.Context, table.Query) iter.Seq2[table.Row, error] {
	return func(yield func(table.Row, error) bool) {
		if s.err != nil {
			yield(nil, s.err)
		}
	}
}

func (s *tables) Ping(context.Context) error { return s.err }

func (s *tables) Close() error { return nil }

// known is what a GET of an image answers.
type known struct {
	ID, Tenant, State, Code, Detail, SHA256, Filename, Format, Camera string
	Bytes, Width, Height, Frames, Orientation                         int64
	MediaType                                                         string    `json:"media_type"`
	TakenAt                                                           string    `json:"taken_at"`
	UploadedAt                                                        time.Time `json:"uploaded_at"`
	FactsAvailable                                                    bool      `json:"facts_available"`
}

func TestFactsAndStates(t *testing.T) {
	r := newRig(t)
	store := &tables{}
	r.tables = store
	s := r.start()
	img := s.post(photo(1), "Content-Disposition", "attachment; filename=a.jpg").upload(t)
	stored := known{
		ID: img.ID, Tenant: "default", State: "stored", SHA256: img.SHA256, Filename: "a.jpg", Bytes: img.Bytes,
		MediaType: "image/jpeg", UploadedAt: img.UploadedAt, FactsAvailable: true,
	}
	analysed, rejected, unknown := stored, stored, stored
	analysed.State, analysed.Format, analysed.Width, analysed.Height = "analysed", "jpeg", 16, 12
	analysed.Frames, analysed.Orientation, analysed.Camera, analysed.TakenAt = 1, 6, "Canon EOS 5D", "2020-01-02T03:04:05"
	rejected.State, rejected.Code, rejected.Detail = "rejected", "truncated", "The image was cut."
	unknown.FactsAvailable = false
	row := table.Image{ImageID: img.ID, Version: img.UploadedAt.UnixMicro()}
	facts, refused, deleted := row, row, row
	facts.State, facts.Format, facts.Width, facts.Height = table.StateAnalysed, "jpeg", 16, 12
	facts.Frames, facts.Orientation, facts.Camera, facts.TakenAt = 1, 6, "Canon EOS 5D", "2020-01-02T03:04:05"
	older := facts
	older.Version--
	refused.State, refused.Code, refused.Detail = table.StateRejected, "truncated", "The image was cut."
	deleted.State = table.StateDeleted
	for _, c := range []struct {
		name string
		row  *table.Image
		err  error
		want known
	}{
		{"no row yet", nil, nil, stored},
		{"analysed", &facts, nil, analysed},
		{"rejected", &refused, nil, rejected},
		{"facts of an earlier upload", &older, nil, stored},
		{"deletion that was overtaken", &deleted, nil, stored},
		{"store away", &facts, errors.New("connection refused"), unknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			store.row, store.err = nil, c.err
			if c.row != nil {
				store.row = table.Images.Mutation(*c.row).Row
			}
			a := s.get("/v1/images/" + img.ID)
			if got := decode[known](t, a); a.status != 200 || got != c.want {
				t.Errorf("%s\nwant %+v", a, c.want)
			}
			if cc := a.header.Get("Cache-Control"); cc != "no-store" {
				t.Errorf("Cache-Control is %q", cc)
			}
		})
	}
	store.row = table.Row{"image_id": img.ID, "width": "wide"}
	if a := s.get("/v1/images/" + img.ID); decode[known](t, a) != unknown {
		t.Errorf("a row that cannot be read: %s", a)
	}
}

func TestWithoutATableStoreThereAreNoFacts(t *testing.T) {
	s := newRig(t).start()
	img := s.post(photo(1)).upload(t)
	if got := decode[known](t, s.get("/v1/images/"+img.ID)); got.State != "stored" || got.FactsAvailable {
		t.Errorf("%+v", got)
	}
}

func TestContent(t *testing.T) {
	s := newRig(t).start()
	body := big(1, 100_000)
	img := s.post(body, "Content-Disposition", `attachment; filename="sea.jpg"`).upload(t)
	path, etag := "/v1/images/"+img.ID+"/content", `"`+img.SHA256+`"`
	for _, c := range []struct {
		name    string
		headers []string
		status  int
		from    int
		to      int
	}{
		{"all", nil, 200, 0, 100_000},
		{"first bytes", []string{"Range", "bytes=0-9"}, 206, 0, 10},
		{"middle", []string{"Range", "bytes=5000-5999"}, 206, 5000, 6000},
		{"to the end", []string{"Range", "bytes=99990-"}, 206, 99_990, 100_000},
		{"last bytes", []string{"Range", "bytes=-10"}, 206, 99_990, 100_000},
		{"more than all of the last", []string{"Range", "bytes=-200000"}, 206, 0, 100_000},
		{"beyond the end", []string{"Range", "Bytes=99999-200000"}, 206, 99_999, 100_000},
		{"far beyond", []string{"Range", "bytes=1-99999999999999999999"}, 206, 1, 100_000},
		{"behind the end", []string{"Range", "bytes=100000-"}, 416, 0, 0},
		{"no last bytes", []string{"Range", "bytes=-0"}, 416, 0, 0},
		{"several ranges", []string{"Range", "bytes=0-1,5-6"}, 200, 0, 100_000},
		{"another unit", []string{"Range", "lines=1-2"}, 200, 0, 100_000},
		{"backwards", []string{"Range", "bytes=9-1"}, 200, 0, 100_000},
		{"nonsense", []string{"Range", "bytes=a-b"}, 200, 0, 100_000},
		{"no range", []string{"Range", "bytes=-"}, 200, 0, 100_000},
		{"If-Range of these bytes", []string{"Range", "bytes=0-9", "If-Range", etag}, 206, 0, 10},
		{"If-Range of others", []string{"Range", "bytes=0-9", "If-Range", `"x"`}, 200, 0, 100_000},
		{"If-Range of a date", []string{"Range", "bytes=0-9", "If-Range", "Sat, 01 Jan 2050 00:00:00 GMT"}, 200, 0, 100_000},
		{"If-None-Match", []string{"If-None-Match", etag}, 304, 0, 0},
		{"If-None-Match, weak, among others", []string{"If-None-Match", `"x", W/` + etag}, 304, 0, 0},
		{"If-None-Match, star", []string{"If-None-Match", "*"}, 304, 0, 0},
		{"If-None-Match of others", []string{"If-None-Match", `"x"`}, 200, 0, 100_000},
		{"If-None-Match, behind the end", []string{"If-None-Match", etag, "Range", "bytes=100000-"}, 304, 0, 0},
		{"If-Match", []string{"If-Match", `"x", ` + etag}, 200, 0, 100_000},
		{"If-Match, star", []string{"If-Match", "*"}, 200, 0, 100_000},
		{"If-Match of others", []string{"If-Match", `"x"`}, 412, 0, 0},
		{"If-Match, weak", []string{"If-Match", "W/" + etag}, 412, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := s.get(path, c.headers...)
			if a.status != c.status {
				t.Fatalf("status %d, want %d", a.status, c.status)
			}
			head := s.send("HEAD", path, nil, c.headers...)
			want := map[int]int{206: 200, 416: 200}[c.status]
			if want == 0 {
				want = c.status
			}
			if head.status != want || len(head.body) > 0 {
				t.Errorf("HEAD: %s, want status %d", head, want)
			}
			switch c.status {
			case 200, 206:
				if !bytes.Equal(a.body, body[c.from:c.to]) {
					t.Errorf("%d bytes, want those from %d to %d", len(a.body), c.from, c.to)
				}
			case 416:
				if a.header.Get("Content-Range") != "bytes */100000" || a.problem() != "invalid-range" {
					t.Errorf("%s %v", a, a.header)
				}
			}
			if c.status == 206 && a.header.Get("Content-Range") != fmt.Sprintf("bytes %d-%d/100000", c.from, c.to-1) {
				t.Errorf("Content-Range is %q", a.header.Get("Content-Range"))
			}
		})
	}
	for _, method := range []string{"GET", "HEAD"} {
		h := s.send(method, path, nil).header
		for name, want := range map[string]string{
			"Content-Type": "image/jpeg", "Content-Length": "100000", "ETag": etag, "X-Content-Type-Options": "nosniff",
			"Accept-Ranges": "bytes", "Content-Disposition": "inline; filename=sea.jpg",
			"Content-Security-Policy": "sandbox; default-src 'none'", "Cache-Control": "private, no-cache",
		} {
			if h.Get(name) != want {
				t.Errorf("%s: %s is %q, want %q", method, name, h.Get(name), want)
			}
		}
	}
}

// TestConditionsOnSeveralLinesAreOneList is RFC 9110, section 5.3.
func TestConditionsOnSeveralLinesAreOneList(t *testing.T) {
	s := newRig(t).start()
	img := s.post(photo(1)).upload(t)
	etag := `"` + img.SHA256 + `"`
	for _, c := range []struct {
		header string
		lines  []string
		status int
	}{
		{"If-None-Match", []string{`"x"`, "W/" + etag}, 304},
		{"If-None-Match", []string{`"x"`, `"y"`}, 200},
		{"If-Match", []string{`"x"`, etag}, 200},
		{"If-Match", []string{`"x"`, `"y"`}, 412},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			req, err := http.NewRequest(method, s.url+"/v1/images/"+img.ID+"/content", nil)
			must(t, err)
			req.Header[c.header] = c.lines
			if a, err := s.do(req); err != nil || a.status != c.status {
				t.Errorf("%s %s %v: %s, %v", method, c.header, c.lines, a, err)
			}
		}
	}
}

func TestContentThatIsLostIsNoSuccess(t *testing.T) {
	s := newRig(t).start()
	img := s.post(photo(1)).upload(t)
	key := "default/" + img.SHA256
	for name, lose := range map[string]func(){
		"missing": func() { must(t, s.blobs.Delete(t.Context(), key)) },
		"cut":     func() { s.putObject(key, photo(1)[:100]) },
	} {
		lose()
		for _, method := range []string{"GET", "HEAD"} {
			if a := s.send(method, "/v1/images/"+img.ID+"/content", nil); a.status != 500 {
				t.Errorf("%s, %s: %s", name, method, a)
			}
		}
	}
}

func TestSizesAreRead(t *testing.T) {
	for text, want := range map[string]ingest.Size{"800": {Width: 800}, "300x200": {Width: 300, Height: 200}, "x200": {Height: 200}} {
		var got ingest.Size
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want || got.String() != text {
			t.Errorf("%s is %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "x", "0", "0x1", "1x", "-1", "1x2x3", "100000", " 1"} {
		if err := new(ingest.Size).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is a size", text)
		}
	}
}

func TestConfigNamesWhatIsWrong(t *testing.T) {
	good := ingest.DefaultConfig()
	good.Brokers = []string{"127.0.0.1:9092"}
	must(t, good.Validate())
	for field, spoil := range map[string]func(*ingest.Config){
		"Brokers":       func(c *ingest.Config) { c.Brokers = nil },
		"MaxBytes\n":    func(c *ingest.Config) { c.MaxBytes = 5<<30 + 1 },
		"MaxBytes":      func(c *ingest.Config) { c.MaxBytes = 0 },
		"SweepAfter":    func(c *ingest.Config) { c.SweepAfter = 0 },
		"SweepEvery":    func(c *ingest.Config) { c.SweepEvery = -1 },
		"LeftoverAfter": func(c *ingest.Config) { c.LeftoverAfter = 0 },
		"LeaseFor":      func(c *ingest.Config) { c.LeaseFor = 0 },
		"StallAfter":    func(c *ingest.Config) { c.StallAfter = 0 },
		"KafkaWait":     func(c *ingest.Config) { c.KafkaWait = 0 },

		"RequireSignature":   func(c *ingest.Config) { c.RequireSignature = true },
		"Variants.Processes": func(c *ingest.Config) { c.Variants.Processes = 0 },
		"Variants.Waiting":   func(c *ingest.Config) { c.Variants.Waiting = -1 },
		"Variants.Timeout":   func(c *ingest.Config) { c.Variants.Timeout = 0 },
		"Variants.MaxPixels": func(c *ingest.Config) { c.Variants.MaxPixels = 0 },
		"Variants.MaxSide":   func(c *ingest.Config) { c.Variants.MaxSide = 20_000 },
		"Variants.Sizes":     func(c *ingest.Config) { c.Variants.Sizes = []ingest.Size{{Width: 5000}} },
	} {
		c := good
		spoil(&c)
		if err := c.Validate(); err == nil || !bytes.HasPrefix([]byte(err.Error()), []byte(strings.TrimSpace(field)+" ")) {
			t.Errorf("%s: %v", field, err)
		}
		if _, err := ingest.New(c, nil, nil, nil, nil); err == nil {
			t.Errorf("%s: New takes it", field)
		}
	}
}
