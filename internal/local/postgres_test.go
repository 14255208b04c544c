package local_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"darkroom/internal/local"
)

// A power cut loses no commit, a password is asked for, and root's home may stay closed.
func TestPostgresWorksUnderAFolderThatOthersMayNotEnter(t *testing.T) {
	parent := filepath.Join(t.TempDir(), "closed")
	if err := os.Mkdir(parent, 0o700); err != nil {
		t.Fatal(err)
	}
	p, err := local.StartPostgres(t.Context(), local.PostgresOptions{Dir: filepath.Join(parent, "postgres")})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), p.DSN())
	if err != nil {
		t.Fatal(err)
	}
	for _, setting := range []string{"fsync", "synchronous_commit", "full_page_writes"} {
		var value string
		if err := conn.QueryRow(t.Context(), "show "+setting).Scan(&value); err != nil || value != "on" {
			t.Errorf("%s is %q, %v", setting, value, err)
		}
	}
	other := strings.Replace(p.DSN(), "darkroom:", "darkroom:x", 1)
	if conn, err := pgx.Connect(t.Context(), other); err == nil {
		conn.Close(t.Context())
		t.Error("another password is accepted")
	}
	conn.Close(t.Context())
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestPostgresIsStartedAgain(t *testing.T) {
	p, err := local.StartPostgres(t.Context(), local.PostgresOptions{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), p.DSN())
	if err != nil {
		t.Fatal(err)
	}
	// A backend that is killed takes all sessions with it; the server itself is killed by its pid file's number.
	pid, err := os.ReadFile(pidFile(t, conn))
	if err != nil {
		t.Fatal(err)
	}
	conn.Close(t.Context())
	first, _, _ := strings.Cut(string(pid), "\n")
	if out, err := exec.Command("kill", "-9", first).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if conn, err = pgx.Connect(t.Context(), p.DSN()); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("postgres did not come back: %v", err)
		}
	}
	conn.Close(t.Context())
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
}

func pidFile(t *testing.T, conn *pgx.Conn) string {
	t.Helper()
	var pid int
	if err := conn.QueryRow(t.Context(), "select pg_backend_pid()").Scan(&pid); err != nil {
		t.Fatal(err)
	}
	cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)) // every process of the server works in its data folder
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(cwd, "postmaster.pid")
}

// A server that cannot start says why, and at once: it is not tried again and again.
func TestPostgresSaysWhyItDoesNotStart(t *testing.T) {
	dir := t.TempDir()
	p, err := local.StartPostgres(t.Context(), local.PostgresOptions{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(dir, "data", "postgresql.conf")
	if err := os.WriteFile(conf, []byte("no_such_setting = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = local.StartPostgres(t.Context(), local.PostgresOptions{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "postgresql.conf\" contains errors") {
		t.Errorf("with a wrong setting: %v", err)
	}
	if err := os.Remove(conf); err != nil {
		t.Fatal(err)
	}
}

// A start that is interrupted is no failure, whichever of PostgreSQL's programs it ends.
func TestAStartOfPostgresThatIsInterruptedSaysNoMore(t *testing.T) {
	for _, after := range []time.Duration{50 * time.Millisecond, 150 * time.Millisecond, 300 * time.Millisecond} {
		ctx, stop := context.WithCancel(t.Context())
		time.AfterFunc(after, stop)
		p, err := local.StartPostgres(ctx, local.PostgresOptions{Dir: t.TempDir()})
		if err == nil { // it was faster
			err = p.Close()
		} else if errors.Is(err, context.Canceled) && err.Error() == "start postgres: context canceled" {
			err = nil
		}
		if err != nil {
			t.Errorf("after %v: %v", after, err)
		}
		stop()
	}
}

func TestPostgresOfAnotherVersionIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "data", "PG_VERSION"), []byte("11\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := local.StartPostgres(t.Context(), local.PostgresOptions{Dir: dir})
	if err == nil || !strings.Contains(err.Error(), "PostgreSQL 11") {
		t.Errorf("data of an old version: %v", err)
	}
	_, err = local.StartPostgres(t.Context(), local.PostgresOptions{Dir: dir, Bin: dir})
	if err == nil || !strings.Contains(err.Error(), "use PostgreSQL of "+dir) {
		t.Errorf("a folder without programs: %v", err)
	}
}

// It fetches from the network, so it runs only when it is asked for.
func TestPostgresIsFetched(t *testing.T) {
	if os.Getenv("DARKROOM_TEST_FETCH") == "" {
		t.Skip("set DARKROOM_TEST_FETCH=1 to fetch PostgreSQL")
	}
	cache := t.TempDir()
	if err := os.Chmod(filepath.Dir(cache), 0o755); err != nil { // so that the server's account can reach it
		t.Fatal(err)
	}
	bin, err := local.FetchPostgres(t.Context(), cache)
	if err != nil {
		t.Fatal(err)
	}
	again, err := local.FetchPostgres(t.Context(), cache)
	if err != nil || again != bin || !strings.HasPrefix(bin, cache) {
		t.Errorf("the second time: %s, %v; want %s", again, err, bin)
	}
	p, err := local.StartPostgres(t.Context(), local.PostgresOptions{Dir: t.TempDir(), Bin: bin})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
}
