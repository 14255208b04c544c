package cassandra_test

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"darkroom/internal/table"
	"darkroom/internal/table/tabletest"
)

var update = flag.Bool("update", false, "write Debezium's records to testdata of package table")

// changes reads the change topics from now on. The Debezium that fills them watches the Cassandra under test.
func changes(t *testing.T) *kgo.Client {
	t.Helper()
	brokers := os.Getenv("DARKROOM_CDC_KAFKA")
	if brokers == "" {
		t.Skip("DARKROOM_CDC_KAFKA=host:port names no Kafka that Debezium writes Cassandra's changes to")
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers), kgo.ConsumeTopics(table.ChangeTopics()...),
		kgo.MetadataMinAge(100*time.Millisecond), kgo.MetadataMaxAge(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// newRun is in the key of each row that a test writes to the keyspace it shares with all others: Debezium's records name
// the keyspace, and package table knows one.
func newRun() string { return strings.ReplaceAll(time.Now().Format("run150405.000000000"), ".", "") }

func openShared(t *testing.T) table.Store {
	t.Helper()
	s := openStore(t, config(t, table.Keyspace))
	cluster := session(t)
	for _, tab := range table.Tables() {
		if isTestTable(tab.Name) {
			exec(t, cluster, "%s", createTable(table.Keyspace, tab))
		}
	}
	return s
}

// await applies the mutations and reads records of the run until done says that they are all there. After a silence it
// applies them again: Debezium does not tell the writes to a table that it has not heard of yet.
func await(t *testing.T, client *kgo.Client, run string, muts []table.Mutation, done func(*kgo.Record, table.Change) bool) {
	t.Helper()
	s := openShared(t)
	for range 10 {
		if err := s.Apply(t.Context(), muts); err != nil {
			t.Fatal(err)
		}
		if awaitOnce(t, client, run, done) {
			return
		}
	}
	t.Fatal("the changes do not come")
}

func awaitOnce(t *testing.T, client *kgo.Client, run string, done func(*kgo.Record, table.Change) bool) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
	defer cancel()
	for {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return false
		}
		for _, r := range fetches.Records() {
			if !strings.Contains(string(r.Key), run) {
				continue
			}
			c, err := table.DecodeChange(r.Value)
			if err != nil {
				t.Fatalf("%v: %s", err, r.Value)
			}
			if done(r, c) {
				return true
			}
		}
	}
}

// What Debezium makes of a write is what the embedded store publishes of it.
func TestDebeziumTellsEveryMutation(t *testing.T) {
	client, run := changes(t), newRun()
	missing, muts := map[string]table.Mutation{}, []table.Mutation{}
	for _, c := range tabletest.ChangeCases(run) {
		missing[c.Name], muts = c.Mutation, append(muts, c.Mutation)
	}
	await(t, client, run, muts, func(r *kgo.Record, got table.Change) bool {
		for name, want := range missing {
			if !reflect.DeepEqual(got.Mutation(), want) {
				continue
			}
			delete(missing, name)
			if key, _, err := table.ChangeOf(want, got.At, 0).Encode(); err != nil || string(key) != string(r.Key) {
				t.Errorf("%s has the key %s, want %s, %v", name, r.Key, key, err)
			}
			if *update {
				writeGolden(t, name, strings.ReplaceAll(string(r.Value), run, "golden"))
			}
			return len(missing) == 0
		}
		t.Logf("not awaited, or told twice: %+v", got)
		return false
	})
}

func writeGolden(t *testing.T, name, record string) {
	t.Helper()
	path := filepath.Join("..", "testdata", "debezium", name+".json")
	if err := os.WriteFile(path, []byte(record+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Rows of one partition go in batches, of which Debezium tells one timestamp: still each row's own version arrives.
func TestDebeziumTellsTheVersionsOfABatch(t *testing.T) {
	client, run := changes(t), newRun()
	var muts []table.Mutation
	for n := range int64(50) {
		muts = append(muts, table.AllImageStats.Mutation(table.ImageStats{
			Tenant: run, Dimension: "all", Day: "2026-01-01", WindowStart: n, Events: 100 - n%7, Version: n + 100 - n%7}))
	}
	for n := range int64(5) { // writes to rows that the batch writes as well
		muts = append(muts, table.AllImageStats.Mutation(table.ImageStats{
			Tenant: run, Dimension: "all", Day: "2026-01-01", WindowStart: n, Events: 200, Version: n + 200}))
		key := table.AllImageStats.Key(table.ImageStats{Tenant: run, Dimension: "all", Day: "2026-01-01", WindowStart: n})
		muts = append(muts, table.Mutation{Table: "image_stats", Row: key, Delete: true, Version: 1 + n})
	}
	missing := slices.Clone(muts)
	await(t, client, run, muts, func(_ *kgo.Record, got table.Change) bool {
		version, told := got.Row[table.VersionColumn].(int64)
		if told {
			got.Version = version // as statsapi has it
		}
		for i, want := range missing {
			if reflect.DeepEqual(got.Mutation(), want) {
				missing = slices.Delete(missing, i, i+1)
				return len(missing) == 0
			}
		}
		t.Logf("not awaited, or told twice: %+v", got)
		return false
	})
}
