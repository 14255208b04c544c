package statsapi_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"darkroom/internal/local"
	"darkroom/internal/service"
	"darkroom/internal/table"
	"darkroom/statsapi"
)

const patience = 20 * time.Second

var postgres *local.Postgres

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	flag.Parse()
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		_ = f.Value.Set("15") // each check consumes from Kafka into PostgreSQL several times
	}
	dir, err := os.MkdirTemp("", "statsapi")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	postgres, err = local.StartPostgres(context.Background(), local.PostgresOptions{
		Dir: dir, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		panic(err)
	}
	defer func() { _ = postgres.Close() }() // the server ends with this process at the latest
	hasten()
	return m.Run()
}

// hasten spares the server the disk: nothing here outlives it.
func hasten() {
	conn, err := pgx.Connect(context.Background(), postgres.DSN())
	if err != nil {
		panic(err)
	}
	defer func() { _ = conn.Close(context.Background()) }() // nothing depends on it
	for _, sql := range []string{
		"ALTER SYSTEM SET fsync = off", "ALTER SYSTEM SET full_page_writes = off",
		"ALTER SYSTEM SET synchronous_commit = off", "SELECT pg_reload_conf()",
	} {
		if _, err := conn.Exec(context.Background(), sql); err != nil {
			panic(err)
		}
	}
}

var databases atomic.Int64

// newDatabase makes an empty database and returns its address.
func newDatabase(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("test_%d", databases.Add(1))
	u, err := url.Parse(postgres.DSN())
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	admin := connect(t, postgres.DSN())
	exec(t, admin, "CREATE DATABASE "+name)
	return u.String()
}

func connect(t testing.TB, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func exec(t testing.TB, conn *pgx.Conn, sql string, args ...any) {
	t.Helper()
	if _, err := conn.Exec(context.Background(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// one is the only value of a query.
func one[T any](t testing.TB, conn *pgx.Conn, sql string, args ...any) T {
	t.Helper()
	var v T
	if err := conn.QueryRow(context.Background(), sql, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

var allTopics = []string{
	table.ChangeTopic("image"), table.ChangeTopic("hash_band"), table.ChangeTopic("image_stats"),
	table.ChangeTopic("progress"),
}

// newKafka starts a broker with the topics, or with none.
func newKafka(t testing.TB, partitions int32, topics ...string) *kafka {
	t.Helper()
	return startKafka(t, partitions, topics, kfake.NumBrokers(1))
}

func startKafka(t testing.TB, partitions int32, topics []string, opts ...kfake.Opt) *kafka {
	t.Helper()
	if len(topics) > 0 {
		opts = append(opts, kfake.SeedTopics(partitions, topics...))
	}
	cluster, err := kfake.NewCluster(opts...)
	if err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	k := &kafka{cluster: cluster, client: client, admin: kadm.NewClient(client)}
	t.Cleanup(k.close)
	return k
}

type kafka struct {
	cluster *kfake.Cluster
	client  *kgo.Client
	admin   *kadm.Client
	closed  bool
}

func (k *kafka) close() {
	if !k.closed {
		k.closed = true
		k.client.Close()
		k.cluster.Close()
	}
}

// send publishes records, those of one partition in their order.
func (k *kafka) send(t testing.TB, records ...*kgo.Record) {
	t.Helper()
	if err := k.client.ProduceSync(context.Background(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// record is the change of a mutation, for a partition.
func record(t testing.TB, m table.Mutation, partition int32) *kgo.Record {
	t.Helper()
	key, value, err := table.ChangeOf(m, time.UnixMicro(m.Version), 0).Encode()
	if err != nil {
		t.Fatal(err)
	}
	return &kgo.Record{Topic: table.ChangeTopic(m.Table), Partition: partition, Key: key, Value: value}
}

// write publishes the changes of mutations to partition 0.
func (k *kafka) write(t testing.TB, muts ...table.Mutation) {
	t.Helper()
	var records []*kgo.Record
	for _, m := range muts {
		records = append(records, record(t, m, 0))
	}
	k.send(t, records...)
}

// ends are the end offsets, as cdc_offset should have them; partitions of no records are left out.
func (k *kafka) ends(t testing.TB) map[string]int64 {
	t.Helper()
	listed, err := k.admin.ListEndOffsets(context.Background(), allTopics...)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]int64{}
	listed.Each(func(o kadm.ListedOffset) {
		if o.Err == nil && o.Offset > 0 {
			out[fmt.Sprintf("%s/%d", o.Topic, o.Partition)] = o.Offset
		}
	})
	return out
}

func (k *kafka) config(dsn string) statsapi.Config {
	cfg := statsapi.DefaultConfig()
	cfg.PostgresDSN, cfg.Brokers = dsn, k.cluster.ListenAddrs()
	cfg.LockInterval, cfg.DiscoverInterval = 20*time.Millisecond, 50*time.Millisecond
	return cfg
}

// instance is a service with its metrics.
type instance struct {
	*statsapi.Service
	metrics *prometheus.Registry
}

func newInstance(t testing.TB, cfg statsapi.Config) instance {
	t.Helper()
	reg := service.NewRegistry()
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	s, err := statsapi.New(context.Background(), cfg, log, reg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return instance{s, reg}
}

// start consumes until the returned function is called, or the test ends.
func (i instance) start(t testing.TB) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- i.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	t.Cleanup(stop)
	return stop
}

// metric is the sum of a metric's values over the series whose labels hold all of those given.
func (i instance) metric(t testing.TB, name string, labels ...string) float64 {
	t.Helper()
	families, err := i.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var sum float64
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			text := m.String()
			matches := true
			for _, l := range labels {
				matches = matches && strings.Contains(text, `"`+l+`"`)
			}
			if matches {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return sum
}

// get asks the service, and decodes its answer into out, which must know every field.
func (i instance) get(t testing.TB, path string, status int, out any) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	i.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	if w.Code != status {
		t.Fatalf("GET %s: %d, not %d: %s", path, w.Code, status, w.Body)
	}
	if out != nil {
		d := json.NewDecoder(strings.NewReader(w.Body.String()))
		d.DisallowUnknownFields()
		if err := d.Decode(out); err != nil {
			t.Fatalf("GET %s: %v in %s", path, err, w.Body)
		}
	}
	return w
}

// problem asks the service what it must refuse, and returns the detail.
func (i instance) problem(t testing.TB, path string, status int, slug string) string {
	t.Helper()
	var p service.Problem
	w := i.get(t, path, status, &p)
	if got := w.Header().Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("GET %s: content type %q", path, got)
	}
	if p.Type != "urn:darkroom:problem:"+slug || p.Status != status || p.Title == "" {
		t.Errorf("GET %s: problem %+v", path, p)
	}
	return p.Detail
}

// eventually waits for what must come true.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("in vain: %s", what)
		}
	}
}

// following is an instance that runs and has read so many photos, with its Kafka and its database.
func following(t testing.TB, n int) (k *kafka, dsn string, conn *pgx.Conn, i instance, stop func()) {
	t.Helper()
	k, dsn = newKafka(t, 1, allTopics...), newDatabase(t)
	conn, i = connect(t, dsn), newInstance(t, k.config(dsn))
	stop = i.start(t)
	k.write(t, photos(0, n)...)
	consumed(t, k, conn)
	return k, dsn, conn, i, stop
}

// consumed waits until the copy has read all that the topics hold.
func consumed(t testing.TB, k *kafka, conn *pgx.Conn) {
	t.Helper()
	want := k.ends(t)
	eventually(t, "everything is consumed", func() bool { return maps.Equal(want, readOffsets(t, conn)) })
}

func readOffsets(t testing.TB, conn *pgx.Conn) map[string]int64 {
	t.Helper()
	rows, err := conn.Query(context.Background(), "SELECT topic || '/' || partition, next_offset FROM darkroom.cdc_offset")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]int64{}
	var p string
	var o int64
	if _, err := pgx.ForEachRow(rows, []any{&p, &o}, func() error { out[p] = o; return nil }); err != nil {
		t.Fatal(err)
	}
	return out
}

// copyOf is all rows of the copy's tables and what is derived from them, in order, but for rows of nothing but zeros.
func copyOf(t testing.TB, conn *pgx.Conn) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for name, where := range map[string]string{
		"image": "true", "hash_band": "true", "image_stats": "true", "progress": "true", "freshness": "true",
		"totals": "(images, bytes, pixels, rejected, same_bytes) <> (0, 0, 0, 0, 0)",
		"bucket": "members <> 0",
	} {
		sql := "SELECT row_to_json(x)::text FROM darkroom." + name + " x WHERE " + where + " ORDER BY 1"
		rows, err := conn.Query(context.Background(), sql)
		if err != nil {
			t.Fatal(err)
		}
		if out[name], err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
			t.Fatal(err)
		}
	}
	return out
}
