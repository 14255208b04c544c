package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// The server is started again after a wait that doubles with each end, and is short again after a good run.
	pgShortWait = 100 * time.Millisecond
	pgLongWait  = 5 * time.Second
	pgGoodRun   = time.Minute
	// pgPatience is how long a start waits for the server of a process that was killed to go down.
	pgPatience = 10 * time.Second
)

// pgSettings suit a small machine and a database that is a copy of what the topics hold. Every commit is synced.
var pgSettings = []string{
	"max_connections=50", "shared_buffers=48MB", "max_wal_size=256MB", "wal_level=minimal", "max_wal_senders=0",
	"max_worker_processes=2", "max_logical_replication_workers=0", "jit=off", "logging_collector=off",
	"log_checkpoints=off",
}

// command prepares one of PostgreSQL's programs, with the folder as descriptor 3. The caller calls done after its end.
func (p *Postgres) command(
	ctx context.Context, name string, args ...string,
) (cmd *exec.Cmd, done func(), err error) {
	folder, err := os.Open(p.dir)
	if err != nil {
		return nil, nil, fmt.Errorf("open folder: %w", err)
	}
	cmd = program(ctx, p.bin, name, p.account, args...)
	cmd.ExtraFiles = []*os.File{folder}
	return cmd, func() { _ = folder.Close() }, nil
}

// program prepares a program to run under an account.
func program(ctx context.Context, bin, name string, account *syscall.Credential, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(bin, name), args...)
	cmd.Dir = "/" // ours may be closed to the other account
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C", "TZ=UTC"}
	cmd.SysProcAttr = dyingWithUs()
	cmd.SysProcAttr.Credential = account
	cmd.SysProcAttr.Setpgid = true // a Ctrl-C at the terminal is ours to pass on
	return cmd
}

// supervise keeps a server running until Close. One that ends before it has ever answered is not started again.
func (p *Postgres) supervise() {
	defer close(p.done)
	// The kernel sends the parent-death signal when the thread that started the child ends, so this one must not.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for wait := pgShortWait; ; wait = min(2*wait, pgLongWait) {
		begin := time.Now()
		err := p.serve()
		select {
		case <-p.stopping:
			return
		default:
		}
		if !p.answered.Load() {
			p.failed = err
			return
		}
		if time.Since(begin) > pgGoodRun {
			wait = pgShortWait
		}
		p.log.Error("postgres ended; starting it again", "error", err, "wait", wait, "log", p.logFile())
		select {
		case <-p.stopping:
			return
		case <-time.After(wait):
		}
	}
}

// serve runs one server to its end.
func (p *Postgres) serve() error {
	if err := p.awaitPredecessor(); err != nil {
		return err
	}
	args := []string{"-D", p.childFolder() + "/data", "-h", loopback, "-p", strconv.Itoa(p.port), "-k", ""}
	for _, setting := range pgSettings {
		args = append(args, "-c", setting)
	}
	cmd, done, err := p.command(context.Background(), "postgres", args...) // Close ends it, and nothing else
	if err != nil {
		return err
	}
	defer done()
	mode := os.O_CREATE | os.O_WRONLY | os.O_APPEND
	if !p.answered.Load() {
		mode |= os.O_TRUNC
	}
	log, err := os.OpenFile(p.logFile(), mode, 0o600)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	defer func() { _ = log.Close() }()
	cmd.Stdout, cmd.Stderr = log, log
	if err := p.launch(cmd); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("it ended: %w: %s", err, p.reason())
	}
	return errors.New("somebody stopped it")
}

// launch starts the server unless Close has been called.
func (p *Postgres) launch(cmd *exec.Cmd) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.stopping:
		return errors.New("it is being stopped")
	default:
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	p.server = cmd.Process
	return nil
}

func (p *Postgres) logFile() string { return filepath.Join(p.dir, "server.log") }

// reason is the log's last line that says why a server did not start.
func (p *Postgres) reason() string {
	out, err := os.ReadFile(p.logFile())
	if err != nil {
		return err.Error()
	}
	reason := lastLine(out)
	for line := range strings.Lines(string(out)) {
		_, fatal, found := strings.Cut(line, " FATAL: ")
		if found && !strings.Contains(fatal, "the database system is") { // said to those who ask too early
			reason = strings.TrimSpace(fatal)
		}
	}
	return reason
}

func lastLine(out []byte) string {
	text := strings.TrimSpace(string(out))
	return text[strings.LastIndex(text, "\n")+1:]
}

// awaitPredecessor waits for the server of a process that was killed: it may still be going down, and a new one would
// refuse to start beside it.
func (p *Postgres) awaitPredecessor() error {
	for end := time.Now().Add(pgPatience); ; time.Sleep(10 * time.Millisecond) {
		pid := p.predecessor()
		if pid == "" {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("another server, process %s, works in %s", pid, filepath.Join(p.dir, "data"))
		}
	}
}
