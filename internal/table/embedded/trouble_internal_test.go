package embedded

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"darkroom/internal/locked"
	"darkroom/internal/table"
)

// fullDisk has no room for one kind of operation on files of one kind while it is on.
func fullDisk(kind errorfs.OpKind, suffix string) (vfs.FS, *errorfs.Toggle) {
	full := &errorfs.Toggle{Injector: errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == kind && strings.HasSuffix(op.Path, suffix) {
			return &os.PathError{Op: "write", Path: op.Path, Err: syscall.ENOSPC}
		}
		return nil
	})}
	return errorfs.Wrap(vfs.Default, full), full
}

// killed is a directory with one row that was written before the process was killed.
func killed(t *testing.T) string {
	t.Helper()
	dir, copied := t.TempDir(), t.TempDir()
	s, err := Open(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Apply(t.Context(), progressTo(1)); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return copied
}

func progressTo(n int64) []table.Mutation {
	return []table.Mutation{table.Progresses.Mutation(table.Progress{Pipeline: "live", CompleteTo: n, Version: n})}
}

func TestOpenOnAFullDiskEnds(t *testing.T) {
	dir := killed(t)
	fs, full := fullDisk(errorfs.OpCreate, ".sst")
	full.On()
	var log locked.Buffer
	_, err := Open(t.Context(), dir, Options{fs: fs, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "open table store in "+dir) {
		t.Errorf("open: %v", err)
	}
	if n := strings.Count(log.String(), "\n"); n != 1 {
		t.Errorf("logged %d lines:\n%s", n, log.String())
	}
	full.Off()
	s := reopened(t, dir)
	if row, err := s.Get(t.Context(), "progress", table.Row{"pipeline": "live"}); err != nil || row["complete_to"] != int64(1) {
		t.Errorf("after it: %v %v", row, err)
	}
}

func TestOpenEndsWithItsContext(t *testing.T) {
	dir := killed(t)
	fs, full := fullDisk(errorfs.OpCreate, ".sst")
	full.On()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Open(ctx, dir, Options{fs: fs, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("open: %v", err)
	}
	full.Off()
	reopened(t, dir)
}

// reopened opens a directory once an attempt that was given up has ended.
func reopened(t *testing.T, dir string) *Store {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		s, err := Open(t.Context(), dir, Options{})
		if err == nil {
			t.Cleanup(func() { _ = s.Close() })
			return s
		}
		if !errors.Is(err, ErrInUse) || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// A disk that is full for a while, with the store in use, costs nothing but the wait.
func TestAStoreOutlivesAFullDisk(t *testing.T) {
	fs, full := fullDisk(errorfs.OpCreate, ".sst")
	var log locked.Buffer
	s, err := Open(t.Context(), t.TempDir(), Options{fs: fs, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Apply(t.Context(), progressTo(1)); err != nil {
		t.Fatal(err)
	}
	full.On()
	flushed, err := s.db.AsyncFlush()
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); log.String() == ""; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nobody was told")
		}
	}
	if err := s.Apply(t.Context(), progressTo(2)); err != nil {
		t.Error(err)
	}
	time.Sleep(10 * troublePause)
	full.Off()
	<-flushed
	if n := strings.Count(log.String(), "\n"); n != 1 {
		t.Errorf("logged %d lines:\n%s", n, log.String())
	}
	if row, err := s.Get(t.Context(), "progress", table.Row{"pipeline": "live"}); err != nil || row["complete_to"] != int64(2) {
		t.Errorf("after it: %v %v", row, err)
	}
}

// When its own log cannot be written, the process ends with a line and no stack, and what was acknowledged is there.
func TestALogThatCannotBeWrittenEndsTheProcess(t *testing.T) {
	const dirEnv = "DARKROOM_TABLE_TEST_FULL"
	if dir := os.Getenv(dirEnv); dir != "" {
		writeToAFullDisk(t, dir)
		return
	}
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), dirEnv+"="+dir)
	out, err := cmd.CombinedOutput()
	text := string(out)
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 1 ||
		!strings.Contains(text, "what was acknowledged is there at the next start") || !strings.Contains(text, "no space left on device") {
		t.Fatalf("%v\n%s", err, text)
	}
	if strings.Contains(text, "goroutine ") || strings.Contains(text, ".go:") || strings.Count(text, "\n") != 1 {
		t.Errorf("it says\n%s", text)
	}
	if row, err := reopened(t, dir).Get(t.Context(), "progress", table.Row{"pipeline": "live"}); err != nil || row["complete_to"] != int64(1) {
		t.Errorf("after it: %v %v", row, err)
	}
}

func writeToAFullDisk(t *testing.T, dir string) {
	fs, full := fullDisk(errorfs.OpFileWrite, ".log")
	s, err := Open(t.Context(), dir, Options{fs: fs})
	if err == nil {
		err = s.Apply(t.Context(), progressTo(1))
	}
	if err != nil {
		t.Fatal(err)
	}
	full.On()
	t.Fatalf("the write ended with %v", s.Apply(t.Context(), progressTo(2)))
}
