package pool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"darkroom/internal/pixels"
	"darkroom/internal/pixels/hash"
)

// childEnv is the environment of a child. Go looks for its user there when it is built without a C library. One thread
// of Go and one arena are enough for a process that does one image at a time: a second thread would collect garbage for
// longer than it takes alone, and libvips's threads would each keep memory.
var childEnv = []string{"USER=darkroom", "HOME=/nonexistent", "GOMAXPROCS=1", "MALLOC_ARENA_MAX=1"}

const (
	startTimeout = 30 * time.Second
	watchEvery   = 50 * time.Millisecond
	lastWords    = 2 * time.Second // for a process to die once its socket is closed
	maxStderr    = 8 << 10
	resultsKept  = 4 << 20 // of a longer file for results the memory is freed; to make its pages anew takes CPU time
)

// child is a process that serves, seen by its parent. One image at a time is given to it.
type child struct {
	cfg     Config
	cmd     *exec.Cmd
	conn    *conn
	slot    slot
	results *os.File
	stderr  *beginning
	done    chan struct{} // closed when the process is gone, and its end is in cmd.ProcessState
	status  Status
	uses    int
	idle    usage // what it took before its first image
}

// usage is what a process takes.
type usage struct {
	data, resident int64 // bytes of private writable memory, and of memory that is really there
}

// start starts a child and waits for it to be ready.
func start(ctx context.Context, closed <-chan struct{}, cfg Config) (*child, error) {
	c, err := launch(cfg)
	if err != nil {
		return nil, err
	}
	failed, stopped := c.watch(ctx, closed, c.greet, func(spent *stopwatch) error {
		if sum, _ := spent.look(); sum > startTimeout {
			return fmt.Errorf("it is not ready after %s", startTimeout)
		}
		return nil
	})
	switch {
	case stopped != nil:
		return nil, stopped
	case failed != nil:
		c.end()
		return nil, failed
	}
	c.idle, _ = usageOf(c.cmd.Process.Pid) // unknown on some systems, which then lack the limits that build on it
	return c, nil
}

// watch waits for the end of what is done with a child, and returns its error, while neither ctx nor closed ends and the
// check, which is made now and then, passes. Else it ends the child and says why it stopped.
func (c *child) watch(ctx context.Context, closed <-chan struct{}, do func() error, check func(*stopwatch) error) (failed, stopped error) {
	spent, tick := c.stopwatch(), time.NewTicker(watchEvery)
	defer tick.Stop()
	done := make(chan error, 1)
	go func() { done <- do() }()
	for {
		select {
		case err := <-done:
			return err, nil
		case <-ctx.Done():
			stopped = context.Cause(ctx)
		case <-closed:
			stopped = ErrClosed
		case <-tick.C:
			stopped = check(spent)
		}
		if stopped != nil {
			c.end()
			return nil, stopped
		}
	}
}

// stopwatch counts the time that a child takes: what goes by, but while a thread of it is ready to run and other work has the
// CPUs, no more than it gets of them. A child of low priority may wait for long, and neither it nor its image is the cause.
type stopwatch struct {
	pid        int
	first, cpu time.Duration // CPU time of the process at the beginning, and when it was last looked at
	last       time.Time
	sum        time.Duration
}

func (c *child) stopwatch() *stopwatch {
	pid := c.cmd.Process.Pid
	cpu := cpuTime(pid)
	return &stopwatch{pid: pid, first: cpu, cpu: cpu, last: time.Now()}
}

// look counts what has gone by since the last look.
func (s *stopwatch) look() (sum, cpu time.Duration) {
	now, total := time.Now(), cpuTime(s.pid)
	gone, got := now.Sub(s.last), total-s.cpu
	if got < gone/2 && ready(s.pid) {
		gone = got
	}
	s.last, s.cpu = now, total
	s.sum += gone
	return s.sum, total - s.first
}

// launch starts the process.
func launch(cfg Config) (*child, error) {
	c := &child{cfg: cfg, stderr: &beginning{}, done: make(chan struct{})}
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	c.conn = ours
	if c.results, err = memoryFile(); err != nil {
		return nil, errors.Join(err, ours.Close())
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, errors.Join(err, c.closeFiles())
	}
	defer null.Close()
	// Neither a context nor a shell: the pool ends it.
	c.cmd = &exec.Cmd{
		Path: cfg.Command[0], Args: cfg.Command, Env: childEnv, Dir: "/", Stdin: null, Stdout: null, Stderr: c.stderr,
		ExtraFiles: []*os.File{theirs, c.results}, SysProcAttr: processAttributes(), WaitDelay: lastWords,
	}
	started := make(chan error)
	go c.run(started)
	if err := <-started; err != nil {
		return nil, errors.Join(err, c.closeFiles())
	}
	return c, nil
}

// run starts the process and waits for its end. Its thread takes on what confines the child, which inherits it, and is
// never used for anything else: it lives as long as the child, which is killed when it ends, and ends with run.
func (c *child) run(started chan<- error) {
	runtime.LockOSThread()
	if onMainThread() { // which stands for the process in many ways, and cannot end before it
		other := make(chan error)
		go c.run(other)
		started <- <-other
		runtime.UnlockOSThread()
		return
	}
	err := setPriority(c.cfg.Priority)
	if err == nil {
		err = confineThread(c.readable())
	}
	if err == nil {
		err = c.cmd.Start()
	}
	started <- err
	if err != nil {
		return
	}
	_ = c.cmd.Wait() // its end is in ProcessState
	close(c.done)
}

// readable are the files that a child may read beside those of all programs.
func (c *child) readable() []string {
	files := append(slices.Clone(c.cfg.ReadOnly), c.cmd.Path)
	for _, library := range filepath.SplitList(c.cfg.Libvips) {
		if filepath.IsAbs(library) {
			files = append(files, filepath.Dir(library)) // with the libraries beside it
		}
	}
	return files
}

func (c *child) greet() error {
	s := setup{
		Engine: c.cfg.Engine, Libvips: c.cfg.Libvips, Memory: c.cfg.Memory, MaxOutput: c.cfg.MaxOutput,
	}
	err := c.conn.send(s, nil)
	var h hello
	if err == nil {
		err = c.conn.receive(&h)
	}
	if err != nil {
		c.expire()
		return &engineFault{c.epitaph()}
	}
	c.status = h.Status
	if h.Error != "" {
		if os.Geteuid() == 0 && strings.Contains(strings.ToLower(h.Error), "permission denied") {
			h.Error += " (processes that decode have no rights of root: its folders must be readable by all)"
		}
		return &engineFault{h.Error}
	}
	return nil
}

// engineFault is why a child that was started has no engine.
type engineFault struct{ text string }

func (e *engineFault) Error() string { return e.text }

// death is the end of a child with an image.
type death struct {
	err      error
	doubtful bool // the image may not be the cause
}

func (d *death) Error() string { return d.err.Error() }

// result is what was asked for.
type result struct {
	made   []pixels.Derivative
	hashes hash.Hashes
}

// serve has done with an image what the request says. After a *death, and after any error of ctx or closed, the child is
// gone.
func (c *child) serve(ctx context.Context, closed <-chan struct{}, in input, r request) (result, error) {
	c.uses++
	c.stderr.reset()
	r.ID, r.Size, r.CPU = uint64(c.uses), in.size, int64((c.cfg.CPU+time.Second-1)/time.Second)
	if c.idle.data > 0 {
		r.Data = c.idle.data + c.cfg.Memory
	}
	file := in.File
	if file == nil {
		r.Shared = true
		var err error
		if file, err = c.slot.put(in.Data); err != nil {
			return result{}, fmt.Errorf("pass image to a pixel process: %w", err)
		}
	}
	var a answer
	failed, stopped := c.watch(ctx, closed, func() error {
		if err := c.conn.send(r, file); err != nil {
			return err
		}
		return c.conn.receive(&a)
	}, func(spent *stopwatch) error { return c.overuse(spent, in.size) })
	switch {
	case stopped != nil:
		return result{}, stopped
	case failed != nil:
		return result{}, c.died()
	}
	return c.take(a, r)
}

// overuse tells what a child takes that it may not: time, and what its own limits should have kept it from.
func (c *child) overuse(spent *stopwatch, source int64) error {
	sum, cpu := spent.look()
	if sum > c.cfg.Timeout {
		return refuse(pixels.CodeDecodeTimeout, "the image takes longer than the limit of %s", c.cfg.Timeout)
	}
	if cpu > c.cfg.CPU+2*time.Second {
		return tooMuchCPU(c.cfg)
	}
	now, err := usageOf(c.cmd.Process.Pid)
	// An error says that it is gone, or that the system does not tell.
	if err == nil && now.resident > c.idle.resident+c.cfg.Memory+max(source, c.slot.size) {
		return tooMuchMemory(c.cfg)
	}
	return nil
}

// take reads what was made. A child that does not give what was asked for is ended.
func (c *child) take(a answer, r request) (result, error) {
	if a.ID == r.ID && a.Message != "" {
		return result{}, c.refusal(a)
	}
	got, err := c.read(a, r)
	if err != nil {
		c.end()
		return result{}, &death{err: refuse(pixels.CodeDecodeCrash, "decoding went wrong: %w", err), doubtful: true}
	}
	if info, err := c.results.Stat(); err != nil || info.Size() > resultsKept {
		// Its pages are freed; the file is the child's as well, so that an error here shows there.
		_ = c.results.Truncate(0)
	}
	return got, nil
}

func (c *child) read(a answer, r request) (got result, err error) {
	if a.ID != r.ID || len(a.Made) != len(r.Outputs) || (a.Hashes != nil) != r.Hash {
		return got, errors.New("the answer is not that to the question")
	}
	if r.Hash {
		got.hashes = *a.Hashes
		if q := got.hashes.Quality; q < 0 || q > 100 {
			return got, fmt.Errorf("the answer has hashes of quality %d", q)
		}
		return got, nil
	}
	got.made, err = c.readDerivatives(a, r)
	return got, err
}

func (c *child) readDerivatives(a answer, r request) ([]pixels.Derivative, error) {
	info, err := c.results.Stat()
	if err != nil {
		return nil, err
	}
	left := min(info.Size(), c.cfg.MaxOutput)
	results := io.NewSectionReader(c.results, 0, left)
	all := make([]pixels.Derivative, len(a.Made))
	for i, m := range a.Made {
		d := m.Derivative
		if d.Format != r.Outputs[i].Format || d.Width < 1 || d.Height < 1 || d.Frames < 1 || m.Length < 1 || m.Length > left {
			return nil, fmt.Errorf("the answer has a derivative of %d×%d pixels and %d bytes", d.Width, d.Height, m.Length)
		}
		left -= m.Length
		d.Data = make([]byte, m.Length)
		if _, err := io.ReadFull(results, d.Data); err != nil {
			return nil, err
		}
		all[i] = d
	}
	return all, nil
}

// died waits for the end of a child whose socket is closed, and says what it died of.
func (c *child) died() error {
	killed := c.expire()
	return c.autopsy(killed)
}

// expire gives a child the time to say what it dies of, and reports whether it had to be killed.
func (c *child) expire() (killed bool) {
	timer := time.NewTimer(lastWords)
	defer timer.Stop()
	select {
	case <-c.done:
	case <-timer.C:
		killed = true
	}
	c.end()
	return killed
}

func (c *child) alive() bool {
	select {
	case <-c.done:
		return false
	default:
		return true
	}
}

// end kills the process, if it lives, and returns when it is gone.
func (c *child) end() {
	_ = c.cmd.Process.Kill() // it may be gone
	<-c.done
	_ = c.closeFiles() // closed before, or nothing in them is kept
}

func (c *child) closeFiles() error {
	return errors.Join(c.conn.Close(), c.results.Close(), c.slot.close())
}

// beginning keeps the first bytes that are written to it.
type beginning struct {
	mu   sync.Mutex
	text []byte
}

func (b *beginning) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text = append(b.text, p[:min(len(p), maxStderr-len(b.text))]...)
	return len(p), nil
}

func (b *beginning) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.text)
}

func (b *beginning) reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text = b.text[:0]
}
