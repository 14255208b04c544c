package statsapi_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"darkroom/statsapi"
)

func FuzzCursor(f *testing.F) {
	f.Add(statsapi.EncodeCursor(1, "img", "/v1/images?"), "/v1/images?")
	f.Add(statsapi.EncodeCursor(-1, "", ""), "")
	f.Add("", "")
	f.Add("AQAAAAAAAAAAAAAAAAAAAAAA", "x")
	f.Add("AcLEzNjmzWUu0\r0000000000", "/v1/images?")
	f.Fuzz(func(t *testing.T, cursor, filters string) {
		p, err := statsapi.DecodeCursor(cursor, filters)
		if err != nil {
			return
		}
		at, id := statsapi.PlaceOf(p)
		if again := statsapi.EncodeCursor(at, id, filters); again != cursor {
			t.Errorf("%q decodes to what %q does", cursor, again)
		}
		if _, err := statsapi.DecodeCursor(cursor, filters+"x"); err == nil {
			t.Error("it holds for other filters too")
		}
	})
}

func FuzzStep(f *testing.F) {
	for _, s := range []string{"1m", "5m", "1h", "1d", "1h30m", "90s", "366d", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := statsapi.ParseStep(s)
		if err != nil {
			return
		}
		if d < time.Minute || d%time.Minute != 0 {
			t.Fatalf("%q is %v", s, d)
		}
		if again, err := statsapi.ParseStep(statsapi.FormatStep(d)); err != nil || again != d {
			t.Errorf("%v is written %s, which reads %v, %v", d, statsapi.FormatStep(d), again, err)
		}
	})
}

// Whatever a client sends, the service answers, never with a mistake of its own, and every error is a problem.
func FuzzQuery(f *testing.F) {
	f.Add("/v1/stats/summary", "tenant=acme")
	f.Add("/v1/stats/series", "metric=images&step=1h&by=camera&from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z")
	f.Add("/v1/stats/series", "metric=bytes&step=366d&from=1970-01-01T00:00:00Z&to=2199-12-31T23:59:59.999999999Z")
	f.Add("/v1/images", "camera=&duplicate=true&min_width=9223372036854775807&limit=1000")
	f.Add("/v1/images", "from=2026-01-01T00:00:00.0000001-23:59&to=2199-12-31T23:59:59Z&cursor=AQ")
	f.Add("/v1/images/img-00000\x00", "")
	f.Add("/v1/images/\xff/duplicates", "limit=1&cursor=%00")
	i := newInstance(f, newKafka(f, 1).config(newDatabase(f)))
	f.Fuzz(func(t *testing.T, path, query string) {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.URL = &url.URL{Path: path, RawQuery: query}
		i.Handler().ServeHTTP(w, r)
		switch w.Code {
		case 200:
			return
		case 400, 404, 410:
		default:
			t.Fatalf("%q?%s: %d %s", path, query, w.Code, w.Body)
		}
		var p struct{ Type, Title string }
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Type == "" || p.Title == "" {
			t.Errorf("%q?%s: %d %s", path, query, w.Code, w.Body)
		}
	})
}
