package stack_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"

	"darkroom/internal/local"
	"darkroom/internal/local/stack"
)

// TestTheRealParts needs Java, Maven, 3 GB of memory and some minutes, so it runs only when it is asked for.
func TestTheRealParts(t *testing.T) {
	if os.Getenv("DARKROOM_STACK_TEST") == "" {
		t.Skip("DARKROOM_STACK_TEST is not set")
	}
	dir := t.TempDir()
	s, err := stack.Open(stack.Options{Dir: dir, FreePorts: true, Binary: binary(t)})
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"debezium", "flink-jobserver", "postgres", "s3"}
	t.Cleanup(func() {
		begin := time.Now()
		if err := s.Down(context.Background(), logEvent(t)); err != nil {
			t.Error(err)
		}
		t.Logf("down in %v", time.Since(begin))
		all, err := s.Status(context.Background())
		if err != nil {
			t.Error(err)
		}
		for _, p := range all {
			if p.State != stack.Stopped {
				t.Errorf("%s is %s after down", p.Name, p.State)
			}
		}
	})
	begin := time.Now()
	if err := s.Up(t.Context(), logEvent(t), names...); err != nil {
		t.Fatal(err)
	}
	t.Logf("up in %v", time.Since(begin))
	report(t, s)
	onLoopback(t, s)

	conn, err := pgx.Connect(t.Context(), dsn(t, s, dir))
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close(t.Context())

	first := newChanges(t, s)
	cql(t, s, "CREATE TABLE darkroom.image (image_id text PRIMARY KEY, bytes bigint) WITH cdc = true")
	insert(t, s, "before")
	first.await(t, "before")
	for range 5 { // how long a change takes
		id := strconv.FormatInt(time.Now().UnixNano(), 10)
		begin := time.Now()
		insert(t, s, id)
		first.await(t, id)
		t.Logf("a change is in Kafka after %v", time.Since(begin).Round(time.Millisecond))
	}

	// What is acknowledged just before a crash of everything must still come through.
	killed := []string{"debezium", "cassandra", "kafka", "flink-taskmanager", "flink-jobmanager", "postgres", "s3"}
	insert(t, s, "acknowledged")
	for _, name := range killed {
		if err := s.Kill(name); err != nil {
			t.Fatal(err)
		}
	}
	all, err := s.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		if slices.Contains(killed, p.Name) != (p.State == stack.Dead) {
			t.Errorf("%s is %s after the kills", p.Name, p.State)
		}
	}
	begin = time.Now()
	if err := s.Up(t.Context(), logEvent(t), names...); err != nil {
		t.Fatal(err)
	}
	t.Logf("repaired in %v", time.Since(begin))
	insert(t, s, "after")
	again := newChanges(t, s)
	again.await(t, "acknowledged")
	again.await(t, "after")
}

// binary builds darkroom, which runs two of the parts.
func binary(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "darkroom")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", path, "darkroom")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

func dsn(t *testing.T, s *stack.Stack, dir string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(s.Addr("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	dsn, err := local.PostgresDSN(filepath.Join(dir, "data", "postgres"), n)
	if err != nil {
		t.Fatal(err)
	}
	return dsn
}

func logEvent(t *testing.T) stack.Progress {
	return func(e stack.Event) {
		if e.Took > 0 {
			t.Logf("%-17s %-8s %6.1f s", e.Part, e.State, e.Took.Seconds())
		}
	}
}

func report(t *testing.T, s *stack.Stack) {
	t.Helper()
	all, err := s.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		t.Logf("%-17s %-8s %5d MiB  %s", p.Name, p.State, p.Memory>>20, p.Address)
	}
}

// onLoopback checks that nothing but loopback reaches the parts, except Debezium's metrics.
func onLoopback(t *testing.T, s *stack.Stack) {
	t.Helper()
	var own string
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.To4() != nil && !ip.IP.IsLoopback() {
			own = ip.IP.String()
		}
	}
	if own == "" {
		t.Log("this machine has no address but loopback")
		return
	}
	for _, p := range stack.Parts() {
		for _, port := range p.Ports {
			_, number, err := net.SplitHostPort(s.Addr(p.Name + "/" + port.Name))
			if err != nil {
				t.Fatal(err)
			}
			conn, err := net.DialTimeout("tcp", net.JoinHostPort(own, number), time.Second)
			if err == nil {
				conn.Close()
				if p.Name != "debezium" {
					t.Errorf("%s/%s is reached on %s", p.Name, port.Name, own)
				}
			}
		}
	}
}

// cql runs statements, which may need some tries after a crash.
func cql(t *testing.T, s *stack.Stack, statements ...string) {
	t.Helper()
	cluster := gocql.NewCluster(s.Addr("cassandra"))
	cluster.Timeout, cluster.ConnectTimeout, cluster.Consistency = 20*time.Second, 20*time.Second, gocql.One
	session, err := cluster.CreateSession()
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	for _, q := range statements {
		if err := session.Query(q).ExecContext(t.Context()); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
	}
}

func insert(t *testing.T, s *stack.Stack, id string) {
	t.Helper()
	cql(t, s, fmt.Sprintf("INSERT INTO darkroom.image (image_id, bytes) VALUES ('%s', 7)", id))
}

// changes reads the topic of the table's changes from its beginning.
type changes struct {
	client *kgo.Client
	seen   strings.Builder
}

func newChanges(t *testing.T, s *stack.Stack) *changes {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(s.Addr("kafka")), kgo.ConsumeTopics("cdc.darkroom.image"),
		kgo.UnknownTopicRetries(-1), kgo.MetadataMinAge(100*time.Millisecond), kgo.MetadataMaxAge(time.Second),
		kgo.FetchMaxWait(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return &changes{client: client}
}

func (c *changes) await(t *testing.T, id string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for !strings.Contains(c.seen.String(), `"`+id+`"`) {
		fetches := c.client.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("no change of %s; there are: %s", id, c.seen.String())
		}
		fetches.EachRecord(func(r *kgo.Record) { fmt.Fprintf(&c.seen, "%s %s\n", r.Key, r.Value) })
	}
}
