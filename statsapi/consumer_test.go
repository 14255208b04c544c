package statsapi_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"darkroom/internal/service"
	"darkroom/internal/table"
	"darkroom/statsapi"
)

var start2026 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// photo is an analysed image; its n gives it its time.
func photo(n int) table.Image {
	at := start2026.Add(time.Duration(n) * time.Second).UnixMicro()
	return table.Image{
		ImageID: fmt.Sprintf("img-%05d", n), Tenant: "acme", State: table.StateAnalysed,
		SHA256: fmt.Sprintf("%064x", n), Bytes: 1000,
		MediaType: "image/jpeg", Filename: "a.jpg", Format: "jpeg", Width: 40, Height: 30, Frames: 1, Orientation: 1,
		Camera: "Canon EOS", UploadedAt: at, Version: at,
	}
}

// analysed are the rows that the live pipeline writes of an image.
func analysed(i table.Image) []table.Mutation {
	muts := []table.Mutation{table.Images.Mutation(i)}
	if i.State == table.StateAnalysed {
		muts = append(muts, table.HashBands.Mutation(table.HashBand{
			Tenant: i.Tenant, Band: "sha256", Value: i.SHA256, ImageID: i.ImageID, Version: i.Version,
		}))
	}
	return muts
}

// deleted are the rows that the live pipeline writes of an image's deletion.
func deleted(i table.Image) []table.Mutation {
	v := i.Version + 1
	return []table.Mutation{
		{Table: "image", Version: v, Row: table.Row{
			"image_id": i.ImageID, "tenant": i.Tenant, "state": "deleted", "uploaded_at": i.UploadedAt, "version": v,
		}},
		table.HashBands.Mutation(table.HashBand{
			Tenant: i.Tenant, Band: "sha256", Value: i.SHA256, ImageID: i.ImageID, Deleted: true, Version: v,
		}),
	}
}

func photos(from, to int) (muts []table.Mutation) {
	for n := from; n < to; n++ {
		muts = append(muts, analysed(photo(n))...)
	}
	return muts
}

func progress(at time.Time) table.Mutation {
	return table.Progresses.Mutation(table.Progress{Pipeline: "live", CompleteTo: at.UnixMicro(), Version: at.UnixMicro()})
}

func TestNothingIsLostWhenTheConnectionIsKilled(t *testing.T) {
	t.Parallel()
	k, dsn := newKafka(t, 2, allTopics...), newDatabase(t)
	cfg := k.config(dsn)
	cfg.BatchRecords = 7
	i := newInstance(t, cfg)
	stop := i.start(t)
	conn := connect(t, dsn)
	const rounds, each = 8, 40
	for round := range rounds {
		k.write(t, photos(round*each, (round+1)*each)...)
		eventually(t, "some of them are applied", func() bool {
			first := photo(round * each).ImageID
			return one[int](t, conn, "SELECT count(*) FROM darkroom.image WHERE image_id >= $1", first) > 0
		})
		eventually(t, "the connection of the consumer is cut", func() bool {
			return one[int](t, conn, `SELECT count(pg_terminate_backend(pid)) FROM pg_locks
				WHERE locktype = 'advisory' AND granted
					AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`) > 0
		})
	}
	consumed(t, k, conn)
	stop()
	if n := one[int](t, conn, "SELECT images FROM darkroom.totals WHERE tenant = 'acme'"); n != rounds*each {
		t.Errorf("%d images, not %d", n, rounds*each)
	}
	recount(t, conn)
	if i.metric(t, "darkroom_statsapi_consumer_restarts_total") == 0 {
		t.Error("no restart was counted")
	}
}

func TestOneInstanceConsumesAndAnotherTakesOver(t *testing.T) {
	t.Parallel()
	k, dsn := newKafka(t, 1, allTopics...), newDatabase(t)
	conn := connect(t, dsn)
	a, b := newInstance(t, k.config(dsn)), newInstance(t, k.config(dsn))
	stopA, stopB := a.start(t), b.start(t)
	consuming := func() (n float64) {
		for _, i := range []instance{a, b} {
			n += i.metric(t, "darkroom_statsapi_consuming")
		}
		return n
	}
	k.write(t, photos(0, 10)...)
	consumed(t, k, conn)
	if n := consuming(); n != 1 {
		t.Fatalf("%v instances consume", n)
	}
	first, second, stopFirst, stopSecond := a, b, stopA, stopB
	if b.metric(t, "darkroom_statsapi_consuming") == 1 {
		first, second, stopFirst, stopSecond = b, a, stopB, stopA
	}
	if n := second.metric(t, "darkroom_statsapi_cdc_records_total"); n != 0 {
		t.Errorf("the other instance consumed %v records", n)
	}
	if n := first.metric(t, "darkroom_statsapi_cdc_records_total", "applied"); n != 20 {
		t.Errorf("%v records applied", n)
	}
	for _, i := range []instance{a, b} {
		var s statsapi.Summary
		if i.get(t, "/v1/stats/summary", 200, &s); s.Images != 10 {
			t.Errorf("an instance sees %d images", s.Images)
		}
	}
	stopFirst()
	k.write(t, photos(10, 20)...)
	consumed(t, k, conn)
	if second.metric(t, "darkroom_statsapi_consuming") != 1 {
		t.Error("the other instance did not take over")
	}
	stopSecond()
}

func TestSeveralInstancesMayStartAtOnce(t *testing.T) {
	t.Parallel()
	k, dsn := newKafka(t, 1), newDatabase(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			s, err := statsapi.New(context.Background(), k.config(dsn), slog.New(slog.DiscardHandler), service.NewRegistry())
			if err != nil {
				t.Error(err)
				return
			}
			s.Close()
		})
	}
	wg.Wait()
}

func TestTopicsAndPartitionsThatComeLaterArePickedUp(t *testing.T) {
	t.Parallel()
	k, dsn := newKafka(t, 1), newDatabase(t)
	conn := connect(t, dsn)
	i := newInstance(t, k.config(dsn))
	i.start(t)
	eventually(t, "it consumes", func() bool { return i.metric(t, "darkroom_statsapi_consuming") == 1 })
	for _, topic := range allTopics {
		if _, err := k.admin.CreateTopic(context.Background(), 1, 1, nil, topic); err != nil {
			t.Fatal(err)
		}
	}
	k.write(t, photos(0, 5)...)
	consumed(t, k, conn)
	if _, err := k.admin.CreatePartitions(context.Background(), 1, allTopics[0]); err != nil {
		t.Fatal(err)
	}
	k.client.PurgeTopicsFromClient(allTopics[0])
	k.send(t, record(t, table.Images.Mutation(photo(7)), 1))
	consumed(t, k, conn)
	if n := one[int](t, conn, "SELECT count(*) FROM darkroom.image"); n != 6 {
		t.Errorf("%d images", n)
	}
}

func TestARecordThatCannotBeAppliedIsKeptAndStopsNothing(t *testing.T) {
	t.Parallel()
	k, dsn := newKafka(t, 1, allTopics...), newDatabase(t)
	conn := connect(t, dsn)
	i := newInstance(t, k.config(dsn))
	topic := allTopics[0]
	// No index of PostgreSQL takes a name that is this long and cannot be compressed.
	long := photo(100)
	noise := make([]byte, 20_000)
	for n := range noise {
		noise[n] = byte('a' + rand.N(26))
	}
	long.Camera = string(noise)
	otherTable := record(t, progress(start2026), 0)
	otherTable.Topic = topic
	k.send(t,
		record(t, table.Images.Mutation(photo(1)), 0),
		&kgo.Record{Topic: topic, Key: []byte("k"), Value: []byte("{no json\x00\xff")},
		&kgo.Record{Topic: topic, Key: []byte("a tombstone of compaction")},
		otherTable,
		record(t, table.Images.Mutation(long), 0),
		record(t, table.Images.Mutation(photo(2)), 0),
		record(t, table.Images.Mutation(photo(2)), 0),
	)
	i.start(t)
	consumed(t, k, conn)
	if n := one[int](t, conn, "SELECT images FROM darkroom.totals"); n != 2 {
		t.Errorf("%d images", n)
	}
	for offset, want := range map[int]string{1: "decode change", 3: "another table", 4: "index row"} {
		got := one[string](t, conn, "SELECT error FROM darkroom.cdc_rejected WHERE record_offset = $1", offset)
		if !strings.Contains(got, want) {
			t.Errorf("record %d is rejected for %q, not %q", offset, got, want)
		}
	}
	value := one[[]byte](t, conn, "SELECT value FROM darkroom.cdc_rejected WHERE record_offset = 1")
	if string(value) != "{no json\x00\xff" {
		t.Errorf("it kept %q", value)
	}
	for outcome, want := range map[string]float64{"applied": 2, "ignored": 1, "rejected": 3} {
		if got := i.metric(t, "darkroom_statsapi_cdc_records_total", topic, outcome); got != want {
			t.Errorf("%v records %s, not %v", got, outcome, want)
		}
	}
	if n := one[int](t, conn, "SELECT count(*) FROM darkroom.cdc_rejected"); n != 3 {
		t.Errorf("%d rejected", n)
	}
}

func TestOffsetsThatAreGoneAreCountedAndReadOnFromTheStart(t *testing.T) {
	t.Parallel()
	k, _, conn, i, stop := following(t, 4)
	stop()
	k.write(t, photos(4, 8)...)
	upTo := kadm.Offsets{}
	upTo.Add(kadm.Offset{Topic: allTopics[0], Partition: 0, At: 6})
	if _, err := k.admin.DeleteRecords(context.Background(), upTo); err != nil {
		t.Fatal(err)
	}
	i.start(t)
	consumed(t, k, conn)
	if n := one[int](t, conn, "SELECT count(*) FROM darkroom.image"); n != 6 {
		t.Errorf("%d images, not the 4 before and the 2 that are left", n)
	}
	if n := i.metric(t, "darkroom_statsapi_cdc_offset_resets_total", allTopics[0]); n != 1 {
		t.Errorf("%v resets counted", n)
	}
}

// TestATopicThatIsMadeAnewIsReadFromItsStart makes one anew, of fewer or of more records than were read of the old one,
// while an instance consumes and while none does.
func TestATopicThatIsMadeAnewIsReadFromItsStart(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		records int
		away    bool
	}{"shorter": {1, false}, "longer": {9, false}, "shorter, nobody there": {1, true}, "longer, nobody there": {9, true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k, _, conn, i, stop := following(t, 4)
			if c.away {
				stop()
			}
			k.anew(t, allTopics[0])
			for n := range c.records {
				k.send(t, record(t, table.Images.Mutation(photo(9+n)), 0))
			}
			if c.away {
				i.start(t)
			}
			eventually(t, "all images are there", func() bool {
				return one[int](t, conn, "SELECT count(*) FROM darkroom.image") == 4+c.records
			})
			consumed(t, k, conn)
			if n := i.metric(t, "darkroom_statsapi_cdc_offset_resets_total", allTopics[0]); n != 1 {
				t.Errorf("%v resets counted", n)
			}
		})
	}
}

// anew deletes a topic and makes another of its name.
func (k *kafka) anew(t *testing.T, topic string) {
	t.Helper()
	if _, err := k.admin.DeleteTopic(context.Background(), topic); err != nil {
		t.Fatal(err)
	}
	if _, err := k.admin.CreateTopic(context.Background(), 1, 1, nil, topic); err != nil {
		t.Fatal(err)
	}
	k.client.PurgeTopicsFromClient(topic)
}

func TestNewSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	k := newKafka(t, 1)
	for want, change := range map[string]func(*statsapi.Config){
		"PostgresDSN":           func(c *statsapi.Config) { c.PostgresDSN = "" },
		"Brokers":               func(c *statsapi.Config) { c.Brokers = nil },
		"QueryTimeout":          func(c *statsapi.Config) { c.QueryTimeout = 0 },
		"BatchRecords":          func(c *statsapi.Config) { c.BatchRecords = 0 },
		"LockInterval":          func(c *statsapi.Config) { c.LockInterval = 0 },
		"DiscoverInterval":      func(c *statsapi.Config) { c.DiscoverInterval = 0 },
		"connect to PostgreSQL": func(c *statsapi.Config) { c.PostgresDSN = "postgres://u:p@127.0.0.1:1/d?sslmode=disable" },
	} {
		cfg := k.config(postgres.DSN())
		change(&cfg)
		_, err := statsapi.New(context.Background(), cfg, slog.New(slog.DiscardHandler), service.NewRegistry())
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("the error does not name %s in one line: %v", want, err)
		}
	}
}
