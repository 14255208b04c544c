// Package stack_test runs the pipelines on the real engines: the parts of `darkroom stack` as processes, on free ports.
// It needs Java 17 and Maven, and runs only when DARKROOM_STACK_TEST is set: `make test-stack`.
package stack_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"darkroom/internal/blob"
	"darkroom/internal/event"
	"darkroom/internal/local/stack"
)

// env is what all tests share: the stack, a pool of workers, and where they are.
type env struct {
	dir     string
	bin     string
	stack   *stack.Stack
	bucket  blob.Config
	workers *process
	// toKafka are tunnels by who goes through them. Debezium always does; the others when a test says so.
	toKafka map[string]tunnel
	via     route
}

// route is where our processes find the parts; empty is straight at the part.
type route struct{ kafka, s3, workers string }

var shared *env

// longest is how long all tests together may take. The go command's own limit must be above it.
const longest = 25 * time.Minute

func TestMain(m *testing.M) {
	if os.Getenv("DARKROOM_STACK_TEST") == "" {
		fmt.Println("skipped: DARKROOM_STACK_TEST is not set")
		return
	}
	os.Exit(run(m))
}

func run(m *testing.M) (code int) {
	var err error
	if shared, err = prepare(); err != nil {
		fmt.Println(err)
		return 1
	}
	// The parts outlive this process, so it must not end without ending them.
	end := func() {
		fmt.Println("cut short:", shared.close(false))
		os.Exit(1)
	}
	time.AfterFunc(longest, end)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		end()
	}()
	defer func() {
		if err := shared.close(code == 0); err != nil {
			fmt.Println(err)
			code = 1
		}
	}()
	if err := shared.up(context.Background(), "kafka", "flink-jobserver", "spark-jobserver", "s3"); err != nil {
		fmt.Println(err)
		return 1
	}
	for name, t := range shared.toKafka {
		if err := t.lead(shared.stack.Addr("kafka/" + name)); err != nil {
			fmt.Println(err)
			return 1
		}
	}
	return m.Run()
}

func prepare() (*env, error) {
	e := &env{bin: os.Getenv("DARKROOM_BIN"), toKafka: map[string]tunnel{}}
	var err error
	if e.dir, err = os.MkdirTemp("", "darkroom-stack"); err != nil {
		return nil, err
	}
	if err := os.Chmod(e.dir, 0o755); err != nil {
		return nil, err
	}
	// A jar is a zip, and the empty zip is its end alone (APPNOTE, section 4.3.16).
	if err := os.WriteFile(filepath.Join(e.dir, "empty.jar"), append([]byte("PK\x05\x06"), make([]byte, 18)...), 0o644); err != nil {
		return nil, err
	}
	if e.bin == "" {
		e.bin = filepath.Join(e.dir, "darkroom")
		build := exec.Command("go", "build", "-o", e.bin, "darkroom")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build: %w\n%s", err, out)
		}
	}
	addrs := map[string]string{}
	for _, name := range []string{"pipeline", "debezium", "statsapi"} {
		t, err := openTunnel(name)
		if err != nil {
			return nil, err
		}
		e.toKafka[name], addrs[name] = t, t.addr()
	}
	e.stack, err = stack.Open(stack.Options{
		Dir: filepath.Join(e.dir, "stack"), Binary: e.bin, FreePorts: true, Tunnels: addrs,
	})
	return e, err
}

// up starts parts, and the pool of workers with the first.
func (e *env) up(ctx context.Context, parts ...string) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Minute) // the first start fetches 718 MB
	defer cancel()
	if err := e.stack.Up(ctx, func(stack.Event) {}, parts...); err != nil {
		return fmt.Errorf("start %v: %w", parts, err)
	}
	if e.workers != nil {
		return nil
	}
	known, err := e.variables(ctx)
	if err != nil {
		return err
	}
	e.bucket = blob.Config{
		Bucket: "images", Endpoint: known["DARKROOM_S3_ENDPOINT"],
		AccessKey: known["DARKROOM_S3_ACCESS_KEY"], SecretKey: known["DARKROOM_S3_SECRET_KEY"],
	}
	return e.startWorkers("127.0.0.1:0")
}

// variables are what the stack's parts tell Darkroom's commands.
func (e *env) variables(ctx context.Context) (map[string]string, error) {
	status, err := e.stack.Status(ctx)
	if err != nil {
		return nil, err
	}
	all := map[string]string{}
	for _, part := range status {
		for _, v := range part.Variables {
			all[v.Name] = v.Value
		}
	}
	return all, nil
}

func (e *env) startWorkers(addr string) (err error) {
	e.workers, err = e.start("worker", "--listen", addr, "--drain", "1s")
	if err != nil {
		return err
	}
	return e.workers.waitFor("ready ")
}

// workersAddr is where the pool listens.
func (e *env) workersAddr() string {
	for _, f := range strings.Fields(e.workers.line("ready ")) {
		if addr, ok := strings.CutPrefix(f, "worker="); ok {
			return addr
		}
	}
	return ""
}

// close ends everything. After a failure the logs stay.
func (e *env) close(passed bool) error {
	if e.workers != nil {
		e.workers.stop()
	}
	var err error
	for range 60 { // a test that is cut short may be starting a part, and holds the lock meanwhile
		if err = e.stack.Down(context.Background(), func(stack.Event) {}); err == nil {
			break
		}
		time.Sleep(time.Second)
	}
	if !passed {
		fmt.Println("the logs are in", filepath.Join(e.dir, "stack", "logs"))
		return err
	}
	return errors.Join(err, os.RemoveAll(e.dir))
}

// process is a run of the binary. Its output lies with the logs of the stack.
type process struct {
	cmd   *exec.Cmd
	log   string
	ended chan struct{}
	err   error // after ended
}

func (p *process) text() string {
	data, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// line is the first line of the output that begins so.
func (p *process) line(prefix string) string {
	for lines := bufio.NewScanner(strings.NewReader(p.text())); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), prefix) {
			return lines.Text()
		}
	}
	return ""
}

var started atomic.Int64

func (e *env) start(args ...string) (*process, error) {
	p := &process{cmd: exec.Command(e.bin, args...), ended: make(chan struct{})}
	p.log = filepath.Join(e.dir, "stack", "logs", fmt.Sprintf("darkroom-%s-%d.log", args[0], started.Add(1)))
	output, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer output.Close()
	p.cmd.Stdout, p.cmd.Stderr = output, output
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

func (p *process) waitFor(prefix string) error {
	for end := time.Now().Add(time.Minute); p.line(prefix) == ""; time.Sleep(10 * time.Millisecond) {
		select {
		case <-p.ended:
			return fmt.Errorf("it ended: %w\n%s", p.err, p.text())
		default:
		}
		if time.Now().After(end) {
			return fmt.Errorf("it did not print %q within a minute\n%s", prefix, p.text())
		}
	}
	return nil
}

// stop asks the process to end and waits.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-p.ended:
	case <-time.After(30 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
}

// topic makes the topics of one test and returns the name of its events' and of its dead letters'.
func (e *env) topics(t *testing.T) (events, rejected string) {
	t.Helper()
	admin := kadm.NewClient(e.kafka(t))
	name := strings.NewReplacer("/", "-", " ", "-").Replace(t.Name())
	events, rejected = event.TopicImages+"-"+name, event.TopicRejected+"-"+name
	for topic, partitions := range map[string]int32{events: 4, rejected: 1} {
		if _, err := admin.CreateTopic(t.Context(), partitions, 1, nil, topic); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, time.Minute, func() error { // a broker hears of what the controller has made a little later
		topics, err := admin.ListTopics(t.Context(), events, rejected)
		return errors.Join(err, topics.Error())
	})
	return events, rejected
}

func (e *env) kafka(t *testing.T) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(e.stack.Addr("kafka")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}
