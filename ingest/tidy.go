package ingest

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"darkroom/internal/blob"
)

const (
	tidyTimeout = 10 * time.Second
	tidyRetry   = time.Second
	// tidyAfter lets removals gather: S3 removes a thousand objects with one request.
	tidyAfter = 100 * time.Millisecond
)

// tidier removes objects that are no longer needed, behind the requests' backs and many at once. It tries until it
// succeeds; what is left when it is closed, sweepers find.
type tidier struct {
	blobs *blob.Store
	log   *slog.Logger

	mu      sync.Mutex
	jobs    []job
	running bool
	idle    chan struct{} // closed when nothing is left to do
	closed  chan struct{}
}

// job is some objects and what to do when they are gone.
type job struct {
	keys []string
	done func()
}

func newTidier(blobs *blob.Store, log *slog.Logger) *tidier {
	idle := make(chan struct{})
	close(idle)
	return &tidier{blobs: blobs, log: log, idle: idle, closed: make(chan struct{})}
}

// remove removes the objects some time soon and then calls done, which may be nil.
func (t *tidier) remove(keys []string, done func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.jobs = append(t.jobs, job{keys, done})
	if !t.running {
		t.running, t.idle = true, make(chan struct{})
		go t.run()
	}
}

// run works until nothing is left.
func (t *tidier) run() {
	for {
		time.Sleep(tidyAfter)
		t.mu.Lock()
		jobs := t.jobs
		t.jobs = nil
		if len(jobs) == 0 {
			t.running = false
			close(t.idle)
			t.mu.Unlock()
			return
		}
		t.mu.Unlock()
		if !t.do(jobs) {
			return
		}
	}
}

// do removes what the jobs say. It returns false when it was closed before it could.
func (t *tidier) do(jobs []job) bool {
	var keys []string
	for _, j := range jobs {
		keys = append(keys, j.keys...)
	}
	for len(keys) > 0 {
		ctx, cancel := context.WithTimeout(context.Background(), tidyTimeout)
		err := t.blobs.Delete(ctx, keys...)
		cancel()
		if err == nil {
			break
		}
		t.log.Warn("remove what is no longer needed", "objects", len(keys), "error", err)
		select {
		case <-t.closed:
			return false
		case <-time.After(tidyRetry):
		}
	}
	for _, j := range jobs {
		if j.done != nil {
			j.done()
		}
	}
	return true
}

// wait waits until nothing is left to do, but no longer than ctx.
func (t *tidier) wait(ctx context.Context) {
	t.mu.Lock()
	idle := t.idle
	t.mu.Unlock()
	select {
	case <-idle:
	case <-ctx.Done():
	}
}

// close gives up what cannot be removed. It is called once.
func (t *tidier) close() { close(t.closed) }
