package statsapi_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"darkroom/internal/table"
)

// JSON knows the years 0 to 9999 alone.
func TestTimesThatNoAnswerCanHoldAreRejected(t *testing.T) {
	t.Parallel()
	first, end := time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)
	var muts []table.Mutation
	for n, at := range []int64{
		first.UnixMicro(), end.UnixMicro() - 1, first.UnixMicro() - 1, end.UnixMicro(), math.MinInt64, math.MaxInt64,
	} {
		img := photo(n)
		img.UploadedAt = at
		muts = append(muts, analysed(img)...)
	}
	i, k, conn := loaded(t, muts...)
	k.write(t, progress(start2026))
	consumed(t, k, conn)
	k.write(t, progress(end))
	consumed(t, k, conn)
	body := i.get(t, "/v1/images", 200, nil).Body.String()
	if n := strings.Count(body, `"id":`); n != 2 {
		t.Errorf("%d images in %.200q, not 2", n, body)
	}
	if got := summary(t, i, ""); got.AsOf == nil || !got.AsOf.Equal(start2026) {
		t.Errorf("as_of is %v", got.AsOf)
	}
	if n := one[int](t, conn, "SELECT count(*) FROM darkroom.cdc_rejected"); n != 5 {
		t.Errorf("%d records are rejected, not 5", n)
	}
}

func TestAnAnswerThatCannotBeWrittenIsNoSuccess(t *testing.T) {
	t.Parallel()
	i, _, conn := loaded(t, photos(0, 1)...)
	exec(t, conn, "UPDATE darkroom.image SET uploaded_at = $1", int64(math.MaxInt64)) // as an older version let it in
	w := i.get(t, "/v1/images", 500, nil)
	if got := w.Header().Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("%s: %q", got, w.Body)
	}
}
