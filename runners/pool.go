package runners

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os/exec"
	"sync"
	"syscall"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"google.golang.org/grpc"
)

// workerPatience is how long a worker that was told to end may take.
const workerPatience = 5 * time.Second

// Pool is a pool of workers: Beam's BeamFnExternalWorkerPool. Each worker is a process, so that one that crashes takes
// along its own bundles and nobody else's; the runner does them again in another.
type Pool struct {
	// Command is the program that runs a worker, to be started.
	Command func(Worker) *exec.Cmd
	// Drain is how long a pool that ends waits for its workers' jobs to stop them.
	Drain time.Duration
	Log   *slog.Logger

	fnpb.UnimplementedBeamFnExternalWorkerPoolServer
	build   string
	mu      sync.Mutex
	ending  bool
	workers map[*process]struct{}
}

// process is a running worker. Its id is not its own: each stage of a job on Spark counts its workers from one.
type process struct {
	id    string
	cmd   *exec.Cmd
	asked bool // to end; under the pool's lock
	ended chan struct{}
}

// Serve serves until ctx ends, and then drains: it starts no more workers, waits until the jobs have stopped those that
// run or Drain is over, and ends what is left. The runner repeats the bundles that this cuts short.
func (p *Pool) Serve(ctx context.Context, l net.Listener) error {
	var err error
	if p.build, err = Build(); err != nil {
		return err
	}
	p.workers = map[*process]struct{}{}
	server := grpc.NewServer()
	fnpb.RegisterBeamFnExternalWorkerPoolServer(server, p)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	select {
	case err = <-served:
	case <-ctx.Done():
	}
	p.drain()
	stop := time.AfterFunc(workerPatience, server.Stop)
	server.GracefulStop() // who asked for a worker's end hears of it
	stop.Stop()
	if err != nil {
		return fmt.Errorf("serve workers: %w", err)
	}
	return nil
}

// StartWorker implements the pool's protocol. A request without a worker's id starts none: it asks whether the pool
// would.
func (p *Pool) StartWorker(_ context.Context, r *fnpb.StartWorkerRequest) (*fnpb.StartWorkerResponse, error) {
	if err := p.startWorker(r); err != nil {
		p.Log.Warn("refuse to start a worker", "worker", r.GetWorkerId(), "error", err)
		return &fnpb.StartWorkerResponse{Error: err.Error()}, nil
	}
	return &fnpb.StartWorkerResponse{}, nil
}

func (p *Pool) startWorker(r *fnpb.StartWorkerRequest) error {
	if theirs := r.GetParams()[paramBuild]; theirs != p.build {
		return fmt.Errorf("the job is of build %q and this worker pool of build %q: they must be the same", theirs, p.build)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	id := r.GetWorkerId()
	switch {
	case p.ending:
		return fmt.Errorf("the worker pool is ending")
	case id == "":
		return nil
	case r.GetControlEndpoint().GetUrl() == "" || r.GetLoggingEndpoint().GetUrl() == "":
		return fmt.Errorf("worker %s: an endpoint is missing", id)
	}
	cmd := p.Command(Worker{
		ID: id, Control: r.GetControlEndpoint().GetUrl(), Logging: r.GetLoggingEndpoint().GetUrl(),
		Provision: r.GetProvisionEndpoint().GetUrl(),
	})
	// A Ctrl-C at the terminal is for the pool alone, which lets the jobs end first.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start worker %s: %w", id, err)
	}
	w := &process{id: id, cmd: cmd, ended: make(chan struct{})}
	p.workers[w] = struct{}{}
	p.Log.Info("worker started", "worker", id, "pid", cmd.Process.Pid)
	go p.watch(w)
	return nil
}

// watch takes note of a worker's end.
func (p *Pool) watch(w *process) {
	err := w.cmd.Wait()
	p.mu.Lock()
	asked := w.asked
	delete(p.workers, w)
	p.mu.Unlock()
	close(w.ended)
	if err != nil && !asked {
		p.Log.Error("a worker crashed; the runner repeats its bundles", "worker", w.id, "error", err)
		return
	}
	p.Log.Info("worker ended", "worker", w.id)
}

// StopWorker implements the pool's protocol. Of several workers with one id none is ended: which one is meant cannot be
// told, and a worker ends by itself when its runner hangs up.
func (p *Pool) StopWorker(_ context.Context, r *fnpb.StopWorkerRequest) (*fnpb.StopWorkerResponse, error) {
	p.mu.Lock()
	var named []*process
	for w := range p.workers {
		if w.id == r.GetWorkerId() {
			named = append(named, w)
		}
	}
	p.mu.Unlock()
	if len(named) == 1 {
		p.end(named[0])
	}
	return &fnpb.StopWorkerResponse{}, nil
}

// end ends a worker, by force if it does not hear.
func (p *Pool) end(w *process) {
	p.mu.Lock()
	w.asked = true
	p.mu.Unlock()
	_ = w.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-w.ended:
	case <-time.After(workerPatience):
		_ = w.cmd.Process.Kill()
		<-w.ended
	}
}

func (p *Pool) drain() {
	p.mu.Lock()
	p.ending = true
	left := make([]*process, 0, len(p.workers))
	for w := range p.workers {
		left = append(left, w)
	}
	p.mu.Unlock()
	if len(left) > 0 {
		p.Log.Info("waiting for the workers' jobs", "workers", len(left), "at most", p.Drain)
	}
	timeout := time.After(p.Drain)
	for _, w := range left {
		select {
		case <-w.ended:
			continue
		case <-timeout:
		}
		break
	}
	var ending sync.WaitGroup
	for _, w := range left {
		ending.Go(func() { p.end(w) })
	}
	ending.Wait()
}

// checkPool asks a pool whether it would start a worker by those parameters.
func checkPool(ctx context.Context, addr string, params map[string]string) error {
	conn, err := dial(ctx, addr)
	if err != nil {
		return fmt.Errorf("connect to the worker pool at %s: %w", addr, err)
	}
	defer conn.Close()
	r, err := fnpb.NewBeamFnExternalWorkerPoolClient(conn).StartWorker(ctx, &fnpb.StartWorkerRequest{Params: params})
	if err != nil {
		return fmt.Errorf("ask the worker pool at %s: %w", addr, err)
	}
	if r.GetError() != "" {
		return fmt.Errorf("the worker pool at %s refuses: %s", addr, r.GetError())
	}
	return nil
}
