package local_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"darkroom/internal/local"
)

const topic = "events"

// parts is all that this package starts, in one folder.
type parts struct {
	kafka    *local.Kafka
	s3       *local.S3
	postgres *local.Postgres
}

func start(ctx context.Context, dir string) (p parts, err error) {
	if p.kafka, err = local.StartKafka(local.KafkaOptions{Dir: filepath.Join(dir, "kafka"), Topics: map[string]int32{topic: 2}}); err != nil {
		return p, err
	}
	if p.s3, err = local.StartS3(ctx, local.S3Options{Dir: filepath.Join(dir, "s3")}); err != nil {
		return p, err
	}
	p.postgres, err = local.StartPostgres(ctx, local.PostgresOptions{Dir: filepath.Join(dir, "postgres")})
	return p, err
}

func (p parts) stop() error {
	return errors.Join(p.s3.Close(), p.postgres.Close(), p.kafka.Close())
}

// write stores one number in Kafka and PostgreSQL, durably.
func (p parts) write(ctx context.Context, n int) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(p.kafka.Addr()), kgo.DefaultProduceTopic(topic))
	if err != nil {
		return err
	}
	defer cl.Close()
	if err := cl.ProduceSync(ctx, kgo.StringRecord(fmt.Sprint(n))).FirstErr(); err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, p.postgres.DSN())
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "create table if not exists numbers (n int primary key)"); err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "insert into numbers values ($1)", n)
	return err
}

// counts returns how many numbers Kafka and PostgreSQL have.
func (p parts) counts(t *testing.T) (kafka, postgres int64) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(p.kafka.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ends, err := kadm.NewClient(cl).ListEndOffsets(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	ends.Each(func(o kadm.ListedOffset) { kafka += o.Offset })
	conn, err := pgx.Connect(t.Context(), p.postgres.DSN())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if err := conn.QueryRow(t.Context(), "select count(*) from numbers").Scan(&postgres); err != nil {
		t.Fatal(err)
	}
	return kafka, postgres
}

const childDir = "DARKROOM_TEST_LOCAL_DIR"

// TestMain is also the child that is killed: it writes numbers and says so until its end.
func TestMain(m *testing.M) {
	dir := os.Getenv(childDir)
	if dir == "" {
		os.Exit(m.Run())
	}
	p, err := start(context.Background(), dir)
	for n := 0; err == nil; n++ {
		if err = p.write(context.Background(), n); err == nil {
			fmt.Println("ACK", n)
		}
	}
	fmt.Println(err)
	os.Exit(1)
}

func TestNothingAcknowledgedIsLostOverAKill(t *testing.T) {
	dir := t.TempDir()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childDir+"="+dir)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	acked := int64(0)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if !strings.HasPrefix(lines.Text(), "ACK ") {
			t.Fatal(lines.Text())
		}
		if acked++; acked == 20 {
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = child.Wait() // it was killed

	p, err := start(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	kafka, postgres := p.counts(t)
	if kafka < acked || postgres < acked {
		t.Errorf("acknowledged %d, kafka has %d, postgres %d", acked, kafka, postgres)
	}
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	if err := p.stop(); err != nil {
		t.Errorf("a second stop: %v", err)
	}
}

func TestATakenPortIsSaid(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	_, kafka := local.StartKafka(local.KafkaOptions{Dir: t.TempDir(), Port: port})
	_, s3 := local.StartS3(t.Context(), local.S3Options{Dir: t.TempDir(), Port: port})
	_, postgres := local.StartPostgres(t.Context(), local.PostgresOptions{Dir: t.TempDir(), Port: port})
	for name, err := range map[string]error{"kafka": kafka, "s3": s3, "postgres": postgres} {
		if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "address already in use") {
			t.Errorf("%s on a taken port: %v", name, err)
		}
	}
}

func TestLockNamesItsHolder(t *testing.T) {
	dir := t.TempDir()
	first, err := local.Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := local.Lock(dir); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("in use by process %d", os.Getpid())) {
		t.Fatalf("a second lock: %v", err)
	}
	if err := errors.Join(first.Close(), first.Close()); err != nil {
		t.Fatal(err)
	}
	again, err := local.Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestPostgresWorksUnderAFolderThatOthersMayNotEnter(t *testing.T) {
	parent := filepath.Join(t.TempDir(), "closed")
	if err := os.Mkdir(parent, 0o700); err != nil {
		t.Fatal(err)
	}
	p, err := local.StartPostgres(t.Context(), local.PostgresOptions{Dir: filepath.Join(parent, "postgres")})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), p.DSN())
	if err != nil {
		t.Fatal(err)
	}
	var version string
	if err := conn.QueryRow(t.Context(), "show server_version").Scan(&version); err != nil || version == "" {
		t.Errorf("version %q, %v", version, err)
	}
	conn.Close(t.Context())
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestPostgresIsStartedAgain(t *testing.T) {
	p, err := local.StartPostgres(t.Context(), local.PostgresOptions{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), p.DSN())
	if err != nil {
		t.Fatal(err)
	}
	// A backend that is killed takes all sessions with it; the server itself is killed by its pid file's number.
	pid, err := os.ReadFile(pidFile(t, conn))
	if err != nil {
		t.Fatal(err)
	}
	conn.Close(t.Context())
	first, _, _ := strings.Cut(string(pid), "\n")
	if out, err := exec.Command("kill", "-9", first).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if conn, err = pgx.Connect(t.Context(), p.DSN()); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("postgres did not come back: %v", err)
		}
	}
	conn.Close(t.Context())
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
}

func pidFile(t *testing.T, conn *pgx.Conn) string {
	t.Helper()
	var pid int
	if err := conn.QueryRow(t.Context(), "select pg_backend_pid()").Scan(&pid); err != nil {
		t.Fatal(err)
	}
	cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)) // every process of the server works in its data folder
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(cwd, "postmaster.pid")
}

func TestS3RefusesOtherKeys(t *testing.T) {
	s, err := local.StartS3(t.Context(), local.S3Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	res, err := http.Get(s.Config("x").Endpoint + "/x/key")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode < 400 || res.StatusCode >= 500 {
		t.Errorf("a request without a signature: status %d", res.StatusCode)
	}
	http.DefaultClient.CloseIdleConnections()
}
