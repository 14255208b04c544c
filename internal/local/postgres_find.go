package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// pgOldest is the oldest major version that is used.
const pgOldest = 12

// dataVersion returns the major version that made the database cluster, or 0 when there is none yet.
func (p *Postgres) dataVersion() int {
	b, err := os.ReadFile(filepath.Join(p.dir, "data", "PG_VERSION"))
	if err != nil {
		return 0
	}
	major, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return major
}

// findPrograms returns the folder of PostgreSQL's programs: the one asked for, or else one that fits the data, on the
// path, where distributions put them, or fetched before or now.
func (p *Postgres) findPrograms(ctx context.Context, o PostgresOptions) (string, error) {
	want := p.dataVersion()
	if o.Bin != "" {
		major, err := programsVersion(ctx, o.Bin, p.account)
		if err == nil && want != 0 && major != want {
			err = fmt.Errorf("it is version %d, and version %d made the data", major, want)
		}
		if err != nil {
			return "", fmt.Errorf("use PostgreSQL of %s: %w", o.Bin, err)
		}
		return o.Bin, nil
	}
	for _, bin := range installed() {
		major, err := programsVersion(ctx, bin, p.account)
		if err == nil && (major == want || want == 0 && major >= pgOldest) {
			return bin, nil
		}
	}
	return fetchPrograms(ctx, o.Cache, want, p.account, p.log)
}

// installed lists where PostgreSQL's programs may be, the newest version of a distribution first.
func installed() []string {
	var bins []string
	if path, err := exec.LookPath("initdb"); err == nil {
		// Its other files are found from where it really is.
		if path, err = filepath.EvalSymlinks(path); err == nil && filepath.IsAbs(path) {
			bins = append(bins, filepath.Dir(path))
		}
	}
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/local/pgsql/bin"} {
		found, _ := filepath.Glob(pattern) // the patterns are well-formed
		slices.Reverse(found)
		bins = append(bins, found...)
	}
	return bins
}

// programsVersion returns the major version of the programs in bin, as an account that can run them sees it.
func programsVersion(ctx context.Context, bin string, account *syscall.Credential) (int, error) {
	if _, err := os.Stat(filepath.Join(bin, "initdb")); err != nil {
		return 0, err
	}
	out, err := program(ctx, bin, "postgres", account, "--version").Output() // postgres (PostgreSQL) 15.13
	if err != nil {
		return 0, err
	}
	_, version, _ := strings.Cut(string(out), ") ")
	major, err := strconv.Atoi(version[:max(0, strings.IndexAny(version, ". \n"))])
	if err != nil {
		return 0, fmt.Errorf("read version %q: %w", strings.TrimSpace(string(out)), err)
	}
	return major, nil
}

// chooseAccount returns the account that runs the server when this process is root's, since PostgreSQL refuses root:
// the one that owns the data already, else a usual one. It has to be in the system's list, where initdb looks it up.
func chooseAccount(dir string) (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	if info, err := os.Stat(filepath.Join(dir, "data")); err == nil {
		owner := strconv.FormatUint(uint64(info.Sys().(*syscall.Stat_t).Uid), 10)
		if u, err := user.LookupId(owner); err == nil && owner != "0" {
			return credential(u)
		}
	}
	for _, name := range []string{"postgres", "nobody"} {
		if u, err := user.Lookup(name); err == nil {
			return credential(u)
		}
	}
	return nil, errors.New("it does not run as root, and there is no account postgres or nobody")
}

func credential(u *user.User) (*syscall.Credential, error) {
	uid, errUser := strconv.ParseUint(u.Uid, 10, 32)
	gid, errGroup := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(errUser, errGroup); err != nil {
		return nil, fmt.Errorf("read account %s: %w", u.Username, err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}
