package statsapi_test

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"darkroom/statsapi"
)

func TestEveryWrongParameterIsNamed(t *testing.T) {
	t.Parallel()
	i, _, _ := loaded(t, galleryRows()...)
	otherFilters := statsapi.EncodeCursor(1, "a", "/v1/images?tenant=b")
	for _, c := range [][]string{
		{"stats/summary?tenants=a", `"tenants" is unknown`, "tenant"},
		{"stats/summary?tenant=", "parameter tenant", "lower-case"},
		{"stats/summary?tenant=A", "parameter tenant", `"A"`},
		{"stats/summary?tenant=a&tenant=b", "parameter tenant is given 2 times"},
		{"stats/summary?a%zz", "%zz"},
		{"stats/summary?a;b=c", "semicolon"},
		{"stats/series", "parameter metric is missing", "images, bytes or pixels"},
		{"stats/series?metric=", "parameter metric", "images, bytes or pixels"},
		{"stats/series?metric=frames", "parameter metric", `"frames"`},
		{"stats/series?metric=images&by=day", "parameter by", "format, camera or tenant"},
		{"stats/series?metric=images&step=90s", "parameter step", "1m, 5m, 1h or 1d"},
		{"stats/series?metric=images&step=0m", "parameter step"},
		{"stats/series?metric=images&step=-1m", "parameter step"},
		{"stats/series?metric=images&step=367d", "parameter step"},
		{"stats/series?metric=images&step=", "parameter step"},
		{"stats/series?metric=images&from=today", "parameter from", "RFC 3339"},
		{"stats/series?metric=images&to=2026-01-01", "parameter to", "RFC 3339"},
		{"stats/series?metric=images&to=2026-01-01T00:00:00+01:00", "parameter to", "%2B"},
		{"stats/series?metric=images&to=1960-01-01T00:00:00Z", "parameter to", "1970"},
		{"stats/series?metric=images&from=2026-01-02T00:00:00Z&to=2026-01-02T00:00:00Z", "parameter from", "not before to"},
		{"stats/series?metric=images&limit=1", `"limit" is unknown`, "by, from, metric, step, tenant"},
		{"images?limit=0", "parameter limit", "1 to 1000"},
		{"images?limit=1001", "parameter limit"},
		{"images?limit=%2B5", "parameter limit"},
		{"images?limit=x", "parameter limit", `"x"`},
		{"images?min_width=0", "parameter min_width", "pixels"},
		{"images?min_width=1e3", "parameter min_width"},
		{"images?duplicate=yes", "parameter duplicate", "true or false"},
		{"images?duplicate=1", "parameter duplicate"},
		{"images?format=JPEG", "parameter format", "jpeg"},
		{"images?camera=%00", "parameter camera", "UTF-8"},
		{"images?camera=%ff", "parameter camera"},
		{"images?camera=" + strings.Repeat("x", 513), "parameter camera", "…"},
		{"images?cursor=", "parameter cursor"},
		{"images?cursor=abc", "parameter cursor", "next_cursor"},
		{"images?from=x", "parameter from"},
		{"images?to=x", "parameter to"},
		{"images?from=2026-01-02T5:00:00Z", "parameter from"},
		{"images?from=2026-01-02T05:00:00,5Z", "parameter from"},
		{"images?from=2026-01-02T05:00:00%2B24:00", "parameter from"},
		{"images?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "parameter from", "not before to"},
		{"images?metric=images", `"metric" is unknown`},
		{"images/img-00000?limit=1", `"limit" is unknown`},
		{"images/img-00000/duplicates?limit=0", "parameter limit"},
		{"images/img-00000/duplicates?format=jpeg", `"format" is unknown`},
		{"images?cursor=" + otherFilters, "parameter cursor"},
		{"images?tenant=birch&cursor=" + otherFilters, "parameter cursor"},
	} {
		detail := i.problem(t, "/v1/"+c[0], 400, "invalid-parameter")
		for _, want := range c[1:] {
			if !strings.Contains(detail, want) {
				t.Errorf("%s: no %s in %s", c[0], want, detail)
			}
		}
	}
	const week = "&from=2026-01-01T00:00:00Z&to=2026-01-08T00:00:00Z"
	i.problem(t, "/v1/stats/series?metric=images"+week, 400, "too-many-points")
	i.problem(t, "/v1/stats", 404, "not-found")
	i.problem(t, "/v1/images/", 404, "not-found")                          // an image without an id, and not the list of all
	i.get(t, "/v1/images?camera="+strings.Repeat("%C3%A9", 512), 200, nil) // openapi.yaml counts characters
	i.problem(t, "/v1/images?camera="+strings.Repeat("%C3%A9", 513), 400, "invalid-parameter")
}

func TestACursorHoldsForItsFiltersOnly(t *testing.T) {
	t.Parallel()
	i, _, _ := loaded(t, photos(0, 10)...)
	var page statsapi.ImagePage
	i.get(t, "/v1/images?limit=3&format=jpeg&tenant=acme", 200, &page)
	c := "&cursor=" + *page.NextCursor
	i.get(t, "/v1/images?tenant=acme&format=jpeg&limit=4"+c, 200, &page) // another order and limit are the same filters
	if got := numbers(page.Images); !slices.Equal(got, []int{6, 5, 4, 3}) {
		t.Errorf("%v", got)
	}
	for _, other := range []string{
		"format=png&tenant=acme", "format=jpeg", "format=jpeg&tenant=birch", "format=jpeg&tenant=acme&duplicate=false",
	} {
		i.problem(t, "/v1/images?"+other+c, 400, "invalid-parameter")
	}
}

func TestTheContractIsServedAndHolds(t *testing.T) {
	t.Parallel()
	i := newInstance(t, newKafka(t, 1).config(newDatabase(t)))
	contract := i.get(t, "/openapi.yaml", 200, nil).Body.String()
	for path, params := range map[string]any{
		"/v1/stats/summary":         statsapi.GetSummaryParams{},
		"/v1/stats/series":          statsapi.GetSeriesParams{},
		"/v1/images":                statsapi.ListImagesParams{},
		"/v1/images/:id":            statsapi.GetImageParams{},
		"/v1/images/:id/duplicates": statsapi.ListDuplicatesParams{},
	} {
		var names []string
		for f := range reflect.TypeOf(params).Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("form"), ",")
			names = append(names, name)
		}
		slices.Sort(names)
		if got := statsapi.ParameterNames(path); !slices.Equal(got, names) {
			t.Errorf("%s is checked for %v, and its contract has %v", path, got, names)
		}
		if want := "\n  " + strings.ReplaceAll(path, ":id", "{id}") + ":\n"; !strings.Contains(contract, want) {
			t.Errorf("no %s in the contract", path)
		}
	}
	for _, slug := range []string{
		"invalid-parameter", "too-many-points", "not-found", "method-not-allowed", "image-deleted", "internal",
		"unavailable", "query-too-slow",
	} {
		if !strings.Contains(contract, "urn:darkroom:problem:"+slug+"`") {
			t.Errorf("the contract does not know the problem %s", slug)
		}
	}
	if body := i.get(t, "/metrics", 200, nil).Body.String(); !strings.Contains(body, "darkroom_statsapi_consuming 0") {
		t.Error("no metrics of the consumer")
	}
	i.get(t, "/healthz", 200, nil)
	i.get(t, "/readyz", 200, nil)
}

func TestMigrationsMakeTheStoresColumns(t *testing.T) {
	t.Parallel()
	dsn := newDatabase(t)
	newInstance(t, newKafka(t, 1).config(dsn))
	conn := connect(t, dsn)
	derived := map[string][]string{"image": {"duplicate boolean"}}
	for name, want := range statsapi.Columns() {
		rows, err := conn.Query(context.Background(), `SELECT column_name || ' ' || data_type FROM information_schema.columns
			WHERE table_schema = 'darkroom' AND table_name = $1`, name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		want = append(append(want, "version bigint", "gone boolean"), derived[name]...)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s has %v, not %v", name, got, want)
		}
	}
}

// Every list is read along an index, so that it stays fast however many images there are.
func TestListsAreReadAlongAnIndex(t *testing.T) {
	t.Parallel()
	_, _, conn := loaded(t)
	exec(t, conn, `SET search_path = darkroom; ALTER TABLE image DISABLE TRIGGER USER;
		INSERT INTO image (image_id, tenant, state, code, detail, sha256, bytes, media_type, filename, format, width,
			height, frames, orientation, camera, taken_at, uploaded_at, version, gone, duplicate)
		SELECT 'i' || n, 't' || n % 50, CASE n % 10 WHEN 0 THEN 'deleted' ELSE 'analysed' END, '', '', 'h' || n, n, '',
			'', 'f' || n % 40, n, n, 1, 1, 'c' || n % 60, '', n, n, false, n % 1000 = 1
		FROM generate_series(1, 20000) n`)
	exec(t, conn, "VACUUM (ANALYZE) image") //nolint:misspell // SQL
	const shown = "state IN ('analysed', 'rejected')"
	for condition, index := range map[string]string{
		shown:                         "image_recent",
		shown + " AND tenant = 't1'":  "image_tenant",
		shown + " AND format = 'f1'":  "image_format",
		shown + " AND camera = 'c1'":  "image_camera",
		shown + " AND width >= 19990": "image_width",
		shown + " AND duplicate":      "image_duplicate",
		"state = 'analysed' AND tenant = 't7' AND sha256 = 'h7'": "image_sha256",
	} {
		rows, err := conn.Query(context.Background(), "EXPLAIN SELECT * FROM image WHERE "+condition+
			" AND (uploaded_at, image_id) < (15000, 'x') ORDER BY uploaded_at DESC, image_id DESC LIMIT 10")
		if err != nil {
			t.Fatal(err)
		}
		plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		text := strings.Join(plan, "\n")
		if !strings.Contains(text, "Index Scan using "+index) && !strings.Contains(text, "on "+index) {
			t.Errorf("%s is not read along %s:\n%s", condition, index, text)
		}
	}
}
