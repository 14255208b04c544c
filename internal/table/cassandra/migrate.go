package cassandra

import (
	"context"
	"crypto/rand"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
	"github.com/google/uuid"
)

//go:embed migrations/*.cql
var migrationFiles embed.FS

// ErrNewerSchema is returned by Open for a keyspace that a newer Darkroom has migrated. The operator updates this one.
var ErrNewerSchema = errors.New("the schema is newer than this program")

// migration is one file. Its statements may be run again, after a run that broke off.
type migration struct {
	version    int
	name       string
	statements []string
}

// readMigrations reads the files NNNN_name.cql, which count up from 1.
func readMigrations(files fs.FS) ([]migration, error) {
	paths, err := fs.Glob(files, "migrations/*.cql")
	if err != nil {
		return nil, err
	}
	slices.Sort(paths)
	var all []migration
	for i, path := range paths {
		name := strings.TrimSuffix(strings.TrimPrefix(path, "migrations/"), ".cql")
		number, _, _ := strings.Cut(name, "_")
		if version, err := strconv.Atoi(number); err != nil || version != i+1 || len(number) != 4 {
			return nil, fmt.Errorf("migration %s is not number %d", path, i+1)
		}
		text, err := fs.ReadFile(files, path)
		if err != nil {
			return nil, err
		}
		all = append(all, migration{i + 1, name, splitCQL(string(text))})
	}
	return all, nil
}

// splitCQL returns the statements of a file: without comments, which start with -- and end with their line, and split at
// semicolons. It does not know strings that hold either.
func splitCQL(text string) []string {
	var plain strings.Builder
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "--")
		plain.WriteString(strings.TrimRight(line, " \t\r\n") + "\n")
	}
	var out []string
	for statement := range strings.SplitSeq(plain.String(), ";") {
		if statement = strings.TrimSpace(statement); statement != "" {
			out = append(out, statement)
		}
	}
	return out
}

// A migrating instance holds the lock, a row that expires lockTTL after it was last renewed: before each statement.
const (
	lockTTL   = time.Minute
	lockPause = 200 * time.Millisecond
)

// migrate brings the keyspace to the newest schema. Instances that start together take turns.
func (s *Store) migrate(ctx context.Context, nodes int) error {
	all, err := readMigrations(migrationFiles)
	if err != nil {
		return err
	}
	return s.migrateTo(ctx, nodes, all)
}

func (s *Store) migrateTo(ctx context.Context, nodes int, all []migration) error {
	m := migrator{store: s, owner: rand.Text()}
	if at, err := m.version(ctx); err != nil || at == len(all) {
		return err
	} else if at > len(all) {
		return s.newer(at, len(all))
	}
	if err := m.bootstrap(ctx, nodes); err != nil {
		return fmt.Errorf("create keyspace %s: %w", s.config.Keyspace, err)
	}
	if err := m.lock(ctx); err != nil {
		return fmt.Errorf("lock schema of %s: %w", s.config.Keyspace, err)
	}
	defer m.unlock(context.WithoutCancel(ctx))
	at, err := m.version(ctx) // again, since another instance may have held the lock
	if err != nil {
		return err
	}
	if at > len(all) {
		return s.newer(at, len(all))
	}
	for _, step := range all[at:] {
		if err := m.run(ctx, step); err != nil {
			return fmt.Errorf("migrate %s to %s: %w", s.config.Keyspace, step.name, err)
		}
		s.config.Logger.Info("migrated Cassandra", "keyspace", s.config.Keyspace, "to", step.name)
	}
	return nil
}

func (s *Store) newer(at, known int) error {
	return fmt.Errorf("%w: keyspace %s is at version %d and this program knows version %d: update it",
		ErrNewerSchema, s.config.Keyspace, at, known)
}

// migrator is one instance's attempt.
type migrator struct {
	store *Store
	owner string
}

const (
	versionTable = "schema_migration"
	lockTable    = "schema_lock"
)

// version is that of the schema; 0 when there is no keyspace or none of its tables.
func (m migrator) version(ctx context.Context) (int, error) {
	s := m.store
	var found string
	err := s.retry(ctx, func() error {
		return s.session.Query("SELECT table_name FROM system_schema.tables WHERE keyspace_name = ? AND table_name = ?",
			s.config.Keyspace, versionTable).Consistency(gocql.One).ScanContext(ctx, &found)
	})
	if errors.Is(err, gocql.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read schema of %s: %w", s.config.Keyspace, err)
	}
	var newest *int
	err = s.retry(ctx, func() error {
		return soon(s.query("SELECT max(version) FROM "+versionTable, nil).ScanContext(ctx, &newest))
	})
	if err != nil {
		return 0, fmt.Errorf("read schema version of %s: %w", s.config.Keyspace, err)
	}
	if newest == nil {
		return 0, nil
	}
	return *newest, nil
}

// bootstrap creates the keyspace and the migrations' own tables. Instances that do so at the same time, through different
// nodes, create the same: the tables' ids are fixed by their names, where Cassandra would draw one for each instance.
func (m migrator) bootstrap(ctx context.Context, nodes int) error {
	s := m.store
	var found string
	err := s.retry(ctx, func() error {
		return s.session.Query("SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = ?",
			s.config.Keyspace).Consistency(gocql.One).ScanContext(ctx, &found)
	})
	if err != nil && !errors.Is(err, gocql.ErrNotFound) {
		return err
	}
	if err != nil {
		replication, err := s.config.replication(nodes)
		if err != nil {
			return err
		}
		create := fmt.Sprintf("CREATE KEYSPACE IF NOT EXISTS %s WITH replication = %s", s.config.Keyspace, replication)
		if err := s.retry(ctx, func() error { return s.session.Query(create).ExecContext(ctx) }); err != nil {
			return err
		}
	}
	for _, definition := range []string{
		versionTable + " (version int PRIMARY KEY, name text, applied_at timestamp)",
		lockTable + " (name text PRIMARY KEY, owner text)",
	} {
		name, _, _ := strings.Cut(definition, " ")
		id := uuid.NewSHA1(uuid.NameSpaceOID, []byte(s.config.Keyspace+"."+name))
		create := fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s WITH id = %s", definition, id)
		if err := m.define(ctx, create); err != nil {
			return err
		}
	}
	return nil
}

// define runs a statement that changes the schema. It returns when the nodes agree on it.
func (m migrator) define(ctx context.Context, cql string) error {
	return m.store.retry(ctx, func() error { return soon(m.store.query(cql, nil).ExecContext(ctx)) })
}

// soon makes an error that retry repeats of what a node answers while another instance changes the schema: its system
// tables show a keyspace or table a moment before it can be used.
func soon(err error) error {
	var answer gocql.RequestError
	if errors.As(err, &answer) && answer.Code() == gocql.ErrCodeInvalid && strings.HasSuffix(answer.Message(), " does not exist") {
		return errors.New(answer.Message())
	}
	return err
}

func (m migrator) run(ctx context.Context, step migration) error {
	for _, statement := range step.statements {
		if err := m.renew(ctx); err != nil {
			return err
		}
		if err := m.define(ctx, statement); err != nil {
			return err
		}
	}
	if err := settle(ctx); err != nil {
		return err
	}
	return m.store.retry(ctx, func() error {
		return m.store.query("INSERT INTO "+versionTable+" (version, name, applied_at) VALUES (?, ?, ?)",
			[]any{step.version, step.name, time.Now()}).ExecContext(ctx)
	})
}

// schemaPause is how long a new schema is left alone. Debezium hears of a table about a second after the nodes do, and of
// what is written to it before that it tells nothing, ever.
var schemaPause = 5 * time.Second

func settle(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(schemaPause):
		return nil
	}
}

// lock waits until no other instance migrates.
func (m migrator) lock(ctx context.Context) error {
	for {
		mine, err := m.transact(ctx, "INSERT INTO "+lockTable+" (name, owner) VALUES ('schema', ?) IF NOT EXISTS USING TTL ?",
			m.owner, int(lockTTL.Seconds()))
		if err != nil || mine {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lockPause):
		}
	}
}

// renew fails when the lock was lost, since this instance was away for longer than it lasts.
func (m migrator) renew(ctx context.Context) error {
	mine, err := m.transact(ctx, "UPDATE "+lockTable+" USING TTL ? SET owner = ? WHERE name = 'schema' IF owner = ?",
		int(lockTTL.Seconds()), m.owner, m.owner)
	if err == nil && !mine {
		err = errors.New("the lock was lost to another instance")
	}
	return err
}

func (m migrator) unlock(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	_, err := m.transact(ctx, "DELETE FROM "+lockTable+" WHERE name = 'schema' IF owner = ?", m.owner)
	if err != nil {
		m.store.config.Logger.Warn("unlock schema: it unlocks itself", "after", lockTTL, "error", err)
	}
}

// transact runs a lightweight transaction and reports whether it took place. One whose answer was lost may have: then it
// finds its own name when it is asked again.
func (m migrator) transact(ctx context.Context, cql string, args ...any) (applied bool, err error) {
	err = m.store.retry(ctx, func() error {
		before := map[string]any{}
		applied, err = m.store.query(cql, args).Idempotent(false).SerialConsistency(gocql.Serial).
			MapScanCASContext(ctx, before)
		applied = applied || before["owner"] == m.owner
		return err
	})
	return applied, err
}
