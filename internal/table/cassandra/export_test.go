package cassandra

import (
	"context"
	"fmt"
	"io/fs"
	"testing"
	"testing/fstest"
	"time"

	"darkroom/internal/table"
)

// What tests outside of the package reach into it for.
var (
	SplitCQL       = splitCQL
	ReadMigrations = readMigrations
	MigrationFiles = migrationFiles
	Transient      = transient
	Retry          = retry
)

const (
	MaxStatements = maxStatements
	MaxBytes      = maxBytes
	LockTable     = lockTable
	VersionTable  = versionTable
)

// SetSchemaPause makes a new schema settle for this long.
func SetSchemaPause(d time.Duration) { schemaPause = d }

// Statements of a migration.
func (m migration) Statements() []string { return m.statements }

// Groups are the requests that Apply makes of the mutations.
func Groups(muts []table.Mutation) (out [][]table.Mutation) {
	for _, g := range groups(muts) {
		out = append(out, g.muts)
	}
	return out
}

// CQL are the statements of a table, and those of a query with what it binds.
func CQL(t table.Table, q table.Query) (upsert, remove, get, scan string, args []any) {
	s := statementsOf(t)
	scan, args = s.query(q)
	return s.upsert, s.remove, s.get, scan, args
}

// UpsertArgs are what the upsert of a mutation binds.
func UpsertArgs(m table.Mutation) []any {
	t, _ := table.Lookup(m.Table)
	return statementsOf(t).upsertArgs(m)
}

// Unset binds a column that stays as it is.
var Unset = unset

// Replication is the keyspace's in a cluster of so many nodes.
func (c Config) TestReplication(nodes int) (string, error) { return c.replication(nodes) }

// TestConsistency is that of reads and writes in a cluster of so many nodes.
func (c Config) TestConsistency(nodes int) (string, error) {
	level, err := c.consistency(nodes)
	return level.String(), err
}

// MigrateTo brings the store's keyspace to the schema of other files.
func MigrateTo(ctx context.Context, s table.Store, files fs.FS) error {
	all, err := readMigrations(files)
	if err != nil {
		return err
	}
	return s.(*Store).migrateTo(ctx, 1, all)
}

// MigrationsAnd are the program's own migrations, and a next one.
func MigrationsAnd(t testing.TB, next string) fs.FS {
	all := fstest.MapFS{}
	own, err := fs.Glob(migrationFiles, "migrations/*.cql")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range own {
		data, err := migrationFiles.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all[path] = &fstest.MapFile{Data: data}
	}
	all[fmt.Sprintf("migrations/%04d_next.cql", len(own)+1)] = &fstest.MapFile{Data: []byte(next)}
	return all
}
