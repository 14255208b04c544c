package statsapi_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"darkroom/internal/table"
	"darkroom/statsapi"
)

func TestRebuildEndsEqualAndQueriesGoOn(t *testing.T) {
	t.Parallel()
	k, dsn := newKafka(t, 1, allTopics...), newDatabase(t)
	conn := connect(t, dsn)
	cfg := k.config(dsn)
	cfg.BatchRecords = 20
	serving, rebuilding := newInstance(t, cfg), newInstance(t, cfg)
	stop := serving.start(t)
	k.write(t, photos(0, 300)...)
	k.write(t, progress(start2026.Add(time.Hour)))
	consumed(t, k, conn)
	stop()
	before := copyOf(t, conn)
	// What is wrong in the database is right afterwards.
	exec(t, conn, `SET search_path = darkroom;
		DELETE FROM image WHERE image_id < 'img-00100'; UPDATE totals SET bytes = 1`)

	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			for _, path := range []string{"/v1/stats/summary", "/v1/images?limit=3", "/v1/stats/series?metric=bytes"} {
				w := httptest.NewRecorder()
				serving.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
				if w.Code != 200 {
					t.Errorf("GET %s during the rebuild: %d %s", path, w.Code, w.Body)
				}
			}
		}
	})
	var last, of int64
	err := rebuilding.Rebuild(context.Background(), func(done, total int64) {
		if done < last || done > total {
			t.Errorf("progress went from %d to %d of %d", last, done, total)
		}
		last, of = done, total
	})
	cancel()
	wg.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if last != 601 || of != 601 {
		t.Errorf("progress ended at %d of %d", last, of)
	}
	if after := copyOf(t, conn); !reflect.DeepEqual(before, after) {
		t.Error("the rebuilt copy differs")
	}
	if n := one[int](t, conn, "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'darkroom%'"); n != 1 {
		t.Errorf("%d schemas are left", n)
	}
	// Consuming goes on where the rebuild ended.
	serving.start(t)
	k.write(t, photos(300, 310)...)
	consumed(t, k, conn)
	if s := summary(t, serving, ""); s.Images != 310 {
		t.Errorf("%d images", s.Images)
	}
	recount(t, conn)
}

// TestRebuildWhileAnInstanceConsumes rebuilds a copy that is wrong, several times, while it is consumed and written to,
// with another instance that waits to take over.
func TestRebuildWhileAnInstanceConsumes(t *testing.T) {
	t.Parallel()
	k, dsn := newKafka(t, 2, allTopics...), newDatabase(t)
	conn := connect(t, dsn)
	cfg := k.config(dsn)
	cfg.BatchRecords, cfg.LockInterval = 20, 5*time.Millisecond
	first, second, rebuilding := newInstance(t, cfg), newInstance(t, cfg), newInstance(t, cfg)
	first.start(t)
	k.write(t, photos(0, 300)...)
	consumed(t, k, conn)
	second.start(t)
	exec(t, conn, `SET search_path = darkroom; UPDATE totals SET bytes = 1`)

	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		var last statsapi.Summary
		for n := 300; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			k.write(t, photos(n, n+1)...)
			k.write(t, progress(start2026.Add(time.Duration(n)*time.Second)))
			now := summary(t, first, "")
			if now.Images < last.Images || last.AsOf != nil && (now.AsOf == nil || now.AsOf.Before(*last.AsOf)) {
				t.Errorf("figures went back from %+v to %+v", last, now)
			}
			last = now
			time.Sleep(2 * time.Millisecond) // a writer that is faster than the rebuild would be, on a busy machine, for ever
		}
	})
	for range 4 {
		if err := rebuilding.Rebuild(context.Background(), nil); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	wg.Wait()
	consumed(t, k, conn)

	other := newDatabase(t)
	never := connect(t, other)
	newInstance(t, k.config(other)).start(t)
	consumed(t, k, never)
	if !reflect.DeepEqual(copyOf(t, conn), copyOf(t, never)) {
		t.Error("the copy differs from one that was never rebuilt")
	}
	if n := one[int](t, conn, "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'darkroom%'"); n != 1 {
		t.Errorf("%d schemas are left", n)
	}
	recount(t, conn)
}

func TestOneRebuildAtATime(t *testing.T) {
	t.Parallel()
	k, dsn := newKafka(t, 1, allTopics...), newDatabase(t)
	one, other := newInstance(t, k.config(dsn)), newInstance(t, k.config(dsn))
	k.write(t, photos(0, 3)...)
	asked := false
	err := one.Rebuild(context.Background(), func(int64, int64) {
		if !asked {
			asked = true
			if err := other.Rebuild(context.Background(), nil); !errors.Is(err, statsapi.ErrRebuilding) {
				t.Errorf("the second: %v", err)
			}
		}
	})
	if err != nil || !asked {
		t.Errorf("the first: %v", err)
	}
}

func TestRebuildRefusesToLoseWhatTheTopicsLack(t *testing.T) {
	t.Parallel()
	k, dsn, conn, i, stop := following(t, 10)
	stop()
	before := copyOf(t, conn)

	empty := newKafka(t, 1)
	cfg := empty.config(dsn)
	if err := newInstance(t, cfg).Rebuild(context.Background(), nil); !errors.Is(err, statsapi.ErrIncomplete) {
		t.Errorf("rebuild from another Kafka: %v", err)
	}
	upTo := kadm.Offsets{}
	upTo.Add(kadm.Offset{Topic: allTopics[0], Partition: 0, At: 4})
	if _, err := k.admin.DeleteRecords(context.Background(), upTo); err != nil {
		t.Fatal(err)
	}
	if err := i.Rebuild(context.Background(), nil); !errors.Is(err, statsapi.ErrIncomplete) {
		t.Errorf("rebuild without the first records: %v", err)
	}
	if after := copyOf(t, conn); !reflect.DeepEqual(before, after) {
		t.Error("a rebuild that was refused changed the copy")
	}
	cfg = k.config(dsn)
	cfg.RebuildIncomplete = true
	if err := newInstance(t, cfg).Rebuild(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	if n := one[int](t, conn, "SELECT count(*) FROM darkroom.image"); n != 6 {
		t.Errorf("%d images", n)
	}
}

func TestRebuildRefusesATopicThatWasMadeAnew(t *testing.T) {
	t.Parallel()
	k, _, conn, i, stop := following(t, 3)
	stop()
	k.anew(t, allTopics[0])
	for n := range 9 {
		k.send(t, record(t, table.Images.Mutation(photo(9+n)), 0))
	}
	if err := i.Rebuild(context.Background(), nil); !errors.Is(err, statsapi.ErrIncomplete) {
		t.Errorf("rebuild: %v", err)
	}
	if n := one[int](t, conn, "SELECT count(*) FROM darkroom.image"); n != 3 {
		t.Errorf("%d images", n)
	}
}

func TestARebuildThatIsCutShortChangesNothing(t *testing.T) {
	t.Parallel()
	k, dsn := newKafka(t, 1, allTopics...), newDatabase(t)
	conn := connect(t, dsn)
	cfg := k.config(dsn)
	cfg.BatchRecords = 5
	i := newInstance(t, cfg)
	stop := i.start(t)
	k.write(t, photos(0, 50)...)
	consumed(t, k, conn)
	stop()
	before := copyOf(t, conn)
	ctx, cancel := context.WithCancel(context.Background())
	err := i.Rebuild(ctx, func(done, total int64) {
		if done > total/2 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("rebuild: %v", err)
	}
	if after := copyOf(t, conn); !reflect.DeepEqual(before, after) {
		t.Error("the copy changed")
	}
	if err := i.Rebuild(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	if after := copyOf(t, conn); !reflect.DeepEqual(before, after) {
		t.Error("the rebuilt copy differs")
	}
}
