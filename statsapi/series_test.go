package statsapi_test

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"darkroom/internal/table"
	"darkroom/statsapi"
)

// window is a row of statistics.
func window(tenant, dimension, value string, at time.Time, images int64) table.Mutation {
	start := at.UnixMicro()
	return table.AllImageStats.Mutation(table.ImageStats{
		Tenant: tenant, Dimension: dimension, Day: at.UTC().Format(time.DateOnly), WindowStart: start, Value: value,
		Images: images, Bytes: images * 100, Pixels: images * 1000, Events: images, Version: start + images,
	})
}

func minute(n int) time.Time { return start2026.Add(time.Duration(n) * time.Minute) }

// values are the points of each series, by key.
func values(s statsapi.Series) map[string][]int64 {
	out := map[string][]int64{}
	for _, one := range s.Series {
		key := "(all)"
		if one.Key != nil {
			key = *one.Key
		}
		for _, p := range one.Points {
			out[key] = append(out[key], p.Value)
		}
	}
	return out
}

func TestSeries(t *testing.T) {
	t.Parallel()
	i, _, _ := loaded(t,
		window("acme", "all", "", minute(0), 3), window("acme", "all", "", minute(2), 4),
		window("birch", "all", "", minute(2), 5),
		window("acme", "all", "", minute(2), 2), // fewer events: an older pane
		window("acme", "format", "jpeg", minute(0), 2), window("acme", "format", "png", minute(0), 1),
		window("acme", "format", "jpeg", minute(2), 4), window("birch", "format", "jpeg", minute(2), 5),
		window("acme", "camera", "", minute(0), 1), window("acme", "camera", "Canon EOS", minute(0), 2),
		window("acme", "all", "", minute(60), 9), window("acme", "all", "", minute(-1), 9),
		deletion(window("acme", "format", "gif", minute(1), 1)),
		progress(minute(61)),
	)
	const from, to = "&from=2026-01-01T00:00:00Z", "&to=2026-01-01T00:04:00Z"
	for query, want := range map[string]map[string][]int64{
		"metric=images" + from + to:                            {"(all)": {3, 0, 9, 0}},
		"metric=bytes" + from + to:                             {"(all)": {300, 0, 900, 0}},
		"metric=pixels" + from + to:                            {"(all)": {3000, 0, 9000, 0}},
		"metric=images&tenant=birch" + from + to:               {"(all)": {0, 0, 5, 0}},
		"metric=images&tenant=nobody" + from + to:              {"(all)": {0, 0, 0, 0}},
		"metric=images&by=tenant" + from + to:                  {"acme": {3, 0, 4, 0}, "birch": {0, 0, 5, 0}},
		"metric=images&by=format" + from + to:                  {"jpeg": {2, 0, 9, 0}, "png": {1, 0, 0, 0}},
		"metric=images&by=format&tenant=birch" + from + to:     {"jpeg": {0, 0, 5, 0}},
		"metric=images&by=camera" + from + to:                  {"": {1, 0, 0, 0}, "Canon EOS": {2, 0, 0, 0}},
		"metric=images&by=camera&tenant=nobody" + from + to:    {},
		"metric=images&step=2m" + from + to:                    {"(all)": {3, 9}},
		"metric=images&step=1h" + from + to:                    {"(all)": {12}},
		"metric=images&step=1d" + from + to:                    {"(all)": {21}},
		"metric=images&step=1h&to=2026-01-01T01:30:00Z":        {"(all)": {12, 9}},
		"metric=images&step=30m&to=2026-01-01T01:00:00Z":       {"(all)": {12, 0}},
		"metric=images&step=3m&from=2026-01-01T00:02:59Z" + to: {"(all)": {12, 0}},
	} {
		var got statsapi.Series
		i.get(t, "/v1/stats/series?"+query, 200, &got)
		if v := values(got); !reflect.DeepEqual(v, want) {
			t.Errorf("%s: %v, not %v", query, v, want)
		}
		if got.AsOf == nil || !got.AsOf.Equal(minute(61)) {
			t.Errorf("%s: as of %v", query, got.AsOf)
		}
	}
	var got statsapi.Series
	i.get(t, "/v1/stats/series?metric=images&by=format&step=120m"+
		"&from=2026-01-01T00:30:00Z&to=2026-01-01T03:00:00Z", 200, &got)
	if !got.From.Equal(minute(0)) || !got.To.Equal(minute(240)) || got.Step != "2h" || *got.By != "format" {
		t.Errorf("aligned: %+v", got)
	}
	if p := got.Series[0].Points; len(p) != 2 || !p[0].Time.Equal(minute(0)) || !p[1].Time.Equal(minute(120)) {
		t.Errorf("points: %+v", p)
	}
}

func TestSeriesIsOfTheLastHourByDefault(t *testing.T) {
	t.Parallel()
	now := time.Now()
	at := now.Add(-10 * time.Minute).Truncate(time.Minute)
	i, _, _ := loaded(t, window("acme", "all", "", at, 3), window("acme", "all", "", at.Add(-2*time.Hour), 3))
	var got statsapi.Series
	i.get(t, "/v1/stats/series?metric=images", 200, &got)
	if got.Step != "1m" || got.By != nil || len(got.Series) != 1 || len(got.Series[0].Points) != 61 {
		t.Fatalf("%+v", got)
	}
	if got.From.After(now.Add(-time.Hour)) || got.To.Before(now) {
		t.Errorf("from %v to %v is not the hour before %v", got.From, got.To, now)
	}
	var total int64
	for _, p := range got.Series[0].Points {
		if total += p.Value; p.Value != 0 && !p.Time.Equal(at) {
			t.Errorf("%d at %v", p.Value, p.Time)
		}
	}
	if total != 3 {
		t.Errorf("%d in all", total)
	}
}

func TestSeriesHaveAtMostTenThousandPoints(t *testing.T) {
	t.Parallel()
	var muts []table.Mutation
	for n := range 101 {
		muts = append(muts, window("acme", "camera", fmt.Sprintf("camera %d", n), minute(0), 1))
	}
	i, _, _ := loaded(t, muts...)
	path := func(minutes int, more string) string {
		return "/v1/stats/series?metric=images&from=2026-01-01T00:00:00Z&to=" + minute(minutes).Format(time.RFC3339) + more
	}
	i.get(t, path(10_000, ""), 200, nil)
	i.problem(t, path(10_001, ""), 400, "too-many-points")
	i.get(t, path(99, "&by=camera"), 200, nil)
	i.problem(t, path(100, "&by=camera"), 400, "too-many-points")
	i.get(t, path(100, "&by=camera&step=2m"), 200, nil)
	const always = "/v1/stats/series?metric=images&from=1970-01-01T00:00:00Z&to=2199-12-31T23:59:59Z&step="
	i.get(t, always+"366d", 200, nil)
	i.problem(t, always+"1m", 400, "too-many-points")
}

func TestSumsThatAreTooGreatStayAtTheGreatest(t *testing.T) {
	t.Parallel()
	huge := photo(1)
	huge.Bytes, huge.Width, huge.Height = 1<<62, 1<<40, 1<<40
	again := photo(2)
	again.Bytes = 1 << 62
	i, _, _ := loaded(t, append(analysed(huge), analysed(again)...)...)
	s := summary(t, i, "")
	if s.Bytes != 1<<63-1 || s.Pixels != 1<<63-1 || s.Images != 2 {
		t.Errorf("%+v", s)
	}
}

func TestSteps(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"1m": time.Minute, "5m": 5 * time.Minute, "60m": time.Hour, "1h": time.Hour, "1d": 24 * time.Hour,
		"1h30m": 90 * time.Minute, "366d": 366 * 24 * time.Hour, "1d1h1m": 25*time.Hour + time.Minute,
		"": 0, "m": 0, "0m": 0, "1": 0, "1s": 0, "60s": 0, "1.5h": 0, "-1m": 0, "1m1h": 0, "367d": 0, "1M": 0, "1 m": 0,
		"99999999999m": 0,
	} {
		got, err := statsapi.ParseStep(text)
		if (err == nil) != (want != 0) || got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}
