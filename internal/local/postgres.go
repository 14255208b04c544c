package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	pgUser       = "darkroom"
	pgDatabase   = "darkroom"
	pgStartLimit = 30 * time.Second
	pgStopLimit  = 10 * time.Second
	pgRestart    = 500 * time.Millisecond
	// The child finds its folder by a descriptor, not by name: an account that may not pass the folders above it, such
	// as that of root's home, can still work in it.
	pgFolder = "/proc/self/fd/3"
)

// PostgresOptions say where the server keeps its data and where its programs are.
type PostgresOptions struct {
	Dir   string
	Port  int    // 0 picks a free one
	Bin   string // folder of initdb and postgres; empty: looked for on this machine, else fetched
	Cache string // folder for fetched programs; empty: the system's
	Log   *slog.Logger
}

// Postgres is a PostgreSQL server, as a child process that ends with this one, however this one ends. It is started
// again if it ends by itself.
type Postgres struct {
	dir, bin, password string
	port               int
	account            *syscall.Credential // nil: this process's own
	log                *slog.Logger

	mu      sync.Mutex
	server  *os.Process
	closing bool
	done    chan struct{}
}

// StartPostgres starts the server and waits until it answers. The first start on a folder makes a database in it.
func StartPostgres(ctx context.Context, o PostgresOptions) (*Postgres, error) {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("find postgres folder: %w", err)
	}
	p := &Postgres{dir: dir, bin: o.Bin, log: o.Log, done: make(chan struct{})}
	if p.log == nil {
		p.log = slog.Default()
	}
	if p.bin == "" {
		if p.bin, err = findPostgres(ctx, o.Cache, p.log); err != nil {
			return nil, err
		}
	}
	if p.account, err = unprivileged(); err != nil {
		return nil, err
	}
	if err := p.prepare(); err != nil {
		return nil, err
	}
	addr, err := freeAddr(ctx, o.Port)
	if err != nil {
		return nil, fmt.Errorf("start postgres: %w", err)
	}
	p.port, _ = strconv.Atoi(addr[strings.LastIndex(addr, ":")+1:]) // the system's own number
	started := make(chan error, 1)
	go p.supervise(started)
	if err := <-started; err != nil {
		return nil, err
	}
	if err := p.await(ctx); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// DSN is the URL of Darkroom's database.
func (p *Postgres) DSN() string { return p.dsn(pgDatabase) }

func (p *Postgres) dsn(database string) string {
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(pgUser, p.password), Host: fmt.Sprintf("127.0.0.1:%d", p.port),
		Path: "/" + database, RawQuery: "sslmode=disable",
	}
	return u.String()
}

// prepare makes the folder and, at the first start, the database cluster in it.
func (p *Postgres) prepare() error {
	if err := errors.Join(os.MkdirAll(p.dir, 0o700), p.own(p.dir)); err != nil {
		return fmt.Errorf("make postgres folder: %w", err)
	}
	var err error
	if p.password, err = secretFile(filepath.Join(p.dir, "password")); err != nil {
		return err
	}
	if err := p.own(filepath.Join(p.dir, "password")); err != nil {
		return fmt.Errorf("make postgres folder: %w", err)
	}
	if _, err := os.Stat(filepath.Join(p.dir, "data", "PG_VERSION")); err == nil {
		return nil
	}
	// The cluster is made under another name, so that one cut short is not taken for a whole one.
	if err := os.RemoveAll(filepath.Join(p.dir, "new")); err != nil {
		return fmt.Errorf("clear postgres folder: %w", err)
	}
	initdb, closer, err := p.command("initdb", "-D", pgFolder+"/new", "-U", pgUser, "-A", "scram-sha-256",
		"--pwfile", pgFolder+"/password", "-E", "UTF8", "--locale=C")
	if err != nil {
		return err
	}
	defer closer()
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("make postgres database: %w: %s", err, lastLine(out))
	}
	if err := os.Rename(filepath.Join(p.dir, "new"), filepath.Join(p.dir, "data")); err != nil {
		return fmt.Errorf("make postgres database: %w", err)
	}
	return nil
}

func (p *Postgres) own(path string) error {
	if p.account == nil {
		return nil
	}
	return os.Chown(path, int(p.account.Uid), int(p.account.Gid))
}

// command prepares one of PostgreSQL's programs, with the folder as descriptor 3.
func (p *Postgres) command(name string, args ...string) (cmd *exec.Cmd, closer func(), err error) {
	folder, err := os.Open(p.dir)
	if err != nil {
		return nil, nil, fmt.Errorf("open postgres folder: %w", err)
	}
	cmd = exec.Command(filepath.Join(p.bin, name), args...)
	cmd.Dir = "/" // ours may be closed to the other account
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C", "TZ=UTC"}
	cmd.ExtraFiles = []*os.File{folder}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential: p.account,
		Setpgid:    true,            // a Ctrl-C at the terminal is ours to pass on
		Pdeathsig:  syscall.SIGQUIT, // ends at once; the next start recovers from the log
	}
	return cmd, func() { _ = folder.Close() }, nil
}

// supervise keeps a server running until Close. It tells whether the first one could be started.
func (p *Postgres) supervise(started chan<- error) {
	defer close(p.done)
	// The kernel sends the parent-death signal when the thread that started the child ends, so this one must not.
	runtime.LockOSThread()
	for first := true; ; first = false {
		err := p.serve(func() {
			if first {
				started <- nil
			}
		})
		p.mu.Lock()
		closing := p.closing
		p.mu.Unlock()
		if closing {
			return
		}
		if p.log.Error("postgres ended", "error", err, "log", p.logFile()); first && p.server == nil {
			started <- err
			return
		}
		time.Sleep(pgRestart)
	}
}

// serve runs one server to its end.
func (p *Postgres) serve(started func()) error {
	p.awaitPredecessor()
	cmd, closer, err := p.command("postgres", "-D", pgFolder+"/data", "-h", "127.0.0.1", "-p", strconv.Itoa(p.port),
		"-k", "", "-c", "max_connections=50", "-c", "shared_buffers=48MB", "-c", "logging_collector=off")
	if err != nil {
		return err
	}
	defer closer()
	log, err := os.OpenFile(p.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open postgres log: %w", err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	p.mu.Lock()
	if p.closing {
		p.mu.Unlock()
		return nil
	}
	if err := cmd.Start(); err != nil {
		p.mu.Unlock()
		return fmt.Errorf("start postgres: %w", err)
	}
	p.server = cmd.Process
	p.mu.Unlock()
	started()
	return cmd.Wait()
}

func (p *Postgres) logFile() string { return filepath.Join(p.dir, "server.log") }

// awaitPredecessor waits for the server of a process that was killed: it may still be going down.
func (p *Postgres) awaitPredecessor() {
	for end := time.Now().Add(pgStopLimit); p.predecessor() && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond)
	}
}

func (p *Postgres) predecessor() bool {
	b, err := os.ReadFile(filepath.Join(p.dir, "data", "postmaster.pid"))
	if err != nil {
		return false
	}
	pid, _, _ := strings.Cut(string(b), "\n")
	exe, err := os.Readlink("/proc/" + pid + "/exe")
	return err == nil && filepath.Base(exe) == "postgres"
}

// await waits until the server answers, and makes Darkroom's database at the first start.
func (p *Postgres) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pgStartLimit)
	defer cancel()
	for {
		err := p.ensureDatabase(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("start postgres: %w (its log is %s)", err, p.logFile())
		case <-p.done:
			return fmt.Errorf("start postgres: it ended (its log is %s)", p.logFile())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (p *Postgres) ensureDatabase(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, p.dsn("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	var exists bool
	if err := conn.QueryRow(ctx, "select exists (select from pg_database where datname = $1)", pgDatabase).Scan(&exists); err != nil {
		return err
	}
	if !exists {
		_, err = conn.Exec(ctx, "create database "+pgDatabase)
	}
	return err
}

// Close stops the server: it ends its sessions and writes a checkpoint. A second call does nothing.
func (p *Postgres) Close() error {
	p.mu.Lock()
	p.closing = true
	server := p.server
	p.mu.Unlock()
	if server == nil {
		return nil
	}
	for _, signal := range []os.Signal{syscall.SIGINT, syscall.SIGQUIT} {
		if err := server.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("stop postgres: %w", err)
		}
		select {
		case <-p.done:
			return nil
		case <-time.After(pgStopLimit):
		}
	}
	return fmt.Errorf("stop postgres: process %d does not end", server.Pid)
}

func lastLine(out []byte) string {
	text := strings.TrimSpace(string(out))
	return text[strings.LastIndex(text, "\n")+1:]
}
