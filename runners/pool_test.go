package runners_test

import (
	"context"
	"log/slog"
	"net"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"darkroom/runners"
)

// pool is a pool whose workers do nothing until they are ended.
type pool struct {
	t      *testing.T
	client fnpb.BeamFnExternalWorkerPoolClient
	end    func() (after time.Duration) // asks the pool to end and waits

	mu      sync.Mutex
	started []*exec.Cmd
}

func startPool(t *testing.T, drain time.Duration) *pool {
	t.Helper()
	p := &pool{t: t}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		serving := &runners.Pool{Command: p.command, Drain: drain, Log: slog.New(slog.DiscardHandler)}
		ended <- serving.Serve(ctx, l)
	}()
	p.end = func() time.Duration {
		begun := time.Now()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		ended <- nil
		return time.Since(begun)
	}
	t.Cleanup(func() { p.end() })
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	p.client = fnpb.NewBeamFnExternalWorkerPoolClient(conn)
	return p
}

func (p *pool) command(runners.Worker) *exec.Cmd {
	p.mu.Lock()
	defer p.mu.Unlock()
	cmd := exec.Command("sleep", "600")
	p.started = append(p.started, cmd)
	return cmd
}

// start asks for a worker and returns what the pool has against it.
func (p *pool) start(id, build string) string {
	p.t.Helper()
	r, err := p.client.StartWorker(p.t.Context(), &fnpb.StartWorkerRequest{
		WorkerId: id, Params: map[string]string{"darkroom-build": build},
		ControlEndpoint: &pipepb.ApiServiceDescriptor{Url: "127.0.0.1:1"}, LoggingEndpoint: &pipepb.ApiServiceDescriptor{Url: "127.0.0.1:1"},
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return r.GetError()
}

func (p *pool) worker(id string) *exec.Cmd {
	p.t.Helper()
	if refused := p.start(id, build(p.t)); refused != "" {
		p.t.Fatal(refused)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.started[len(p.started)-1]
}

func (p *pool) stop(id string) {
	p.t.Helper()
	if _, err := p.client.StopWorker(p.t.Context(), &fnpb.StopWorkerRequest{WorkerId: id}); err != nil {
		p.t.Fatal(err)
	}
}

func build(t *testing.T) string {
	t.Helper()
	b, err := runners.Build()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// runs reports whether a process is there; one that has ended is only when its parent has taken note.
func runs(cmd *exec.Cmd) bool { return cmd.Process.Signal(syscall.Signal(0)) == nil }

func TestAPoolRefusesAnotherBuildAndNamesBoth(t *testing.T) {
	p := startPool(t, 0)
	refused := p.start("1", "v0+000000000000")
	if !strings.Contains(refused, `"v0+000000000000"`) || !strings.Contains(refused, build(t)) {
		t.Errorf("it says %q", refused)
	}
	if refused := p.start("", build(t)); refused != "" {
		t.Errorf("asked whether it would start a worker, it says %q", refused)
	}
	if len(p.started) != 0 {
		t.Errorf("%d workers were started", len(p.started))
	}
}

func TestAWorkerThatCrashesTakesNoOtherAlong(t *testing.T) {
	p := startPool(t, 0)
	one, other := p.worker("1"), p.worker("2")
	if err := one.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the first is gone", func() bool { return !runs(one) })
	if !runs(other) {
		t.Error("the other ended")
	}
	p.stop("1") // as a runner does that has noticed
	again := p.worker("1")
	p.stop("1")
	eventually(t, "the third ended", func() bool { return !runs(again) })
}

// Spark counts the workers of each stage from one, so one of them must not be ended for another.
func TestOfTwoWorkersWithOneIDNoneIsEnded(t *testing.T) {
	p := startPool(t, 0)
	one, other := p.worker("1-1"), p.worker("1-1")
	p.stop("1-1")
	if !runs(one) || !runs(other) {
		t.Error("a worker ended")
	}
}

func TestAPoolThatEndsWaitsForItsWorkers(t *testing.T) {
	const drain = time.Minute
	p := startPool(t, drain)
	worker := p.worker("1")
	ended := make(chan time.Duration, 1)
	go func() { ended <- p.end() }()
	eventually(t, "it starts no more workers", func() bool { return p.start("", build(t)) != "" })
	if !runs(worker) {
		t.Fatal("the worker was ended")
	}
	p.stop("1")
	if after := <-ended; after > drain/2 {
		t.Errorf("the pool ended after %v", after)
	}
}

// A terminal sends its signals to all processes of the group in front.
func TestAWorkerHearsNoCtrlC(t *testing.T) {
	p := startPool(t, 0)
	pid := p.worker("1").Process.Pid
	if group, err := syscall.Getpgid(pid); err != nil || group != pid {
		t.Errorf("the worker is in group %d, %v; want one of its own", group, err)
	}
}

func TestAPoolThatEndsEndsItsWorkersInTheEnd(t *testing.T) {
	p := startPool(t, 50*time.Millisecond)
	one, other := p.worker("1"), p.worker("2")
	p.end()
	if runs(one) || runs(other) {
		t.Error("a worker outlives its pool")
	}
}
