package stack_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"

	"darkroom/internal/table"
	"darkroom/internal/table/open"
)

// What TestExactThroughCrashes does unless DARKROOM_STACK_EVENTS and DARKROOM_STACK_SEED say otherwise: how many uploads
// there are, and where its randomness begins: the order of the faults, their moments, how a tunnel is cut, and the input.
const (
	crashEvents = 20_000
	crashSeed   = 3
)

// TestExactThroughCrashes lets uploads flow from Kafka through Flink to Cassandra, and from there through Debezium to
// the statistics service, kills one part after another in the middle of that and cuts one connection after another, and
// then holds every table of Cassandra and of PostgreSQL against the oracle.
func TestExactThroughCrashes(t *testing.T) {
	seed := uint64(fromEnv(t, "DARKROOM_STACK_SEED", crashSeed))
	n := fromEnv(t, "DARKROOM_STACK_EVENTS", crashEvents)
	c := startChain(t, seed, n)
	r := rand.New(rand.NewPCG(seed, 0))
	faults := c.faults(r)
	total := len(c.in.records)
	for i, f := range faults {
		c.throw(f, (i+1)*total/(len(faults)+1), r)
	}
	c.produce(total - c.sent)
	eventually(t, 10*time.Minute, func() error { return c.in.check(t, c.to) })
	c.log("Cassandra is exact")
	eventually(t, 10*time.Minute, func() error { return c.to.mirrored(t, c.postgres(t)) })
	c.log("PostgreSQL is exact")

	// What a bounded run on Prism makes of the same topic is the same, bit for bit.
	again := newTables(t)
	p, err := c.start(c.live(c.events, c.rejected, again, "--bounded")...)
	if err != nil {
		t.Fatal(err)
	}
	<-p.ended
	if text := differ(c.to.rows(t), again.rows(t)); p.err != nil || text != "" {
		t.Errorf("%v: %s\n%s", p.err, text, p.text())
	}
	c.log("a bounded run makes the same")
}

func fromEnv(t *testing.T, name string, or int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return or
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		t.Fatalf("%s: %q is no number", name, text)
	}
	return n
}

// chain is all that an upload goes through, from Kafka to the statistics service's copy, with tunnels in between.
type chain struct {
	*env
	t     *testing.T
	began time.Time

	in               *input
	sent             int // records
	cl               *kgo.Client
	events, rejected string
	to               tables // reached by ourselves, without a tunnel
	through          tables // the same, as the pipeline reaches it
	job              *job
	stats            *process
	copyDSN          string // the statistics service's database, as it reaches it
	copy             *pgx.Conn

	tunnels map[string]tunnel
}

// startChain starts everything, and makes the input.
func startChain(t *testing.T, seed uint64, n int) *chain {
	t.Helper()
	e := shared
	if err := e.up(t.Context(), "cassandra", "debezium", "postgres"); err != nil {
		t.Fatal(err)
	}
	c := &chain{env: e, t: t, began: time.Now(), tunnels: maps.Clone(e.toKafka), cl: e.kafka(t), to: e.cassandra(t)}
	c.events, c.rejected = e.topics(t)
	c.in = makeInput(t, e.openBlobs(t), seed, n)
	if c.in.late == 0 || c.in.repeats == 0 {
		t.Fatalf("the input has %d late events and %d repeats", c.in.late, c.in.repeats)
	}
	dsn := e.postgres(t)
	var err error
	if c.copy, err = pgx.Connect(t.Context(), dsn); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.copy.Close(context.Background()) })

	e.via = route{
		kafka: e.toKafka["pipeline"].addr(), s3: "http://" + c.tunnel("s3", e.stack.Addr("s3")),
		workers: c.tunnel("workers", e.workersAddr()),
	}
	t.Cleanup(func() { e.via = route{} })
	c.through = tables{c.to.store, "cassandra://" + c.tunnel("cassandra", e.stack.Addr("cassandra")) + "/darkroom?host_lookup=false"}
	c.copyDSN = strings.Replace(dsn, e.stack.Addr("postgres"), c.tunnel("postgres", e.stack.Addr("postgres")), 1)
	c.startStats()
	c.startJob()
	c.log("seed %d: %d uploads, of which %d come late and %d twice", seed, n, c.in.late, c.in.repeats)
	return c
}

// tunnel opens one to an address.
func (c *chain) tunnel(name, to string) string {
	c.t.Helper()
	w, err := openTunnel(name)
	if err == nil {
		err = w.lead(to)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(w.proxy.Stop)
	c.tunnels[name] = w
	return w.addr()
}

func (c *chain) startJob() {
	c.t.Helper()
	c.job = c.stream(c.t, c.events, c.rejected, c.through, "--parallelism", "2")
}

func (c *chain) log(format string, args ...any) {
	c.t.Helper()
	c.t.Logf("%4.0f s, %d of %d records: "+format,
		append([]any{time.Since(c.began).Seconds(), c.sent, len(c.in.records)}, args...)...)
}

// produce sends the next records and returns some of the images that they tell of.
func (c *chain) produce(n int) []string {
	c.t.Helper()
	from := c.sent
	c.sent += n
	c.in.produce(c.t, c.cl, c.events, from, c.sent)
	return c.in.sample(from, c.sent)
}

// stage is a place on the way of an upload: how many of some images have come as far.
type stage func(c *chain, ids []string) (int, error)

func inTables(c *chain, ids []string) (n int, err error) {
	for _, id := range ids {
		_, err := c.to.store.Get(c.t.Context(), table.Images.Table().Name, table.Images.Key(table.Image{ImageID: id}))
		switch {
		case err == nil:
			n++
		case !errors.Is(err, table.ErrNotFound):
			return n, err
		}
	}
	return n, nil
}

func inCopy(c *chain, ids []string) (n int, err error) {
	err = c.copy.QueryRow(c.t.Context(), "SELECT count(*) FROM darkroom.image WHERE image_id = ANY($1)", ids).Scan(&n)
	return n, err
}

// fault is something that goes wrong. It is over when do returns.
type fault struct {
	name   string
	before stage // what is on its way there is hit
	do     func() error
}

// throw makes a fault happen while records up to an end are on their way: some of them have come through, so that
// whatever went wrong before is over, there was a checkpoint since, and some have not.
func (c *chain) throw(f fault, end int, r *rand.Rand) {
	c.t.Helper()
	portion := (end - c.sent) / 4
	ids := c.produce(portion)
	eventually(c.t, 3*time.Minute, func() error {
		n, err := f.before(c, ids)
		if err == nil && n == 0 {
			err = fmt.Errorf("%s: nothing comes through", f.name)
		}
		return err
	})
	c.job.afterCheckpoints(1)
	for n := len(ids); n == len(ids); {
		if c.sent+portion > end {
			c.t.Fatalf("%s: nothing was on its way", f.name)
		}
		ids = c.produce(portion)
		time.Sleep(time.Duration(r.Int64N(int64(200 * time.Millisecond)))) // not always at the same point of a bundle
		var err error
		if n, err = f.before(c, ids); err != nil {
			c.t.Fatal(err)
		}
	}
	c.log("%s", f.name)
	rest, from := make(chan error, 1), c.sent
	c.sent = end
	go func() { rest <- c.in.send(c.t.Context(), c.cl, c.events, from, end) }()
	if err := errors.Join(f.do(), <-rest); err != nil {
		c.t.Fatalf("%s: %v", f.name, err)
	}
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
