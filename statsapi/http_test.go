package statsapi_test

import (
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
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
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
