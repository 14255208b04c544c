package stack_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"darkroom/internal/local/stack"
	"darkroom/internal/table"
	"darkroom/internal/table/open"
)

// crashEvents is how many uploads the test has; DARKROOM_STACK_EVENTS sets another number.
const crashEvents = 6000

// TestExactThroughCrashes lets uploads flow from Kafka through Flink to Cassandra, and from there through Debezium to
// the statistics service, kills one part after another in the middle of that, and then holds every table of Cassandra
// and of PostgreSQL against the oracle.
func TestExactThroughCrashes(t *testing.T) {
	e := shared
	if err := e.up(t.Context(), "cassandra", "debezium", "postgres"); err != nil {
		t.Fatal(err)
	}
	events, rejected := e.topics(t)
	to := e.cassandra(t)
	stats := e.startStats(t)
	in := makeInput(t, e.openBlobs(t), 2, eventCount(t))
	job := e.stream(t, events, rejected, to, "--parallelism", "2")

	faults := []struct {
		name string
		do   func()
	}{
		{"a worker is killed", func() { e.killWorker(t) }},
		{"the TaskManager is killed", func() { e.restart(t, "flink-taskmanager") }},
		{"the pool of workers is killed", func() { e.restartWorkers(t) }},
		{"Debezium is killed", func() { e.restart(t, "debezium") }},
		{"the broker is killed", func() { e.restart(t, "kafka") }},
		{"the statistics service is killed", func() { stats = e.restartStats(t, stats) }},
		{"Cassandra is killed", func() { e.restart(t, "cassandra", "debezium") }},
		{"the JobManager is killed, and with it the job, which is run anew", func() {
			job.client.stop()
			e.restart(t, "flink-jobmanager", "flink-taskmanager", "flink-jobserver")
			job = e.stream(t, events, rejected, to, "--parallelism", "2")
		}},
	}
	r := rand.New(rand.NewPCG(3, 0))
	cl := e.kafka(t)
	slice := len(in.records) / (len(faults) + 1)
	for i, f := range faults {
		in.produce(t, cl, events, i*slice, (i+1)*slice)
		job.afterCheckpoints(1 + r.Int64N(2))
		t.Log(f.name)
		f.do()
	}
	in.produce(t, cl, events, len(faults)*slice, len(in.records))
	eventually(t, 5*time.Minute, func() error { return in.check(t, to) })
	eventually(t, 2*time.Minute, func() error { return to.mirrored(t, e.postgres(t)) })

	// What a bounded run on Prism makes of the same topic is the same, bit for bit.
	again := newTables(t)
	p, err := e.start(e.live(events, rejected, again, "--bounded")...)
	if err != nil {
		t.Fatal(err)
	}
	<-p.ended
	if text := differ(to.rows(t), again.rows(t)); p.err != nil || text != "" {
		t.Errorf("%v: %s\n%s", p.err, text, p.text())
	}
}

func eventCount(t *testing.T) int {
	t.Helper()
	text := os.Getenv("DARKROOM_STACK_EVENTS")
	if text == "" {
		return crashEvents
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// cassandra opens the keyspace, and so makes its tables.
func (e *env) cassandra(t *testing.T) tables {
	t.Helper()
	dsn := "cassandra://" + e.stack.Addr("cassandra") + "/darkroom"
	store, err := open.Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return tables{store, dsn}
}

func (e *env) postgres(t *testing.T) string {
	t.Helper()
	known, err := e.variables(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return known["DARKROOM_POSTGRES"]
}

func (e *env) startStats(t *testing.T) *process {
	t.Helper()
	p, err := e.start("statsapi", "--stats-listen", "127.0.0.1:0", "--kafka", e.stack.Addr("kafka"), "--postgres", e.postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.stop)
	if err := p.waitFor("ready "); err != nil {
		t.Fatal(err)
	}
	return p
}

func (e *env) restartStats(t *testing.T, p *process) *process {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-p.ended
	return e.startStats(t)
}

// restart kills parts with -9 and starts them again.
func (e *env) restart(t *testing.T, names ...string) {
	t.Helper()
	if err := e.stack.Kill(names[0]); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	// A part that needs the one that was killed may have died of it.
	if err := e.stack.Up(ctx, func(stack.Event) {}, names...); err != nil {
		t.Fatal(err)
	}
}

// killWorker kills one of the pool's workers.
func (e *env) killWorker(t *testing.T) {
	t.Helper()
	pid := e.workers.cmd.Process.Pid
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	all := strings.Fields(string(children))
	tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid)) // gone: no children
	for _, task := range tasks {
		more, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, task.Name())) // a thread that has ended
		all = append(all, strings.Fields(string(more))...)
	}
	if len(all) == 0 {
		t.Fatalf("the pool has no worker: %v\n%s", err, e.workers.text())
	}
	child, err := strconv.Atoi(all[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(child, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// restartWorkers kills the pool with -9 and starts another in its place. The workers, which outlive it, end when their
// runner hangs up.
func (e *env) restartWorkers(t *testing.T) {
	t.Helper()
	addr := e.workersAddr()
	if err := e.workers.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-e.workers.ended
	if err := e.startWorkers(addr); err != nil {
		t.Fatal(err)
	}
}

// mirrored compares the rows of the tables with those of the statistics service's copy.
func (s tables) mirrored(t *testing.T, dsn string) error {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, tab := range compared {
		var columns []string
		for _, c := range append(tab.Key(), tab.Regular...) {
			columns = append(columns, c.Name)
		}
		rows, err := conn.Query(ctx, fmt.Sprintf("SELECT row_to_json(r) FROM (SELECT %s FROM darkroom.%s WHERE NOT gone) r",
			strings.Join(columns, ", "), tab.Name))
		if err != nil {
			return err
		}
		copied := map[string]int{}
		var text string
		if _, err := pgx.ForEachRow(rows, []any{&text}, func() error {
			row := table.Row{}
			d := json.NewDecoder(strings.NewReader(text))
			d.UseNumber()
			if err := d.Decode(&row); err != nil {
				return err
			}
			copied[encode(tab, row)]++
			return nil
		}); err != nil {
			return err
		}
		original := map[string]int{}
		for row, err := range s.store.Scan(ctx, table.Query{Table: tab.Name}) {
			if err != nil {
				return err
			}
			original[encode(tab, row)]++
		}
		if text := differ(copied, original); text != "" {
			return errors.New("PostgreSQL: " + tab.Name + ": " + text)
		}
	}
	return nil
}

// ofDeleted are the columns that a deletion writes. The store keeps the facts beside them, and the copy does not.
var ofDeleted = []string{"image_id", "tenant", "state", "uploaded_at", "version"}

// encode writes a row with every column: PostgreSQL has a zero where Cassandra has nothing.
func encode(tab table.Table, row table.Row) string {
	var b strings.Builder
	for _, c := range append(tab.Key(), tab.Regular...) {
		if row["state"] == table.StateDeleted && !slices.Contains(ofDeleted, c.Name) {
			continue
		}
		v, ok := row[c.Name]
		if !ok || v == nil {
			v = map[bool]any{true: false, false: map[bool]any{true: 0, false: ""}[c.Type == table.BigInt]}[c.Type == table.Boolean]
		}
		fmt.Fprintf(&b, "%s=%v ", c.Name, v)
	}
	return b.String()
}
