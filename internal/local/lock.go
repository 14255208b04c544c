package local

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// lockFile releases a folder.
type lockFile struct{ f *os.File }

// Lock takes a folder for this process. It fails if another process holds it, and names that process. The lock is the
// kernel's, so it goes with its process, however that ends.
func Lock(dir string) (io.Closer, error) {
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer func() { _ = f.Close() }()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		pid, err := io.ReadAll(f)
		if err != nil {
			return nil, fmt.Errorf("read lock: %w", err)
		}
		return nil, fmt.Errorf("%s is in use by process %s", dir, strings.TrimSpace(string(pid)))
	}
	if err := errors.Join(f.Truncate(0), writeLine(f, os.Getpid())); err != nil {
		return nil, errors.Join(fmt.Errorf("write lock: %w", err), f.Close())
	}
	return &lockFile{f}, nil
}

func writeLine(w io.Writer, pid int) error {
	_, err := fmt.Fprintln(w, pid)
	return err
}

// Close releases the folder. A second call does nothing.
func (l *lockFile) Close() error {
	if err := l.f.Close(); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}
