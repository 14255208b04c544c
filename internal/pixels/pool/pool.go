// Package pool derives and hashes images in child processes of the same binary, so that no image can take the process down that
// has to answer for it.
//
// A child is kept between images and replaced when it dies. What confines it, as far as the system can:
//   - an image may take so much memory, CPU time and wall time, and make so many bytes;
//   - no network, no other process, no signal to another process (seccomp);
//   - no file but those of system libraries, which it may read (landlock), no mode, owner, time or attribute of any file
//     (seccomp), and no privileges, not even of root;
//   - it dies with its parent.
//
// Pool.Check tells which of these hold on this machine. The source reaches a child in memory that both share, or as the
// descriptor of a file; derivatives come back in another file in memory. The parent reads and writes these files and maps
// none, so that a child cannot harm it by what it does with them.
package pool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"darkroom/internal/pixels"
	"darkroom/internal/pixels/hash"
)

// ErrClosed is returned once Close was called.
var ErrClosed = errors.New("the pool of pixel processes is closed")

// Priority is how the children share the CPUs with all else on the machine. It has no effect but on Linux.
type Priority int

// The priorities. The children of Low take a little beside other work, those of Idle next to nothing: what no other work
// wants.
const (
	Normal Priority = iota
	Low
	Idle
)

// Config says how images are derived. A field that is zero stands for its value in DefaultConfig.
type Config struct {
	Engine  string // name and library of the engine, as Serve's open function takes them
	Libvips string
	// Fallback is the engine for when a child dies of opening Engine, or cannot; none if empty.
	Fallback string

	Size      int           // processes, and so images at a time
	Memory    int64         // bytes that an image may take, beyond what a process takes when idle
	Timeout   time.Duration // wall time of an image, without that in which it waits for a CPU where the system tells it
	CPU       time.Duration // CPU time of an image, of all threads; counted in whole seconds
	MaxOutput int64         // bytes of all derivatives of an image
	MaxUses   int           // images until a process is replaced

	Priority Priority

	// Command starts a child, which must call Serve: the program and its arguments. By default it is this binary with
	// the argument pixels-child.
	Command []string
	// ReadOnly are further files and folders that a child may read, such as that of libvips.
	ReadOnly []string
}

// CPUs is how many CPUs this process may use. It is what GOMAXPROCS was when it started, which others may raise.
var CPUs = runtime.GOMAXPROCS(0)

// DefaultConfig has a process for each CPU, and room for the largest image that pixels.DefaultLimits allow.
func DefaultConfig() Config {
	return Config{
		Size: CPUs, Memory: 2 << 30, Timeout: time.Minute, CPU: 2 * time.Minute, MaxOutput: 256 << 20,
		MaxUses: 10_000, Command: ownCommand(),
	}
}

func (c Config) orDefault() Config {
	def := DefaultConfig()
	c.Size, c.MaxUses = cmp.Or(c.Size, def.Size), cmp.Or(c.MaxUses, def.MaxUses)
	c.Memory, c.MaxOutput = cmp.Or(c.Memory, def.Memory), cmp.Or(c.MaxOutput, def.MaxOutput)
	c.Timeout, c.CPU = cmp.Or(c.Timeout, def.Timeout), cmp.Or(c.CPU, def.CPU)
	if len(c.Command) == 0 {
		c.Command = def.Command
	}
	return c
}

func (c Config) validate() error {
	switch {
	case c.Size < 1:
		return fmt.Errorf("size %d: must be positive", c.Size)
	case c.MaxUses < 1:
		return fmt.Errorf("max uses %d: must be positive", c.MaxUses)
	case c.Memory < minMemory:
		return fmt.Errorf("memory %d: must be at least %d bytes", c.Memory, int64(minMemory))
	case c.MaxOutput < 1:
		return fmt.Errorf("max output %d: must be positive", c.MaxOutput)
	case c.Timeout < 0 || c.CPU < 0:
		return fmt.Errorf("timeout %s, CPU time %s: must be positive", c.Timeout, c.CPU)
	}
	return nil
}

// minMemory is that of the smallest heap that Go grows in one step, with some to spare.
const minMemory = 128 << 20

// Pool is a set of child processes. Its methods may be called by many goroutines at once.
type Pool struct {
	cfg    Config
	turns  chan struct{} // one token for each child that is idle or not started; those who wait are served in order
	closed chan struct{}

	mu        sync.Mutex
	idle      []*child // the last used one last
	failed    error    // of the last start, until retryAt
	retryAt   time.Time
	fellBack  string // why children have the engine to fall back to
	closeOnce sync.Once
}

// New returns a pool. Children start when they are needed.
func New(cfg Config) (*Pool, error) {
	cfg = cfg.orDefault()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	p := &Pool{cfg: cfg, turns: make(chan struct{}, cfg.Size), closed: make(chan struct{})}
	for range cfg.Size {
		p.turns <- struct{}{}
	}
	return p, nil
}

// Derive is pixels.Derive in a child. It waits for a free one as long as ctx lives, and ends what is under way when ctx
// ends.
//
// An *pixels.Error is about the image, as of pixels.Derive: with CodeDecodeCrash where a child died of it, with
// CodeDecodeTimeout or CodeResourceLimit where it took more than it may. Any other error is not: that of ctx, ErrClosed,
// that of an output, or that of a child which could not be started.
func (p *Pool) Derive(
	ctx context.Context, src Source, lim pixels.Limits, outputs []pixels.Output,
) ([]pixels.Derivative, error) {
	got, err := p.serve(ctx, src, request{Limits: lim, Outputs: outputs})
	return got.made, err
}

// Hash is hash.Of in a child. Its errors are those of Derive.
func (p *Pool) Hash(ctx context.Context, src Source, lim pixels.Limits) (hash.Hashes, error) {
	got, err := p.serve(ctx, src, request{Limits: lim, Hash: true})
	return got.hashes, err
}

// serve has a child do what the request says.
func (p *Pool) serve(ctx context.Context, src Source, r request) (got result, err error) {
	in, err := src.check()
	if err != nil {
		return got, fmt.Errorf("pass image to a pixel process: %w", err)
	}
	for again := true; again; {
		again = false
		err = p.with(ctx, func(c *child) error {
			var err error
			got, err = c.serve(ctx, p.closed, in, r)
			var d *death
			if errors.As(err, &d) {
				if in.changed() {
					return errors.New("the file changed while it was read")
				}
				// Whoever died early in life died of this image, and not of what an earlier one left behind.
				again = d.doubtful && c.uses > 1
				err = d.err
			}
			return err
		})
	}
	return got, err
}

// Check starts a child if none is idle, and tells which engine it has and what confines it.
func (p *Pool) Check(ctx context.Context) (Status, error) {
	var s Status
	err := p.with(ctx, func(c *child) error {
		s = c.status
		return nil
	})
	return s, err
}

// Status is what a child says of itself.
type Status struct {
	Engine   pixels.EngineInfo
	Library  string   // the file of the engine's library, if it has one
	Fallback string   // why it is not the engine that was asked for first; else empty
	Confined []string // what confines it, such as "landlock 7"
	Missing  []string // what does not, and why
}

// Warn logs that it is not the engine that was asked for first, if so.
func (s Status) Warn(ctx context.Context) {
	if s.Fallback != "" {
		slog.WarnContext(ctx, "images are decoded by another engine than the first choice", "engine", s.Engine.Name, "reason", s.Fallback)
	}
}

// with lends a child to f. It comes back unless it died or was used up.
func (p *Pool) with(ctx context.Context, f func(*child) error) error {
	select {
	case <-p.closed: // which the second select may overlook
		return ErrClosed
	default:
	}
	select {
	case <-p.turns:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-p.closed:
		return ErrClosed
	}
	defer func() { p.turns <- struct{}{} }()
	c, err := p.take(ctx)
	if err != nil {
		return err
	}
	err = f(c)
	p.giveBack(c)
	return err
}

// take returns an idle child, or starts one.
func (p *Pool) take(ctx context.Context) (*child, error) {
	p.mu.Lock()
	for len(p.idle) > 0 {
		c := p.idle[len(p.idle)-1]
		p.idle = p.idle[:len(p.idle)-1]
		if c.alive() {
			p.mu.Unlock()
			return c, nil
		}
		c.end()
	}
	failed := p.failed
	if time.Now().After(p.retryAt) {
		failed = nil
	}
	p.mu.Unlock()
	if failed != nil {
		return nil, failed
	}
	c, err := p.start(ctx)
	if err == nil || ctx.Err() != nil || errors.Is(err, ErrClosed) {
		return c, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failed, p.retryAt = fmt.Errorf("start a pixel process: %w", err), time.Now().Add(startPause)
	return nil, p.failed
}

// start starts a child, with the engine to fall back to where the one that is wanted takes its process down.
func (p *Pool) start(ctx context.Context) (*child, error) {
	cfg := p.cfg
	p.mu.Lock()
	why := p.fellBack
	p.mu.Unlock()
	if why == "" {
		c, err := start(ctx, p.closed, cfg)
		var broken *engineFault
		if cfg.Fallback == "" || !errors.As(err, &broken) {
			return c, err
		}
		why = broken.Error()
	}
	cfg.Engine = cfg.Fallback
	c, err := start(ctx, p.closed, cfg)
	if err != nil {
		return nil, err
	}
	c.status.Fallback = why
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fellBack = why
	return c, nil
}

// startPause is how long no child is started after one could not be.
const startPause = time.Second

func (p *Pool) giveBack(c *child) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.closed:
	default:
		if c.alive() && c.uses < p.cfg.MaxUses {
			p.idle = append(p.idle, c)
			return
		}
	}
	c.end()
}

// Close ends all children, with what they are at, and returns when they are gone.
func (p *Pool) Close() {
	p.closeOnce.Do(func() {
		close(p.closed)
		for range p.cfg.Size { // each comes back when its child is idle or gone
			<-p.turns
		}
		for _, c := range p.idle {
			c.end()
		}
		p.idle = nil
	})
}
