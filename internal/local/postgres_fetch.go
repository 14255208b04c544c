package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
)

// pgFetched are the versions that can be fetched, by major version.
var pgFetched = map[int]embeddedpostgres.PostgresVersion{
	12: embeddedpostgres.V12, 13: embeddedpostgres.V13, 14: embeddedpostgres.V14, 15: embeddedpostgres.V15,
	16: embeddedpostgres.V16, 17: embeddedpostgres.V17, 18: embeddedpostgres.V18,
}

// pgPreferred is the major version that is fetched for new data.
const pgPreferred = 15

// systemCache is where programs go that another account than root has to reach.
const systemCache = "/var/cache/darkroom"

// FetchPostgres fetches PostgreSQL's programs into a folder of cache, unless it did so before, and returns that folder
// for PostgresOptions.Bin. Empty means the same cache as there. It needs the network.
func FetchPostgres(ctx context.Context, cache string) (bin string, err error) {
	account, err := chooseAccount("")
	if err != nil {
		return "", err
	}
	return fetchPrograms(ctx, cache, 0, account, slog.Default())
}

// fetchPrograms fetches the programs of a major version, 0 being any, unless it did so before.
func fetchPrograms(
	ctx context.Context, cache string, major int, account *syscall.Credential, log *slog.Logger,
) (string, error) {
	if major == 0 {
		major = pgPreferred
	}
	version, ok := pgFetched[major]
	if !ok {
		return "", fmt.Errorf("the data is PostgreSQL %d's, which is not on this machine: install it", major)
	}
	cache, err := chooseCache(cache, account)
	if err != nil {
		return "", err
	}
	programs := filepath.Join(cache, "postgres-"+string(version))
	bin := filepath.Join(programs, "bin")
	if _, err := programsVersion(ctx, bin, account); err == nil {
		return bin, nil
	}
	log.Warn("no PostgreSQL on this machine: fetching it once, about 15 MB", "version", version, "to", programs)
	fetched := make(chan error, 1) // the library cannot be interrupted, so a caller that gives up leaves it behind
	go func() { fetched <- fetch(context.WithoutCancel(ctx), version, cache, programs) }()
	select {
	case err := <-fetched:
		if err != nil {
			return "", fmt.Errorf("fetch PostgreSQL (or install it, so that initdb is on the path): %w", err)
		}
	case <-ctx.Done():
		return "", fmt.Errorf("fetch PostgreSQL: %w", ctx.Err())
	}
	if _, err := programsVersion(ctx, bin, account); err != nil {
		return "", fmt.Errorf("run the fetched PostgreSQL: %w", err)
	}
	return bin, nil
}

// chooseCache returns a folder that the server's account can reach: root's own home it cannot.
func chooseCache(cache string, account *syscall.Credential) (string, error) {
	if account != nil && (cache == "" || !openToAll(cache)) {
		return systemCache, nil
	}
	if cache != "" {
		return cache, nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a folder for PostgreSQL: %w", err)
	}
	return filepath.Join(dir, "darkroom"), nil
}

// openToAll reports whether every account may pass through the folders of a path, as far as they exist.
func openToAll(path string) bool {
	for {
		info, err := os.Stat(path)
		if err == nil && info.Mode()&0o001 == 0 {
			return false
		}
		parent := filepath.Dir(path)
		if parent == path {
			return true
		}
		path = parent
	}
}

// fetch downloads the programs, which the library checks against their published SHA-256, and unpacks them. They get
// their name once they are complete.
func fetch(ctx context.Context, version embeddedpostgres.PostgresVersion, cache, programs string) error {
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	scratch, err := os.MkdirTemp(cache, "fetch")
	if err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	// The library only fetches in order to start a server. What looks to it like a database, and is none, keeps it from
	// making one; the start then fails, and what counts is that the programs are there.
	fetched, data := filepath.Join(scratch, "programs"), filepath.Join(scratch, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	if err := os.WriteFile(filepath.Join(data, "PG_VERSION"), []byte(version[:2]), 0o600); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	started := embeddedpostgres.NewDatabase(embeddedpostgres.DefaultConfig().Version(version).Logger(io.Discard).
		CachePath(filepath.Join(scratch, "archive")).RuntimePath(filepath.Join(scratch, "run")).
		BinariesPath(fetched).DataPath(data).Port(0)).Start()
	if _, err := programsVersion(ctx, filepath.Join(fetched, "bin"), nil); err != nil {
		return errors.Join(started, err)
	}
	if err := openUp(fetched); err != nil {
		return fmt.Errorf("make readable: %w", err)
	}
	if err := os.Rename(fetched, programs); err == nil {
		return nil
	}
	if _, err := programsVersion(ctx, filepath.Join(programs, "bin"), nil); err == nil {
		return nil // another process was faster
	}
	if err := os.RemoveAll(programs); err != nil {
		return fmt.Errorf("remove what cannot run: %w", err)
	}
	return os.Rename(fetched, programs)
}

// openUp lets every account read and run the programs, whatever this process's umask made of them.
func openUp(dir string) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Type()&fs.ModeSymlink != 0 {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		mode := info.Mode().Perm() | 0o444
		if mode&0o100 != 0 {
			mode |= 0o111
		}
		return os.Chmod(path, mode)
	})
}
