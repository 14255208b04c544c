package pool

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"golang.org/x/sys/unix"

	"darkroom/internal/pixels"
	"darkroom/internal/pixels/hash"
)

// The descriptors that a child starts with, after the standard ones.
const (
	socketFD  = 3
	resultsFD = 4
)

// maxFiles is how many descriptors a child may have open.
const maxFiles = 64

// Open opens an engine by its name; libvips is the path of that library, or empty.
type Open func(engine, libvips string) (pixels.Engine, error)

// Serve is what a child runs: it confines itself, opens its engine, and serves its parent until that closes the socket.
func Serve(open Open) error {
	c, err := newConn(socketFD)
	if err != nil {
		return fmt.Errorf("serve as a pixel process, which only a pool can start: %w", err)
	}
	debug.FreeOSMemory() // what setting up every package has left behind
	_ = forgetStart()    // if it cannot, the child only occupies more
	s := server{conn: c, results: os.NewFile(resultsFD, "results")}
	if err := c.receive(&s.setup); err != nil {
		return fmt.Errorf("read setup: %w", err)
	}
	if s.engine, err = s.open(open); err != nil {
		return c.send(hello{Error: err.Error()}, nil)
	}
	status, err := confineProcess()
	if err != nil {
		return c.send(hello{Error: err.Error()}, nil)
	}
	status.Engine = s.engine.Info()
	if e, ok := s.engine.(interface{ Path() string }); ok {
		status.Library = e.Path()
	}
	if e, ok := s.engine.(interface{ Fallback() string }); ok {
		status.Fallback = e.Fallback()
	}
	if err := c.send(hello{Status: status}, nil); err != nil {
		return fmt.Errorf("tell the pool that all is ready: %w", err)
	}
	for {
		if err := s.one(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

type server struct {
	setup   setup
	conn    *conn
	results *os.File
	engine  pixels.Engine
	shared  []byte // the memory that images are in
}

// open limits the process and opens the engine. Files and sockets may still be opened by it.
func (s *server) open(open Open) (pixels.Engine, error) {
	for resource, limit := range map[int]int64{unix.RLIMIT_CORE: 0, unix.RLIMIT_FSIZE: s.setup.MaxOutput} {
		if err := setLimit(resource, limit); err != nil {
			return nil, err
		}
	}
	// Short of memory, Go collects more often before it gives up.
	debug.SetMemoryLimit(s.setup.Memory - s.setup.Memory/8)
	// Go ignores the signal at the soft limit of CPU time unless someone waits for it.
	spent := make(chan os.Signal, 1)
	signal.Notify(spent, unix.SIGXCPU)
	go func() {
		<-spent
		os.Exit(exitCPU)
	}()
	e, err := open(s.setup.Engine, s.setup.Libvips)
	if err != nil {
		return nil, err
	}
	return e, setLimit(unix.RLIMIT_NOFILE, maxFiles)
}

// one serves one image.
func (s *server) one() error {
	var r request
	f, err := s.conn.receiveFile(&r)
	if err != nil {
		return err
	}
	if err := limitImage(r); err != nil {
		return err
	}
	data, err := s.source(f, r)
	if err != nil {
		return err
	}
	if !r.Shared {
		defer func() { _ = unix.Munmap(data) }() // fails for an empty one only
	}
	a := answer{ID: r.ID}
	if err := s.work(data, r, &a); err != nil {
		a = answer{ID: r.ID, Code: pixels.CodeOf(err), Message: err.Error()}
	}
	return s.conn.send(a, nil)
}

// work does with an image what is asked for.
func (s *server) work(data []byte, r request, a *answer) error {
	if r.Hash {
		hashes, err := hash.Of(s.engine, data, r.Limits)
		a.Hashes = &hashes
		return err
	}
	derivatives, err := pixels.Derive(s.engine, data, r.Limits, r.Outputs)
	if err == nil {
		a.Made, err = s.write(derivatives)
	}
	return err
}

// source returns the bytes of the image: those of the file, or of shared memory. The file is no longer needed then.
func (s *server) source(f *os.File, r request) ([]byte, error) {
	if f == nil {
		if !r.Shared || r.Size < 0 || r.Size > int64(len(s.shared)) {
			return nil, errors.New("no image came with the request")
		}
		return s.shared[:r.Size], nil
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("map image: %w", err)
	}
	if r.Size < 0 || r.Size > info.Size() {
		return nil, fmt.Errorf("map image: %d bytes of a file of %d", r.Size, info.Size())
	}
	size := r.Size
	if r.Shared {
		size = info.Size()
		if s.shared != nil {
			if err := unix.Munmap(s.shared); err != nil {
				return nil, fmt.Errorf("unmap images: %w", err)
			}
			s.shared = nil
		}
	}
	if size == 0 {
		return nil, nil
	}
	// Shared memory does not shrink; of a file that does, the parent sees it.
	data, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map image: %w", err)
	}
	if r.Shared {
		s.shared = data
	}
	return data[:r.Size], nil
}

// write puts the data of derivatives into the file for results, over those of an earlier image.
func (s *server) write(derivatives []pixels.Derivative) ([]made, error) {
	all := make([]made, len(derivatives))
	at := int64(0)
	for i, d := range derivatives {
		n, err := s.results.WriteAt(d.Data, at)
		if errors.Is(err, syscall.EFBIG) || at+int64(n) > s.setup.MaxOutput {
			return nil, refuse(pixels.CodeResourceLimit, "the derivatives have more bytes than the limit of %d MiB", s.setup.MaxOutput>>20)
		}
		if err != nil {
			return nil, fmt.Errorf("write derivatives: %w", err)
		}
		all[i] = made{d, int64(n)}
		all[i].Data = nil
		at += int64(n)
	}
	return all, nil
}

// limitImage sets the limits that start anew with each image.
func limitImage(r request) error {
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		return fmt.Errorf("read CPU time: %w", err)
	}
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CPU, &l); err != nil {
		return fmt.Errorf("read limit of CPU time: %w", err)
	}
	seconds := used.Utime.Sec + used.Stime.Sec + 1 + r.CPU
	l.Cur = min(uint64(seconds), l.Max)
	if err := unix.Setrlimit(unix.RLIMIT_CPU, &l); err != nil {
		return fmt.Errorf("limit CPU time: %w", err)
	}
	if r.Data > 0 {
		return setLimit(unix.RLIMIT_DATA, r.Data)
	}
	return nil
}

// setLimit sets a limit that cannot be raised again; a lower one stays.
func setLimit(resource int, n int64) error {
	var l unix.Rlimit
	if err := unix.Getrlimit(resource, &l); err != nil {
		return fmt.Errorf("read resource limit %d: %w", resource, err)
	}
	l.Max = min(l.Max, uint64(n))
	l.Cur = min(l.Cur, l.Max)
	if err := unix.Setrlimit(resource, &l); err != nil {
		return fmt.Errorf("set resource limit %d: %w", resource, err)
	}
	return nil
}
