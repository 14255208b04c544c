package variant

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"darkroom/internal/pixels"
	"darkroom/internal/pixels/engine"
	"darkroom/internal/pixels/pool"
)

const (
	// memory bounds the bytes of all images that this process holds.
	memory = 256 << 20
	// idleAfter is how long a lab that nobody uses keeps its processes.
	idleAfter = 10 * time.Second
)

// LabConfig tells labs apart: whoever enters with the same shares one.
type LabConfig struct {
	engine.Choice

	Size     int           // images at a time
	Duty     float64       // the part of the time in which they are busy: more than 0, at most 1
	Timeout  time.Duration // of an image; 0 stands for the pool's
	Priority pool.Priority
}

// Lab is what all of this process that derive with the same settings share: the processes that derive, and the bounds of
// what they take.
type Lab struct {
	cfg   LabConfig
	turns chan struct{} // one token for each image at a time
	held  *semaphore.Weighted
	pool  *pool.Pool

	asked sync.Mutex
	info  pixels.EngineInfo // once a process was asked for it

	users int // of this and the next labs holds the lock
	idle  *time.Timer
}

var labs = struct {
	sync.Mutex
	open map[LabConfig]*Lab
}{open: map[LabConfig]*Lab{}}

// Share is how many images are derived at a time by a share of this process's CPUs, and in which part of the time.
func Share(of float64) (size int, duty float64) { return share(of, pool.CPUs) }

func share(of float64, cpus int) (size int, duty float64) {
	busy := of * float64(cpus)
	size = max(1, int(math.Ceil(busy)))
	return size, min(1, busy/float64(size))
}

// Enter returns the lab of these settings. Whoever enters leaves it. A lab is closed when it was not used for a while: a
// bundle that is cancelled is never torn down.
func Enter(cfg LabConfig) (*Lab, error) {
	labs.Lock()
	defer labs.Unlock()
	if l := labs.open[cfg]; l != nil {
		l.users++
		if l.idle != nil {
			l.idle.Stop()
		}
		return l, nil
	}
	l := &Lab{cfg: cfg, turns: make(chan struct{}, cfg.Size), held: semaphore.NewWeighted(memory), users: 1}
	var err error
	l.pool, err = pool.New(cfg.Pool(pool.Config{Size: cfg.Size, Timeout: cfg.Timeout, Priority: cfg.Priority}))
	if err != nil {
		return nil, fmt.Errorf("open pool of pixel processes: %w", err)
	}
	labs.open[cfg] = l
	return l, nil
}

// Leave tells that one of those who entered is done.
func (l *Lab) Leave() {
	labs.Lock()
	defer labs.Unlock()
	if l.users--; l.users == 0 {
		l.idle = time.AfterFunc(idleAfter, l.close)
	}
}

// close ends the processes, unless somebody has come back.
func (l *Lab) close() {
	labs.Lock()
	if l.users > 0 || labs.open[l.cfg] != l {
		labs.Unlock()
		return
	}
	delete(labs.open, l.cfg)
	labs.Unlock()
	l.pool.Close()
}

// room waits until an image may be held in memory. A large one may when it is alone.
func (l *Lab) room(ctx context.Context, size int64) (release func(), err error) {
	size = min(size, memory)
	if err := l.held.Acquire(ctx, size); err != nil {
		return nil, err
	}
	return func() { l.held.Release(size) }, nil
}

// Info is what the engine is and can do.
func (l *Lab) Info(ctx context.Context) (pixels.EngineInfo, error) {
	l.asked.Lock()
	defer l.asked.Unlock()
	if l.info.Name == "" {
		status, err := l.pool.Check(ctx)
		if err != nil {
			return pixels.EngineInfo{}, err
		}
		status.Warn(ctx)
		l.info = status.Engine
	}
	return l.info, nil
}

// Engine is the name and version of the engine.
func (l *Lab) Engine(ctx context.Context) (string, error) {
	info, err := l.Info(ctx)
	if err != nil {
		return "", err
	}
	return info.Name + " " + info.Version, nil
}

// Derive makes all outputs of an image when it is its turn. What it takes includes the rest that its duty asks for.
func (l *Lab) Derive(ctx context.Context, data []byte, limits pixels.Limits, outputs []pixels.Output) (
	made []pixels.Derivative, took time.Duration, err error,
) {
	select {
	case l.turns <- struct{}{}:
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	}
	defer func() { <-l.turns }()
	began := time.Now()
	made, err = l.pool.Derive(ctx, pool.Source{Data: data}, limits, outputs)
	if l.cfg.Duty < 1 {
		busy := time.Since(began)
		select {
		case <-time.After(time.Duration(float64(busy) * (1/l.cfg.Duty - 1))):
		case <-ctx.Done():
		}
	}
	return made, time.Since(began), err
}
