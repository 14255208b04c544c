package statsapi_test

import (
	"context"
	"testing"
	"time"

	"darkroom/internal/table"
	"darkroom/statsapi"
)

func summary(t *testing.T, i instance, tenant string) statsapi.Summary {
	t.Helper()
	path := "/v1/stats/summary"
	if tenant != "" {
		path += "?tenant=" + tenant
	}
	var s statsapi.Summary
	i.get(t, path, 200, &s)
	return s
}

func TestAsOfWaitsForTheRowsThatItCovers(t *testing.T) {
	t.Parallel()
	k, dsn := newKafka(t, 1, allTopics...), newDatabase(t)
	conn := connect(t, dsn)
	cfg := k.config(dsn)
	cfg.DiscoverInterval = time.Hour // this one does not find new partitions
	i := newInstance(t, cfg)
	stop := i.start(t)
	k.write(t, photos(0, 2)...)
	consumed(t, k, conn)
	if s := summary(t, i, ""); s.AsOf != nil {
		t.Fatalf("as_of is %v before anything is known", s.AsOf)
	}

	if _, err := k.admin.CreatePartitions(context.Background(), 1, allTopics[0]); err != nil {
		t.Fatal(err)
	}
	k.client.PurgeTopicsFromClient(allTopics[0])
	k.send(t, record(t, table.Images.Mutation(photo(3)), 1))
	first := start2026.Add(time.Minute)
	k.write(t, progress(first))
	eventually(t, "the progress is consumed", func() bool {
		return one[int](t, conn, "SELECT count(*) FROM darkroom.progress") == 1
	})
	if s := summary(t, i, ""); s.AsOf != nil || s.Images != 2 {
		t.Fatalf("%d images as of %v, and the third is not there", s.Images, s.AsOf)
	}
	// A later word does not let the first be forgotten, nor does a restart.
	k.write(t, progress(first.Add(time.Second)))
	eventually(t, "more progress is consumed", func() bool {
		return one[int64](t, conn, "SELECT complete_to FROM darkroom.progress") == first.Add(time.Second).UnixMicro()
	})
	stop()

	i = newInstance(t, k.config(dsn))
	i.start(t)
	eventually(t, "as_of is known", func() bool {
		s := summary(t, i, "")
		if s.AsOf != nil && s.Images != 3 {
			t.Fatalf("%d images as of %v", s.Images, s.AsOf)
		}
		return s.AsOf != nil && s.AsOf.Equal(first.Add(time.Second))
	})
	if got := i.metric(t, "darkroom_statsapi_as_of_timestamp_seconds"); got != float64(first.Unix()+1) {
		t.Errorf("the metric says %v", got)
	}
}

func TestAsOfNeverGoesBack(t *testing.T) {
	t.Parallel()
	k, dsn := newKafka(t, 2, allTopics...), newDatabase(t)
	conn := connect(t, dsn)
	i := newInstance(t, k.config(dsn))
	i.start(t)
	var last time.Time
	for n, minute := range []int{3, 1, 7, 2, 9} {
		k.write(t, table.Images.Mutation(photo(n)))
		r := record(t, progress(start2026.Add(time.Duration(minute)*time.Minute)), int32(n%2))
		k.send(t, r)
		consumed(t, k, conn)
		s := summary(t, i, "")
		if s.AsOf == nil || s.AsOf.Before(last) {
			t.Fatalf("as of %v after %v", s.AsOf, last)
		}
		last = *s.AsOf
	}
	if want := start2026.Add(9 * time.Minute); !last.Equal(want) {
		t.Errorf("as of %v, not %v", last, want)
	}
	other := table.Progresses.Mutation(table.Progress{Pipeline: "other", CompleteTo: 1 << 52, Version: 1 << 52})
	k.write(t, other)
	consumed(t, k, conn)
	if s := summary(t, i, ""); !s.AsOf.Equal(last) {
		t.Errorf("another pipeline moved as_of to %v", s.AsOf)
	}
}

// The figures must hold what as_of promises at every moment, whatever the order in which the topics are read: a trigger
// in the database looks at each change of as_of, in its transaction.
func TestAsOfIsTrueInEveryTransaction(t *testing.T) {
	t.Parallel()
	k, dsn := newKafka(t, 1, allTopics...), newDatabase(t)
	conn := connect(t, dsn)
	cfg := k.config(dsn)
	cfg.BatchRecords = 3
	i := newInstance(t, cfg)
	exec(t, conn, `
		CREATE TABLE public.seen (as_of bigint, images bigint);
		CREATE FUNCTION public.look() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			INSERT INTO public.seen SELECT NEW.as_of, count(*) FROM darkroom.image;
			RETURN NULL;
		END $$;
		CREATE TRIGGER look AFTER UPDATE ON darkroom.freshness FOR EACH ROW EXECUTE FUNCTION public.look()`)
	// Progress says after each ten images that all before it are in the tables.
	for n := range 10 {
		for m := range 10 {
			k.write(t, table.Images.Mutation(photo(10*n+m)))
		}
		k.write(t, progress(start2026.Add(time.Duration(10*n+10)*time.Second)))
		if n == 4 {
			i.start(t)
		}
	}
	consumed(t, k, conn)
	if n := one[int](t, conn, "SELECT count(*) FROM public.seen"); n == 0 {
		t.Fatal("as_of never changed")
	}
	wrong := one[int](t, conn,
		"SELECT count(*) FROM public.seen WHERE images < (as_of - $1) / 1000000", start2026.UnixMicro())
	if wrong != 0 {
		t.Errorf("%d times as_of said more than the figures held", wrong)
	}
	if s := summary(t, i, ""); s.AsOf == nil || !s.AsOf.Equal(start2026.Add(100*time.Second)) {
		t.Errorf("as of %v at the end", s.AsOf)
	}
}
