package ingest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	_ "image/jpeg"
	_ "image/png"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"darkroom/ingest"
	"darkroom/internal/blob"
	"darkroom/internal/signedurl"
	"darkroom/internal/table"
	"darkroom/internal/table/embedded"
)

// photograph is one of testdata/photos.
func photograph(t testing.TB, name string) []byte {
	t.Helper()
	_, here, _, _ := runtime.Caller(0) // the gateway has changed the working directory
	data, err := os.ReadFile(filepath.Join(filepath.Dir(here), "../testdata/photos", name))
	must(t, err)
	return data
}

// withTable gives the rig an empty table store.
func (r *rig) withTable() *rig {
	r.t.Helper()
	store, err := embedded.Open(context.Background(), r.t.TempDir(), embedded.Options{Logger: r.log})
	must(r.t, err)
	r.t.Cleanup(func() { must(r.t, store.Close()) })
	r.tables = store
	return r
}

func (s *server) variants(result string) float64 {
	s.t.Helper()
	return s.metric(`darkroom_ingest_variants_total{result="` + result + `"}`)
}

// sized is the size and format of the image that an answer is.
func (a answer) sized(t testing.TB) (string, image.Point) {
	t.Helper()
	if a.status != 200 {
		t.Fatal(a)
	}
	c, format, err := image.DecodeConfig(bytes.NewReader(a.body))
	must(t, err)
	return format, image.Pt(c.Width, c.Height)
}

// originalHeld holds what reads the original of an image.
func originalHeld(sha *string, reads *int) func(int, *http.Request) fault {
	return func(_ int, r *http.Request) fault {
		if r.Method == http.MethodGet && *sha != "" && strings.HasSuffix(r.URL.Path, "/"+*sha) {
			*reads++
			return hold
		}
		return pass
	}
}

func TestAVariantIsMadeStoredAndServed(t *testing.T) {
	for name, tables := range map[string]func(*rig){
		"with a table":      func(r *rig) { r.withTable() },
		"without a table":   func(*rig) {},
		"the table is away": func(r *rig) { r.tables = &tables{err: errors.New("connection refused")} },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			tables(r)
			s := r.start()
			img := s.post(photograph(t, "sunset.jpg"), "Content-Disposition", "attachment; filename=sea.view.jpeg").upload(t)
			path := "/v1/images/" + img.ID + "/content?w=400&format=jpeg&q=73"
			first := s.get(path)
			if format, size := first.sized(t); format != "jpeg" || size != image.Pt(400, 267) {
				t.Errorf("%s of %v", format, size)
			}
			for name, want := range map[string]string{
				"Content-Type": "image/jpeg", "Cache-Control": "private, no-cache", "Vary": "", "X-Content-Type-Options": "nosniff",
				"Content-Disposition": "inline; filename=sea.view.jpg", "Content-Security-Policy": "sandbox; default-src 'none'",
			} {
				if got := first.header.Get(name); got != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
			etag := first.header.Get("ETag")
			s.stop()

			s = r.start() // it knows nothing but what is stored
			for _, same := range []string{path, strings.Replace(path, "q=73", "q=77", 1) + "&fit=inside"} {
				if a := s.get(same); !bytes.Equal(a.body, first.body) || a.header.Get("ETag") != etag {
					t.Errorf("%s: %s, want the same", same, a)
				}
			}
			head := s.send("HEAD", path, nil)
			if head.status != 200 || head.header.Get("ETag") != etag || head.header.Get("Content-Length") != fmt.Sprint(len(first.body)) {
				t.Errorf("HEAD: %s %v", head, head.header)
			}
			if a := s.get(path, "If-None-Match", etag); a.status != 304 || a.header.Get("ETag") != etag {
				t.Errorf("If-None-Match: %s", a)
			}
			if a := s.get(path, "If-Match", `"x"`); a.problem() != "precondition-failed" {
				t.Errorf("If-Match: %s", a)
			}
			if a := s.get(path, "Range", "bytes=10-19"); a.status != 206 || !bytes.Equal(a.body, first.body[10:20]) {
				t.Errorf("Range: %s", a)
			}
			if made, stored := s.variants("made"), s.variants("stored"); made != 0 || stored != 6 {
				t.Errorf("%v made, %v stored", made, stored)
			}
			if s.send("DELETE", "/v1/images/"+img.ID, nil).status != 202 || s.get(path).problem() != "image-deleted" {
				t.Error("a variant outlives its image")
			}
		})
	}
}

func TestAVariantThatIsLostIsMadeAgain(t *testing.T) {
	r := newRig(t).withTable()
	s := r.start()
	img := s.post(photograph(t, "sunset.jpg")).upload(t)
	path := "/v1/images/" + img.ID + "/content?w=64&h=64&fit=cover&gravity=entropy&format=webp"
	first := s.get(path)
	for _, method := range []string{"GET", "HEAD"} {
		keys := r.keys("default/", "_records/", "_incoming/", "_journal/")
		if len(keys) != 1 || !strings.HasPrefix(keys[0], "_variants/default/"+img.ID+"/content/") {
			t.Fatalf("keys %q", keys)
		}
		must(t, r.blobs.Delete(t.Context(), keys...))
		if a := s.send(method, path, nil); a.status != 200 || a.header.Get("ETag") != first.header.Get("ETag") {
			t.Errorf("%s: %s", method, a)
		}
	}
	if made := s.variants("made"); made != 3 {
		t.Errorf("%v made", made)
	}
}

func TestAVariantOfARecipeIsServedIfItFits(t *testing.T) {
	r := newRig(t).withTable()
	s := r.start()
	img := s.post(photograph(t, "sunset.jpg")).upload(t) // 1024×683
	made := photo(7)                                     // anything that tells it apart
	_, err := r.blobs.Put(t.Context(), "_variants/x", made, blob.PutOptions{})
	must(t, err)
	row := table.Variant{
		ImageID: img.ID, Name: "sizes/w400", State: table.StateMade, BlobKey: "_variants/x", Format: "jpeg", Width: 400, Height: 267,
		Frames: 1, Bytes: int64(len(made)), Quality: 80, SHA256: strings.Repeat("ab", 32), SourceSHA256: img.SHA256, Version: 1,
		Plain: true,
	}
	cropped := row // or stretched: the row does not tell
	cropped.Name, cropped.Height = "sizes/crop", 250
	marked := row // with the metadata that a recipe keeps, or on its background
	marked.Name, marked.Width, marked.Height, marked.Plain = "sizes/marked", 300, 200, false
	facts := table.Image{
		ImageID: img.ID, State: table.StateAnalysed, Width: 1024, Height: 683, Orientation: 1, Version: img.UploadedAt.UnixMicro(),
	}
	must(t, r.tables.Apply(t.Context(), []table.Mutation{
		table.Variants.Mutation(row), table.Variants.Mutation(cropped), table.Variants.Mutation(marked), table.Images.Mutation(facts),
	}))
	for query, fits := range map[string]bool{
		"w=400&format=jpeg":                         true,
		"w=400&h=999&format=jpeg&q=80":              true,
		"h=267&format=jpeg":                         true,
		"w=400&h=267&fit=exact&format=jpeg":         true,
		"w=401&format=jpeg":                         false,
		"w=300&format=jpeg":                         false,
		"w=400&format=jpeg&q=70":                    false,
		"w=400&format=png":                          false,
		"w=400&h=300&fit=cover&format=jpeg":         false,
		"w=400&h=250&fit=exact&format=jpeg":         false,
		"w=400&h=250&fit=cover&format=jpeg":         false,
		"w=400&format=webp&animate=true":            false,
		"w=267&h=267&fit=cover&format=jpeg&q=80":    false,
		"w=400&h=267&fit=inside&format=jpeg&q=82.0": false,
	} {
		if a := s.get("/v1/images/" + img.ID + "/content?" + query); bytes.Equal(a.body, made) != fits {
			t.Errorf("%s: fits is %v, status %d", query, !fits, a.status)
		}
	}
	other := row
	other.SourceSHA256, other.Version = strings.Repeat("cd", 32), 2
	must(t, r.tables.Apply(t.Context(), []table.Mutation{table.Variants.Mutation(other)}))
	if a := s.get("/v1/images/" + img.ID + "/content?w=400&format=jpeg"); a.status != 200 || bytes.Equal(a.body, made) {
		t.Errorf("a variant of other bytes is served: %s", a)
	}
}

func TestManyRequestsForAMissingVariantMakeItOnce(t *testing.T) {
	r := newRig(t).withTable()
	sha, reads := "", 0
	p := r.behindProxy(originalHeld(&sha, &reads))
	s := r.start()
	img := s.post(photograph(t, "sunset.jpg")).upload(t)
	p.mu.Lock()
	sha = img.SHA256
	p.mu.Unlock()
	const many = 50
	path := "/v1/images/" + img.ID + "/content?w=200&format=jpeg"

	// Who asked first goes away.
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() {
		req, _ := http.NewRequestWithContext(ctx, "GET", s.url+path, nil)
		_, err := http.DefaultClient.Do(req)
		gone <- err
	}()
	eventually(t, func() error { return want(1, s.metric("darkroom_ingest_variants_making")) })
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	var wg sync.WaitGroup
	etags := make([]string, many)
	for i := range many {
		wg.Go(func() {
			req, _ := http.NewRequest("GET", s.url+path, nil)
			if a, err := s.do(req); err != nil || a.status != 200 {
				t.Errorf("%s, %v", a, err)
			} else {
				etags[i] = a.header.Get("ETag")
			}
		})
	}
	inFlight := `darkroom_http_requests_in_flight{service="ingest"}`
	eventually(t, func() error { return want(many+1, s.metric(inFlight)) }) // with that for the metric
	p.release()
	wg.Wait()
	for _, e := range etags {
		if e != etags[0] {
			t.Errorf("%s and %s", e, etags[0])
		}
	}
	if made, rest := s.variants("made"), s.variants("shared")+s.variants("stored"); made != 1 || rest != many || reads != 1 {
		t.Errorf("%v made, %v shared or stored, %d reads of the original", made, rest, reads)
	}
}

func want(want, got float64) error {
	if got != want {
		return fmt.Errorf("%v, want %v", got, want)
	}
	return nil
}

func TestWhatCannotWaitIsRefused(t *testing.T) {
	r := newRig(t).withTable()
	r.cfg.Variants.Processes, r.cfg.Variants.Waiting = 1, 1
	sha, reads := "", 0
	p := r.behindProxy(originalHeld(&sha, &reads))
	s := r.start()
	img := s.post(photograph(t, "sunset.jpg")).upload(t)
	p.mu.Lock()
	sha = img.SHA256
	p.mu.Unlock()
	path := "/v1/images/" + img.ID + "/content?format=jpeg&w="
	var wg sync.WaitGroup
	for _, w := range []string{"100", "101"} {
		wg.Go(func() {
			req, _ := http.NewRequest("GET", s.url+path+w, nil)
			if a, err := s.do(req); err != nil || a.status != 200 {
				t.Errorf("%s, %v", a, err)
			}
		})
	}
	eventually(t, func() error { return want(2, s.metric("darkroom_ingest_variants_making")) })
	if a := s.get(path + "102"); a.status != 503 || a.problem() != "too-busy" || a.header.Get("Retry-After") == "" {
		t.Errorf("%s %v", a, a.header)
	}
	p.release()
	wg.Wait()
	if a := s.get(path + "102"); a.status != 200 || s.variants("too-busy") != 1 {
		t.Errorf("%s; %v refused", a, s.variants("too-busy"))
	}
}

func TestMakingThatTakesTooLongIsRefused(t *testing.T) {
	r := newRig(t)
	r.cfg.Variants.Timeout = 100 * time.Millisecond
	sha, reads := "", 0
	p := r.behindProxy(originalHeld(&sha, &reads))
	s := r.start()
	img := s.post(photograph(t, "sunset.jpg")).upload(t)
	p.mu.Lock()
	sha = img.SHA256
	p.mu.Unlock()
	if a := s.get("/v1/images/" + img.ID + "/content?w=10"); a.problem() != "too-busy" || a.header.Get("Retry-After") == "" {
		t.Error(a)
	}
}

func TestAHostileImageIsAnErrorForItselfAlone(t *testing.T) {
	r := newRig(t).withTable()
	s := r.start()
	good := photograph(t, "sunset.jpg")
	cut := s.post(good[:len(good)/2]).upload(t)
	bomb := append([]byte("\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"), 0x40, 0, 0, 0, 0x40, 0, 0, 0, 8, 2, 0, 0, 0, 0, 0, 0, 0)
	huge := s.post(bomb).upload(t)
	for _, c := range []struct{ id, query, code string }{
		{cut.ID, "w=100", "truncated"}, {cut.ID, "w=100", "truncated"}, {cut.ID, "w=200&format=png", "truncated"},
		{huge.ID, "w=100", "malformed too-many-pixels"},
	} {
		a := s.get("/v1/images/" + c.id + "/content?" + c.query)
		code := decode[struct{ Code string }](t, a).Code
		if a.status != 422 || a.problem() != "not-derivable" || !strings.Contains(c.code, code) || code == "" {
			t.Errorf("%s %s: %s", c.id, c.query, a)
		}
	}
	if n := s.metric("darkroom_ingest_variant_seconds_count"); n != 2 {
		t.Errorf("two images that cannot be decoded were tried %v times", n)
	}
	if s.get("/v1/images/"+cut.ID+"/content").status != 200 {
		t.Error("the original is not sent")
	}
	s.get("/v1/images/" + s.post(good).upload(t).ID + "/content?w=100&format=jpeg").sized(t)
}

// panicking is a table store that none may write to.
type panicking struct{ table.Store }

func (panicking) Apply(context.Context, []table.Mutation) error { panic("on purpose") }

func TestAPanicEndsOneRequest(t *testing.T) {
	r := newRig(t).withTable()
	r.tables = panicking{r.tables}
	s := r.start()
	img := s.post(photo(1)).upload(t)
	for range 2 {
		if a := s.get("/v1/images/" + img.ID + "/content?w=8"); a.problem() != "internal" {
			t.Error(a)
		}
	}
}

func TestAnOldFailureIsTriedAgain(t *testing.T) {
	r := newRig(t).withTable()
	s := r.start()
	img := s.post(photograph(t, "sunset.jpg")).upload(t)
	for code, hours := range map[string]int{"malformed": 25, "decode-crash": 1, "resource-limit": 0, "blob-missing": 0} {
		row := table.Variant{
			ImageID: img.ID, Name: "other/" + code, State: table.StateFailed, Code: code, SourceSHA256: img.SHA256,
			Version: time.Now().Add(-time.Duration(hours) * time.Hour).UnixMicro(),
		}
		must(t, r.tables.Apply(t.Context(), []table.Mutation{table.Variants.Mutation(row)}))
	}
	s.get("/v1/images/" + img.ID + "/content?w=100&format=jpeg").sized(t)
	row := table.Variant{
		ImageID: img.ID, Name: "other/new", State: table.StateFailed, Code: "decode-crash", SourceSHA256: img.SHA256,
		Version: time.Now().UnixMicro(),
	}
	must(t, r.tables.Apply(t.Context(), []table.Mutation{table.Variants.Mutation(row)}))
	if a := s.get("/v1/images/" + img.ID + "/content?w=50&format=jpeg"); a.status != 422 {
		t.Errorf("an image that has just crashed a process is decoded: %s", a)
	}
}

func TestAcceptChoosesTheFormat(t *testing.T) {
	s := newRig(t).start()
	photo := s.post(photograph(t, "sunset.jpg")).upload(t)
	drawing := s.post(photograph(t, "wine.png")).upload(t)
	for _, c := range []struct{ id, query, accept, want string }{
		{photo.ID, "w=40", "", "image/jpeg"},
		{photo.ID, "w=40&format=auto", "*/*", "image/jpeg"},
		{photo.ID, "w=40&format=auto", "image/webp,*/*", "image/webp"},
		{drawing.ID, "w=40&format=auto", "*/*", "image/png"},
		{drawing.ID, "w=40&format=auto&animate=true", "*/*", "image/gif"},
	} {
		a := s.get("/v1/images/"+c.id+"/content?"+c.query, "Accept", c.accept)
		if a.status != 200 || a.header.Get("Content-Type") != c.want || a.header.Get("Vary") != "Accept" {
			t.Errorf("%+v: %s, %v", c, a.header.Get("Content-Type"), a.header)
		}
	}
	a := s.get("/v1/images/"+photo.ID+"/content?w=40", "Accept", "image/webp")
	if a = s.get("/v1/images/"+photo.ID+"/content?w=40", "Accept", "image/webp", "If-None-Match", a.header.Get("ETag")); a.status != 304 ||
		a.header.Get("Vary") != "Accept" {
		t.Errorf("%s %v", a, a.header)
	}
}

func TestAWrongQueryIsNamed(t *testing.T) {
	r := newRig(t)
	r.cfg.Variants.Sizes = []ingest.Size{{Width: 100}, {Width: 30, Height: 30}, {Height: 20}}
	s := r.start()
	img := s.post(photo(1)).upload(t)
	for query, want := range map[string]string{
		"width=100":                      "width",
		"w=100&w=100":                    "w",
		"w=100&expires=1&expires=2":      "expires",
		"w=0":                            "w",
		"w=-1":                           "w",
		"w=99999":                        "w",
		"w=x":                            "w",
		"w=":                             "w",
		"w=100&q=101":                    "q",
		"w=100&fit=fill":                 "fit",
		"w=100&fit=":                     "fit",
		"w=100&fit=cover":                "fit",
		"w=100&gravity=entropy":          "gravity",
		"w=100&format=tiff":              "format",
		"w=100&format=png&q=80":          "q",
		"w=100&format=jpeg&animate=true": "animate",
		"w=100&animate=1":                "animate",
		"w=100&tenant=A":                 "tenant",
		"w=101":                          "100, 30x30, x20",
		"w=100&h=100":                    "100, 30x30, x20",
		"format=png":                     "100, 30x30, x20",
		"w=100%zz":                       "",
	} {
		a := s.get("/v1/images/" + img.ID + "/content?" + query)
		if p := a.problem(); a.status != 400 || p == "" || !strings.Contains(string(a.body), want) {
			t.Errorf("%s: %s", query, a)
		}
	}
	for _, query := range []string{"w=100", "w=30&h=30&fit=cover", "h=20", ""} {
		if a := s.get("/v1/images/" + img.ID + "/content?" + query); a.status != 200 {
			t.Errorf("%s: %s", query, a)
		}
	}
	if a := s.get("/v1/images/"+img.ID+"/content?tenant=other", "Darkroom-Tenant", "default"); a.problem() != "invalid-parameter" {
		t.Errorf("two tenants: %s", a)
	}
}

func TestOnlySignedURLsAreServed(t *testing.T) {
	r := newRig(t)
	r.cfg.Keys = signedurl.Keys{{ID: "new", Secret: []byte("0123456789abcdef")}, {ID: "old", Secret: []byte("fedcba9876543210")}}
	r.cfg.RequireSignature = true
	s := r.start()
	img := s.post(photograph(t, "sunset.jpg"), "Darkroom-Tenant", "acme").upload(t)
	path := "/v1/images/" + img.ID + "/content"
	sign := func(k signedurl.Keys, query string, after time.Duration) string {
		u, err := url.Parse(path + "?" + query)
		must(t, err)
		return k.Sign(u, time.Now().Add(after)).String()
	}
	strange := signedurl.Keys{{ID: "new", Secret: []byte("another secret...")}}
	for _, c := range []struct {
		name, path, problem string
		headers             []string
	}{
		{"original", sign(r.cfg.Keys, "tenant=acme", time.Hour), "", nil},
		{"variant", sign(r.cfg.Keys, "tenant=acme&w=40", time.Hour), "", nil},
		{"the other key", sign(r.cfg.Keys[1:], "tenant=acme&w=40", time.Hour), "", nil},
		{"not signed", path + "?tenant=acme", "signature-missing", nil},
		{"not signed, with the header", path, "signature-missing", []string{"Darkroom-Tenant", "acme"}},
		{"another tenant's", sign(r.cfg.Keys, "", time.Hour), "not-found", nil},
		{"tenant by the header", sign(r.cfg.Keys, "", time.Hour), "invalid-parameter", []string{"Darkroom-Tenant", "acme"}},
		{"altered", sign(r.cfg.Keys, "tenant=acme&w=40", time.Hour) + "&h=9", "signature-invalid", nil},
		{"tenant altered", strings.Replace(sign(r.cfg.Keys, "tenant=other", time.Hour), "other", "acme", 1), "signature-invalid", nil},
		{"another image's", strings.Replace(sign(r.cfg.Keys, "tenant=acme", time.Hour), img.ID, someID, 1), "signature-invalid", nil},
		{"a strange key", sign(strange, "tenant=acme", time.Hour), "signature-invalid", nil},
		{"expired", sign(r.cfg.Keys, "tenant=acme", -time.Second), "signature-expired", nil},
	} {
		a := s.get(c.path, c.headers...)
		if a.problem() != c.problem || (a.status == 200) != (c.problem == "") {
			t.Errorf("%s: %s, want %q", c.name, a, c.problem)
		}
		if head := s.send("HEAD", c.path, nil, c.headers...); head.status != a.status {
			t.Errorf("%s: HEAD has the status %d, GET %d", c.name, head.status, a.status)
		}
	}
	for after, most := range map[time.Duration]int{24 * time.Hour: 3600, time.Minute: 60} {
		var age int
		a := s.get(sign(r.cfg.Keys, "tenant=acme&w=40", after))
		if _, err := fmt.Sscanf(a.header.Get("Cache-Control"), "public, max-age=%d", &age); err != nil || age > most || age < most/2 {
			t.Errorf("%v: Cache-Control is %q", after, a.header.Get("Cache-Control"))
		}
	}
}

// hangingWrites is a table store that answers reads alone.
type hangingWrites struct{ tables }

func (*hangingWrites) Apply(ctx context.Context, _ []table.Mutation) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestATableThatHangsKeepsNoPlaceForEver(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.tables = &hangingWrites{}
	r.cfg.Variants.Processes, r.cfg.Variants.Waiting = 1, 0
	s := r.start()
	broken := s.post(big(1, 300)[:150]).upload(t)
	client := &http.Client{Timeout: 8 * time.Second}
	res, err := client.Get(s.url + "/v1/images/" + broken.ID + "/content?w=10&format=jpeg")
	must(t, err)
	defer res.Body.Close()
	if res.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("status %d", res.StatusCode)
	}
	eventually(t, func() error {
		if n := s.metric("darkroom_ingest_variants_making"); n != 0 {
			return fmt.Errorf("%v variants are being made", n)
		}
		return nil
	})
}
