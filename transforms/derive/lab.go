package derive

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"sync"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam/log"
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

// kind tells labs apart.
type kind struct {
	engine, libvips string
	share           float64
}

// lab is what all DoFns of this process share: the processes that derive, and the bounds of what they take.
type lab struct {
	kind
	size  int           // images at a time
	duty  float64       // the part of the time in which they are busy
	turns chan struct{} // one token for each of size
	held  *semaphore.Weighted
	pool  *pool.Pool

	asked sync.Mutex
	name  string // and version of the engine, once it was asked for them

	users int // of this and the next labs holds the lock
	idle  *time.Timer
}

var labs = struct {
	sync.Mutex
	open map[kind]*lab
}{open: map[kind]*lab{}}

// share is how many images are derived at a time by a share of this machine's CPUs, and in which part of the time.
func share(of float64) (size int, duty float64) {
	cpus := of * float64(runtime.GOMAXPROCS(0))
	size = max(1, int(math.Ceil(cpus)))
	return size, min(1, cpus/float64(size))
}

// enter returns the lab of these options. Whoever enters leaves it. A lab is closed when it was not used for a while: a
// bundle that is cancelled is never torn down.
func enter(o Options) (*lab, error) {
	labs.Lock()
	defer labs.Unlock()
	k := kind{o.Engine, o.Libvips, o.MaxShare}
	if l := labs.open[k]; l != nil {
		l.users++
		if l.idle != nil {
			l.idle.Stop()
		}
		return l, nil
	}
	l := &lab{kind: k, held: semaphore.NewWeighted(memory), users: 1}
	l.size, l.duty = share(k.share)
	l.turns = make(chan struct{}, l.size)
	var err error
	l.pool, err = pool.New(engine.Pool(pool.Config{Size: l.size, Background: true}, k.engine, k.libvips))
	if err != nil {
		return nil, fmt.Errorf("open pool of pixel processes: %w", err)
	}
	labs.open[k] = l
	return l, nil
}

func (l *lab) leave() {
	labs.Lock()
	defer labs.Unlock()
	if l.users--; l.users == 0 {
		l.idle = time.AfterFunc(idleAfter, l.close)
	}
}

// close ends the processes, unless somebody has come back.
func (l *lab) close() {
	labs.Lock()
	if l.users > 0 || labs.open[l.kind] != l {
		labs.Unlock()
		return
	}
	delete(labs.open, l.kind)
	labs.Unlock()
	l.pool.Close()
}

// room waits until an image may be held in memory. A large one may when it is alone.
func (l *lab) room(ctx context.Context, size int64) (release func(), err error) {
	size = min(size, memory)
	if err := l.held.Acquire(ctx, size); err != nil {
		return nil, err
	}
	return func() { l.held.Release(size) }, nil
}

// engine is the name and version of the engine.
func (l *lab) engine(ctx context.Context) (string, error) {
	l.asked.Lock()
	defer l.asked.Unlock()
	if l.name == "" {
		status, err := l.pool.Check(ctx)
		if err != nil {
			return "", err
		}
		if status.Fallback != "" {
			log.Warnf(ctx, "images are decoded by the engine in Go, since libvips cannot be used: %s", status.Fallback)
		}
		l.name = status.Engine.Name + " " + status.Engine.Version
	}
	return l.name, nil
}

// derive makes all outputs of an image when it is its turn. What it takes includes the rest that the share asks for.
func (l *lab) derive(ctx context.Context, data []byte, limits pixels.Limits, outputs []pixels.Output) (
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
	if l.duty < 1 {
		busy := time.Since(began)
		select {
		case <-time.After(time.Duration(float64(busy) * (1/l.duty - 1))):
		case <-ctx.Done():
		}
	}
	return made, time.Since(began), err
}
