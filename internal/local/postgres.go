package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	pgUser       = "darkroom"
	pgDatabase   = "darkroom"
	pgStartLimit = 30 * time.Second
	// pgStopLimit is for the checkpoint of a fast shutdown. What it does not finish, the next start's recovery does.
	pgStopLimit = 1500 * time.Millisecond
)

// PostgresOptions say where the server keeps its data and where its programs are.
type PostgresOptions struct {
	Dir   string       // absolute; made if it is missing
	Port  int          // 0 picks a free one
	Bin   string       // folder of initdb and postgres; empty: looked for on this machine, else fetched
	Cache string       // folder for fetched programs; empty: the system's or the user's own
	Log   *slog.Logger // nil: the default one
}

// Postgres is a PostgreSQL server, as a child process that ends with this one, however this one ends. It is started
// again if it ends by itself. Only its user darkroom can sign in, with a password made once for a folder and kept in
// DIR/password.
//
// PostgreSQL refuses to run as root. For root it runs as the account that owns the data already, or as postgres or
// nobody, which need not be able to enter the folders above Dir.
type Postgres struct {
	dir, bin, password string
	port               int
	account            *syscall.Credential // nil: this process's own
	log                *slog.Logger
	folder             io.Closer

	answered atomic.Bool   // the server has answered once
	stopping chan struct{} // closed when the server is not to be started again
	done     chan struct{} // closed when it has ended for good, for the reason failed
	failed   error
	mu       sync.Mutex
	server   *os.Process
	close    func() error
}

// StartPostgres starts the server and waits until it answers. The first start on a folder makes a database in it. It
// uses PostgreSQL 12 or newer, of the same major version ever after.
func StartPostgres(ctx context.Context, o PostgresOptions) (*Postgres, error) {
	folder, err := openFolder(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("start postgres: %w", err)
	}
	p := &Postgres{
		dir: o.Dir, log: o.Log, folder: folder, stopping: make(chan struct{}), done: make(chan struct{}),
	}
	p.close = sync.OnceValue(p.stop)
	if p.log == nil {
		p.log = slog.Default()
	}
	if err := p.prepare(ctx, o); err != nil {
		return nil, fmt.Errorf("start postgres: %w", errors.Join(orStopped(ctx, err), folder.Close()))
	}
	go p.supervise()
	if err := p.await(ctx); err != nil {
		return nil, fmt.Errorf("start postgres: %w", errors.Join(orStopped(ctx, err), p.Close()))
	}
	return p, nil
}

// orStopped is the context's error once it has ended: what a program says that was killed for it is no reason.
func orStopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// prepare finds the programs and a port and makes, at the first start, the database cluster.
func (p *Postgres) prepare(ctx context.Context, o PostgresOptions) (err error) {
	if p.account, err = chooseAccount(p.dir); err != nil {
		return err
	}
	if p.bin, err = p.findPrograms(ctx, o); err != nil {
		return err
	}
	if p.port, err = choosePort(ctx, o.Port); err != nil {
		return err
	}
	if p.password, err = secretFile(filepath.Join(p.dir, "password")); err != nil {
		return err
	}
	if err := errors.Join(p.own(p.dir), p.own(filepath.Join(p.dir, "password"))); err != nil {
		return fmt.Errorf("hand over folder: %w", err)
	}
	if p.dataVersion() != 0 {
		return nil
	}
	// The cluster is made under another name, so that one cut short is not taken for a whole one.
	made := filepath.Join(p.dir, "new")
	if err := os.RemoveAll(made); err != nil {
		return fmt.Errorf("clear folder: %w", err)
	}
	initdb, done, err := p.command(ctx, "initdb", "-D", p.childFolder()+"/new", "-U", pgUser, "-A", "scram-sha-256",
		"--pwfile", p.childFolder()+"/password", "-E", "UTF8", "--locale=C")
	if err != nil {
		return err
	}
	defer done()
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("make database: %w: %s", err, lastLine(out))
	}
	if err := os.Rename(made, filepath.Join(p.dir, "data")); err != nil {
		return fmt.Errorf("make database: %w", err)
	}
	return nil
}

// own gives a file to the server's account.
func (p *Postgres) own(path string) error {
	if p.account == nil {
		return nil
	}
	return os.Chown(path, int(p.account.Uid), int(p.account.Gid))
}

// await waits until the server answers, and makes Darkroom's database at the first start.
func (p *Postgres) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pgStartLimit)
	defer cancel()
	for {
		err := p.ensureDatabase(ctx)
		if err == nil {
			p.answered.Store(true)
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no answer (its log is %s): %w", p.logFile(), err)
		case <-p.done:
			return p.failed
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (p *Postgres) ensureDatabase(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, p.dsn("postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	var exists bool
	row := conn.QueryRow(ctx, "select exists (select from pg_database where datname = $1)", pgDatabase)
	if err := row.Scan(&exists); err != nil {
		return err
	}
	if !exists {
		_, err = conn.Exec(ctx, "create database "+pgDatabase)
	}
	return err
}

// DSN is the URL of Darkroom's database.
func (p *Postgres) DSN() string { return p.dsn(pgDatabase) }

func (p *Postgres) dsn(database string) string {
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(pgUser, p.password), Host: fmt.Sprintf("%s:%d", loopback, p.port),
		Path: "/" + database, RawQuery: "sslmode=disable",
	}
	return u.String()
}

// Close stops the server: it ends its sessions and writes a checkpoint. A second call does nothing.
func (p *Postgres) Close() error { return p.close() }

func (p *Postgres) stop() error {
	close(p.stopping)
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGQUIT, syscall.SIGKILL} {
		if err := p.signal(signal); err != nil {
			return errors.Join(fmt.Errorf("stop postgres: %w", err), p.folder.Close())
		}
		select {
		case <-p.done:
			return p.folder.Close()
		case <-time.After(pgStopLimit):
		}
	}
	return errors.Join(errors.New("stop postgres: it does not end"), p.folder.Close())
}

// signal sends a signal to the server, if there is one.
func (p *Postgres) signal(s syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.server == nil {
		return nil
	}
	if err := p.server.Signal(s); !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}
