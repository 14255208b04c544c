package statsapi_test

import (
	"context"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"darkroom/internal/table"
	"darkroom/statsapi"
)

// loaded is a service whose copy holds what the mutations make.
func loaded(t testing.TB, muts ...table.Mutation) (instance, *kafka, *pgx.Conn) {
	t.Helper()
	k, dsn := newKafka(t, 1, allTopics...), newDatabase(t)
	conn := connect(t, dsn)
	i := newInstance(t, k.config(dsn))
	i.start(t)
	k.write(t, muts...)
	consumed(t, k, conn)
	return i, k, conn
}

// gallery are images that differ in everything that can be asked for, newest last.
func gallery() []table.Image {
	var out []table.Image
	for n := range 8 {
		out = append(out, photo(n))
	}
	out[1].Format, out[1].Width = "png", 4000
	out[2].Camera = ""
	out[3].Tenant = "birch"
	out[4].SHA256 = out[0].SHA256 // a duplicate
	out[5].SHA256 = out[3].SHA256 // the same bytes, of another tenant: no duplicate
	out[6] = table.Image{
		ImageID: out[6].ImageID, Tenant: "acme", State: table.StateRejected, Code: "truncated", Detail: "it ends early",
		SHA256: out[6].SHA256, Bytes: 7, Filename: "b.jpg", UploadedAt: out[6].UploadedAt, Version: out[6].Version,
	}
	return out
}

func galleryRows() (muts []table.Mutation) {
	images := gallery()
	for _, i := range images {
		muts = append(muts, analysed(i)...)
	}
	return append(muts, deleted(images[7])...)
}

func TestSummary(t *testing.T) {
	i, _, _ := loaded(t, append(galleryRows(), progress(start2026))...)
	at := start2026
	copies := statsapi.DuplicateCounts{SameBytes: 1}
	for tenant, want := range map[string]statsapi.Summary{
		"":       {Images: 6, Bytes: 6000, Pixels: 5*1200 + 4000*30, Rejected: 1, Duplicates: copies, AsOf: &at},
		"acme":   {Images: 5, Bytes: 5000, Pixels: 4*1200 + 4000*30, Rejected: 1, Duplicates: copies, AsOf: &at},
		"birch":  {Images: 1, Bytes: 1000, Pixels: 1200, AsOf: &at},
		"nobody": {AsOf: &at},
	} {
		if got := summary(t, i, tenant); !reflect.DeepEqual(got, want) {
			t.Errorf("tenant %q: %+v, not %+v", tenant, got, want)
		}
	}
	body := i.get(t, "/v1/stats/summary", 200, nil).Body.String()
	if want := `"duplicates":{"same_bytes":1,"same_look":null,"same_pixels":null}`; !strings.Contains(body, want) {
		t.Errorf("no %s in %s", want, body)
	}
	if want := `"as_of":"2026-01-01T00:00:00Z"`; !strings.Contains(body, want) {
		t.Errorf("no %s in %s", want, body)
	}
}

// numbers are the images of a page, by the numbers of their ids.
func numbers(images []statsapi.Image) []int {
	out := []int{}
	for _, i := range images {
		var n int
		if _, err := fmt.Sscanf(i.Id, "img-%d", &n); err != nil {
			panic(err)
		}
		out = append(out, n)
	}
	return out
}

func TestImagesByEveryFilter(t *testing.T) {
	i, _, _ := loaded(t, galleryRows()...)
	second := func(n int) string {
		return url.QueryEscape(start2026.Add(time.Duration(n) * time.Second).Format(time.RFC3339))
	}
	for query, want := range map[string][]int{
		"":                                       {6, 5, 4, 3, 2, 1, 0},
		"format=png":                             {1},
		"format=bmp":                             {},
		"camera=Canon+EOS":                       {5, 4, 3, 1, 0},
		"camera=":                                {6, 2},
		"from=" + second(4):                      {6, 5, 4},
		"to=" + second(2):                        {1, 0},
		"from=" + second(2) + "&to=" + second(4): {3, 2},
		"from=2026-01-01T01:00:04%2B01:00":       {6, 5, 4},
		"from=2026-01-01T00:00:03.0000001Z":      {6, 5, 4},
		"min_width=41":                           {1},
		"min_width=40":                           {5, 4, 3, 2, 1, 0},
		"duplicate=true":                         {4, 0},
		"duplicate=false":                        {6, 5, 3, 2, 1},
		"tenant=birch":                           {3},
		"tenant=nobody":                          {},
		"limit=2":                                {6, 5},
		"tenant=acme&format=jpeg&camera=Canon+EOS&limit=2": {5, 4},
	} {
		var page statsapi.ImagePage
		w := i.get(t, "/v1/images?"+query, 200, &page)
		if got := numbers(page.Images); !slices.Equal(got, want) {
			t.Errorf("%s: %v, not %v", query, got, want)
		}
		if page.NextCursor == nil && !strings.Contains(w.Body.String(), `"next_cursor":null`) {
			t.Errorf("%s: no next_cursor in %s", query, w.Body)
		}
	}
}

func TestImage(t *testing.T) {
	i, k, conn := loaded(t, galleryRows()...)
	var got statsapi.Image
	body := i.get(t, "/v1/images/img-00000", 200, &got).Body.String()
	for _, want := range []string{
		`"id":"img-00000"`, `"tenant":"acme"`, `"state":"analysed"`, `"bytes":1000`, `"format":"jpeg"`, `"width":40`,
		`"height":30`, `"camera":"Canon EOS"`, `"uploaded_at":"2026-01-01T00:00:00Z"`, `"duplicate":true`,
		`"media_type":"image/jpeg"`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in %s", want, body)
		}
	}
	for _, absent := range []string{"code", "detail", "taken_at"} {
		if strings.Contains(body, absent) {
			t.Errorf("%s is known in %s", absent, body)
		}
	}
	got = statsapi.Image{}
	i.get(t, "/v1/images/img-00006", 200, &got)
	if got.State != "rejected" || *got.Code != "truncated" || *got.Detail != "it ends early" || got.Width != nil {
		t.Errorf("rejected: %+v", got)
	}
	i.get(t, "/v1/images/img-00003?tenant=birch", 200, nil)
	i.problem(t, "/v1/images/img-00003?tenant=acme", 404, "not-found")
	for _, id := range []string{"nothing", "img-00003%00", "%ff", "a%2Fb"} {
		i.problem(t, "/v1/images/"+id, 404, "not-found")
		i.problem(t, "/v1/images/"+id+"/duplicates", 404, "not-found")
	}
	i.problem(t, "/v1/images/img-00007", 410, "image-deleted")
	i.problem(t, "/v1/images/img-00007/duplicates", 410, "image-deleted")
	i.problem(t, "/v1/images/img-00007?tenant=birch", 404, "not-found")

	k.write(t, deletion(table.Images.Mutation(photo(1))))
	consumed(t, k, conn)
	i.problem(t, "/v1/images/img-00001", 404, "not-found")
}

func TestDuplicates(t *testing.T) {
	muts := galleryRows()
	for n := 20; n < 25; n++ {
		same := photo(n)
		same.SHA256 = photo(0).SHA256
		muts = append(muts, analysed(same)...)
	}
	i, k, conn := loaded(t, muts...)
	ids := func(path string) (out []string) {
		for next := ""; ; {
			var page statsapi.DuplicatePage
			i.get(t, path+next, 200, &page)
			for _, d := range page.Duplicates {
				if d.Class != statsapi.DuplicateClassSameBytes || d.Distance != 0 || d.UploadedAt.Before(start2026) {
					t.Errorf("%+v", d)
				}
				out = append(out, d.Id)
			}
			if page.NextCursor == nil {
				return out
			}
			next = "&cursor=" + *page.NextCursor
		}
	}
	want := []string{"img-00024", "img-00023", "img-00022", "img-00021", "img-00020", "img-00004"}
	for _, limit := range []int{1, 2, 6, 7} {
		if got := ids(fmt.Sprintf("/v1/images/img-00000/duplicates?limit=%d", limit)); !slices.Equal(got, want) {
			t.Errorf("%d a page: %v", limit, got)
		}
	}
	for _, id := range []string{"img-00001", "img-00003", "img-00005", "img-00006"} {
		var page statsapi.DuplicatePage
		if i.get(t, "/v1/images/"+id+"/duplicates", 200, &page); len(page.Duplicates) != 0 || page.Duplicates == nil {
			t.Errorf("%s has duplicates: %+v", id, page)
		}
	}
	// A cursor is that of its image.
	var page statsapi.DuplicatePage
	i.get(t, "/v1/images/img-00000/duplicates?limit=1", 200, &page)
	i.problem(t, "/v1/images/img-00004/duplicates?limit=1&cursor="+*page.NextCursor, 400, "invalid-parameter")

	k.write(t, deleted(photo(22))...)
	same := photo(22)
	same.SHA256 = photo(0).SHA256
	k.write(t, deleted(same)...)
	consumed(t, k, conn)
	if got := ids("/v1/images/img-00000/duplicates?limit=9"); slices.Contains(got, "img-00022") || len(got) != 5 {
		t.Errorf("after a deletion: %v", got)
	}
}

func TestTheFlagOfADuplicateFollowsTheOthers(t *testing.T) {
	first, second := photo(1), photo(2)
	second.SHA256 = first.SHA256
	i, k, conn := loaded(t, analysed(first)...)
	for _, step := range []struct {
		change []table.Mutation
		want   []int
	}{
		{nil, []int{}},
		{analysed(second), []int{2, 1}},
		{deleted(second), []int{}},
		{analysed(photo(3)), []int{}},
	} {
		k.write(t, step.change...)
		consumed(t, k, conn)
		var page statsapi.ImagePage
		i.get(t, "/v1/images?duplicate=true", 200, &page)
		if got := numbers(page.Images); !slices.Equal(got, step.want) {
			t.Errorf("duplicates are %v, not %v", got, step.want)
		}
		recount(t, conn)
	}
}

func TestPagesUnderInsertsShowEachOldImageOnce(t *testing.T) {
	var muts []table.Mutation
	for n := range 60 {
		one := photo(n)
		one.UploadedAt = photo(n / 4).UploadedAt // four at a time, so that pages end between equal times
		muts = append(muts, table.Images.Mutation(one))
	}
	i, k, conn := loaded(t, muts...)
	var seen []int
	for next, n := "", 100; ; n++ {
		var page statsapi.ImagePage
		i.get(t, "/v1/images?limit=3&tenant=acme"+next, 200, &page)
		seen = append(seen, numbers(page.Images)...)
		if page.NextCursor == nil {
			break
		}
		next = "&cursor=" + *page.NextCursor
		older := photo(200 + n)
		older.UploadedAt = photo(n%15).UploadedAt + 1
		k.write(t, table.Images.Mutation(photo(n)), table.Images.Mutation(older))
		consumed(t, k, conn)
	}
	old := slices.DeleteFunc(slices.Clone(seen), func(n int) bool { return n >= 60 })
	slices.Sort(old)
	if len(old) != 60 || len(slices.Compact(old)) != 60 {
		t.Errorf("of 60 old images %d were shown: %v", len(old), seen)
	}
}

func TestEveryWrongParameterIsNamed(t *testing.T) {
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
}

func TestACursorHoldsForItsFiltersOnly(t *testing.T) {
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
