package local_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"darkroom/internal/blob"
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
	kafka := local.KafkaOptions{Dir: filepath.Join(dir, "kafka"), Topics: map[string]int32{topic: 2}}
	if p.kafka, err = local.StartKafka(kafka); err != nil {
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

// write stores one number in Kafka, S3 and PostgreSQL, durably.
func (p parts) write(ctx context.Context, n int) error {
	objects, err := open(ctx, p.s3.Config("numbers"))
	if err != nil {
		return err
	}
	defer func() { _ = objects.Close() }()
	key, absent := fmt.Sprintf("numbers/%d", n), blob.PutOptions{IfAbsent: true}
	if _, err := objects.Put(ctx, key, fmt.Append(nil, n), absent); err != nil {
		return err
	}
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
	defer func() { _ = conn.Close(ctx) }()
	if _, err := conn.Exec(ctx, "create table if not exists numbers (n int primary key)"); err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "insert into numbers values ($1)", n)
	return err
}

// open opens a bucket, and makes it the first time.
func open(ctx context.Context, c blob.Config) (*blob.Store, error) {
	objects, err := blob.Open(ctx, c)
	if err != nil {
		return nil, err
	}
	return objects, objects.EnsureBucket(ctx)
}

// counts returns how many numbers Kafka, S3 and PostgreSQL have.
func (p parts) counts(t *testing.T) (kafka, s3, postgres int64) {
	t.Helper()
	objects, err := open(t.Context(), p.s3.Config("numbers"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = objects.Close() }()
	for info, err := range objects.List(t.Context(), "numbers/") {
		if err != nil {
			t.Fatal(err)
		}
		data, _, err := objects.Get(t.Context(), info.Key)
		if err != nil || "numbers/"+string(data) != info.Key {
			t.Errorf("%s holds %q, %v", info.Key, data, err)
		}
		s3++
	}
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
	defer func() { _ = conn.Close(t.Context()) }()
	if err := conn.QueryRow(t.Context(), "select count(*) from numbers").Scan(&postgres); err != nil {
		t.Fatal(err)
	}
	return kafka, s3, postgres
}

const (
	childDir  = "DARKROOM_TEST_LOCAL_DIR"
	childFrom = "DARKROOM_TEST_LOCAL_FROM"
)

// TestMain is also the child that is killed: it writes numbers and says so until its end.
func TestMain(m *testing.M) {
	dir := os.Getenv(childDir)
	if dir == "" {
		os.Exit(m.Run())
	}
	n, err := strconv.Atoi(os.Getenv(childFrom))
	if err != nil {
		panic(err)
	}
	p, err := start(context.Background(), dir)
	for ; err == nil; n++ {
		if err = p.write(context.Background(), n); err == nil {
			fmt.Println("ACK", n)
		}
	}
	fmt.Println(err)
	os.Exit(1)
}

func TestNothingAcknowledgedIsLostOverAKill(t *testing.T) {
	dir, acked := t.TempDir(), int64(0)
	for round := range 2 {
		acked += writeUntilKilled(t, dir, 1000*round)
	}
	p, err := start(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if kafka, s3, postgres := p.counts(t); kafka < acked || s3 < acked || postgres < acked {
		t.Errorf("acknowledged %d, kafka has %d, s3 %d, postgres %d", acked, kafka, s3, postgres)
	}
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	if err := p.stop(); err != nil {
		t.Errorf("a second stop: %v", err)
	}
}

// writeUntilKilled lets a child write numbers, kills it after some, and returns how many it has acknowledged.
func writeUntilKilled(t *testing.T, dir string, from int) (acked int64) {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childDir+"="+dir, childFrom+"="+strconv.Itoa(from))
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if !strings.HasPrefix(lines.Text(), "ACK ") { // nothing else may come on stdout
			t.Error(lines.Text())
		}
		if acked++; acked == 20 {
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = child.Wait() // it was killed
	if acked < 20 {
		t.Fatalf("the child wrote %d numbers", acked)
	}
	return acked
}

func TestDataIsKeptOnOtherPortsAndServesOneAtATime(t *testing.T) {
	dir := t.TempDir()
	for n := range int64(2) {
		p, err := start(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.write(t.Context(), int(n)); err != nil {
			t.Fatal(err)
		}
		if kafka, s3, postgres := p.counts(t); kafka != n+1 || s3 != n+1 || postgres != n+1 {
			t.Errorf("start %d: kafka has %d, s3 %d, postgres %d", n+1, kafka, s3, postgres)
		}
		refused(t, dir)
		begin := time.Now()
		if err := p.stop(); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took > 6*time.Second { // two seconds each
			t.Errorf("they stopped in %v", took)
		}
	}
}

// refused checks that no part can be started a second time in its folder.
func refused(t *testing.T, dir string) {
	t.Helper()
	_, kafka := local.StartKafka(local.KafkaOptions{Dir: filepath.Join(dir, "kafka")})
	_, s3 := local.StartS3(t.Context(), local.S3Options{Dir: filepath.Join(dir, "s3")})
	_, postgres := local.StartPostgres(t.Context(), local.PostgresOptions{Dir: filepath.Join(dir, "postgres")})
	for name, err := range map[string]error{"kafka": kafka, "s3": s3, "postgres": postgres} {
		want := fmt.Sprintf("start %s: %s is in use by process %d", name, filepath.Join(dir, name), os.Getpid())
		if err == nil || err.Error() != want {
			t.Errorf("a second start of %s: %v", name, err)
		}
	}
}

func TestAFolderThatCannotBeMadeIsSaid(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for dir, said := range map[string]string{filepath.Join(file, "below"): file, "relative": "relative"} {
		_, kafka := local.StartKafka(local.KafkaOptions{Dir: dir})
		_, s3 := local.StartS3(t.Context(), local.S3Options{Dir: dir})
		_, postgres := local.StartPostgres(t.Context(), local.PostgresOptions{Dir: dir})
		for name, err := range map[string]error{"kafka": kafka, "s3": s3, "postgres": postgres} {
			if err == nil || !strings.HasPrefix(err.Error(), "start "+name+": ") || !strings.Contains(err.Error(), said) {
				t.Errorf("%s in %s: %v", name, dir, err)
			}
		}
	}
}

func TestKafkaGetsATopicThatIsNew(t *testing.T) {
	dir := t.TempDir()
	for i, topics := range []map[string]int32{{"one": 3}, {"one": 5, "two": 2}} {
		k, err := local.StartKafka(local.KafkaOptions{Dir: dir, Topics: topics})
		if err != nil {
			t.Fatal(err)
		}
		cl, err := kgo.NewClient(kgo.SeedBrokers(k.Addr()))
		if err != nil {
			t.Fatal(err)
		}
		has, err := kadm.NewClient(cl).ListTopics(t.Context())
		cl.Close()
		if err != nil || len(has) != i+1 || len(has["one"].Partitions) != 3 || i == 1 && len(has["two"].Partitions) != 2 {
			t.Errorf("start %d: %v, %v", i+1, has.Names(), err)
		}
		if err := k.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestATakenPortIsSaid(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
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
	holder := fmt.Sprintf("in use by process %d", os.Getpid())
	if _, err := local.Lock(dir); err == nil || !strings.Contains(err.Error(), holder) {
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

func TestAFullDiskIsSaid(t *testing.T) {
	dir := t.TempDir()
	if err := local.CheckRoom(dir, 1); err != nil {
		t.Error(err)
	}
	if err := local.CheckRoom(dir, 1<<62); err == nil || !strings.Contains(err.Error(), "the disk of "+dir+" is full: it has room for ") {
		t.Errorf("%v", err)
	}
	if err := local.CheckRoom(dir+"/none", 1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}
