package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
)

// pgVersion is the PostgreSQL that is fetched where none is found.
const pgVersion = embeddedpostgres.V15

// findPostgres returns the folder of PostgreSQL's programs: those on the path, those where distributions put them, or
// those fetched before or now.
func findPostgres(ctx context.Context, cache string, log *slog.Logger) (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil && hasPostgres(filepath.Dir(path)) {
			return filepath.Dir(path), nil
		}
	}
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql*/bin"} {
		found, _ := filepath.Glob(pattern) // the patterns are well-formed
		for i := len(found) - 1; i >= 0; i-- {
			if hasPostgres(found[i]) {
				return found[i], nil
			}
		}
	}
	return fetchPostgres(ctx, cache, log)
}

func hasPostgres(dir string) bool {
	for _, name := range []string{"initdb", "postgres"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return false
		}
	}
	return true
}

// fetchPostgres fetches the programs once. The library that does it also starts a server, which it refuses as root, so
// what counts is whether the programs are there afterwards.
func fetchPostgres(_ context.Context, cache string, log *slog.Logger) (string, error) {
	if cache == "" {
		var err error
		if cache, err = defaultCache(); err != nil {
			return "", err
		}
	}
	programs := filepath.Join(cache, "postgres-"+string(pgVersion))
	bin := filepath.Join(programs, "bin")
	if hasPostgres(bin) {
		return bin, nil
	}
	log.Warn("no PostgreSQL on this machine: fetching it once, about 15 MB", "version", pgVersion, "to", programs)
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", fmt.Errorf("make folder for postgres: %w", err)
	}
	scratch, err := os.MkdirTemp(cache, "fetch")
	if err != nil {
		return "", fmt.Errorf("make folder for postgres: %w", err)
	}
	defer os.RemoveAll(scratch)
	fetched := filepath.Join(scratch, "programs")
	db := embeddedpostgres.NewDatabase(embeddedpostgres.DefaultConfig().Version(pgVersion).Logger(io.Discard).
		CachePath(filepath.Join(scratch, "archive")).RuntimePath(filepath.Join(scratch, "run")).BinariesPath(fetched).Port(0))
	started := db.Start()
	if started == nil {
		if err := db.Stop(); err != nil {
			return "", fmt.Errorf("stop fetched postgres: %w", err)
		}
	}
	if !hasPostgres(filepath.Join(fetched, "bin")) {
		return "", fmt.Errorf("fetch postgres (or install PostgreSQL, so that initdb is on the path): %w", started)
	}
	if err := os.Rename(fetched, programs); err != nil && !hasPostgres(bin) { // another process may have been faster
		return "", fmt.Errorf("keep fetched postgres: %w", err)
	}
	return bin, nil
}

// defaultCache is a folder that the account which runs the server can read: root's own home it cannot.
func defaultCache() (string, error) {
	if os.Geteuid() == 0 {
		return "/var/cache/darkroom", nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find folder for postgres: %w", err)
	}
	return filepath.Join(dir, "darkroom"), nil
}

// unprivileged returns the account that runs the server when this process is root's, since PostgreSQL refuses root. It
// has to be in the system's list of accounts, where initdb looks up its name.
func unprivileged() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	names := []string{"postgres", "nobody"}
	for _, name := range names {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, errU := strconv.ParseUint(u.Uid, 10, 32)
		gid, errG := strconv.ParseUint(u.Gid, 10, 32)
		if errors.Join(errU, errG) == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
		}
	}
	return nil, fmt.Errorf("start postgres: it does not run as root, and there is no account %s", strings.Join(names, " or "))
}
