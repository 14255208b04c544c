package statsapi

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// The schemas: of the copy, of one that a rebuild fills, and of the one that it has replaced.
const (
	schemaLive = "darkroom"
	schemaNext = "darkroom_next"
	schemaPast = "darkroom_past"
)

// Keys of advisory locks, which are the database's: that of consuming is held by the one instance that writes, that of
// setting up while a schema is created, since CREATE SCHEMA IF NOT EXISTS fails when two do it at once, and that of
// rebuilding by the one rebuild that runs.
const (
	lockConsume = 7_310_201_001
	lockSetUp   = 7_310_201_002
	lockRebuild = 7_310_201_003
)

const (
	connectTimeout = 3 * time.Second
	migrateTries   = 300 // a second apart
)

//go:embed migrations/*.sql
var migrations embed.FS

// openPool returns the pool that queries use. It does not connect.
func openPool(ctx context.Context, cfg Config) (*pgxpool.Pool, error) {
	pc, err := pgxpool.ParseConfig(cfg.PostgresDSN)
	if err != nil {
		return nil, fmt.Errorf("parse PostgresDSN: %w", err)
	}
	setUp(pc.ConnConfig, schemaLive)
	pc.ConnConfig.RuntimeParams["statement_timeout"] = strconv.FormatInt(cfg.QueryTimeout.Milliseconds(), 10)
	pc.ConnConfig.RuntimeParams["default_transaction_read_only"] = "on"
	// Filters differ in how much they leave, so each query is planned for the values that it has.
	pc.ConnConfig.RuntimeParams["plan_cache_mode"] = "force_custom_plan"
	pool, err := pgxpool.NewWithConfig(ctx, pc)
	if err != nil {
		return nil, fmt.Errorf("open pool: %w", err)
	}
	return pool, nil
}

// connect returns a connection for writing to the copy in a schema. One that is cut off is noticed by the server within
// half a minute, so that its lock does not outlive it for long.
func connect(ctx context.Context, cfg Config, schema string) (*pgx.Conn, error) {
	cc, err := pgx.ParseConfig(cfg.PostgresDSN)
	if err != nil {
		return nil, fmt.Errorf("parse PostgresDSN: %w", err)
	}
	setUp(cc, schema)
	cc.RuntimeParams["tcp_keepalives_idle"] = "10"
	cc.RuntimeParams["tcp_keepalives_interval"] = "5"
	cc.RuntimeParams["tcp_keepalives_count"] = "3"
	conn, err := pgx.ConnectConfig(ctx, cc)
	if err != nil {
		return nil, fmt.Errorf("connect to PostgreSQL: %w", oneLine{err})
	}
	return conn, nil
}

// oneLine is an error of a connection, which has a line for each attempt: here the same ones once, in one line.
type oneLine struct{ error }

func (e oneLine) Unwrap() error { return e.error }

func (e oneLine) Error() string {
	lines := strings.Split(e.error.Error(), "\n\t")
	return strings.Join(slices.Compact(lines), " ")
}

func setUp(cc *pgx.ConnConfig, schema string) {
	cc.RuntimeParams["search_path"] = schema
	cc.RuntimeParams["application_name"] = "darkroom-statsapi"
	if cc.ConnectTimeout == 0 {
		cc.ConnectTimeout = connectTimeout
	}
}

// disconnect ends a connection, whatever the state of the context in which it was used. Its locks are given back first: the
// server does so only some time after the connection is closed, and another rebuild would be told that this one runs.
func disconnect(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
	defer cancel()
	// Of a connection that is broken the server lets go by itself.
	_, _ = conn.Exec(ctx, "SELECT pg_advisory_unlock_all()")
	_ = conn.Close(ctx) // nothing can be done about one that does not close; the server ends it
}

// createSchema creates the schema if it is not there.
func createSchema(ctx context.Context, conn *pgx.Conn, schema string) error {
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", int64(lockSetUp)); err != nil {
			return fmt.Errorf("lock the creation of schema %s: %w", schema, err)
		}
		if _, err := tx.Exec(ctx, "CREATE SCHEMA IF NOT EXISTS "+schema); err != nil {
			return fmt.Errorf("create schema %s: %w", schema, err)
		}
		return nil
	})
}

// migrate brings the schema to the newest version. Several instances may do so at once: goose's lock makes them wait
// for one another.
func migrate(ctx context.Context, cfg Config, schema string) error {
	conn, err := connect(ctx, cfg, schema)
	if err != nil {
		return err
	}
	defer disconnect(conn)
	if err := createSchema(ctx, conn, schema); err != nil {
		return err
	}
	db := stdlib.OpenDB(*conn.Config())
	defer func() { _ = db.Close() }() // its connections end either way
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, migrateTries))
	if err != nil {
		return fmt.Errorf("make migration lock: %w", err)
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return fmt.Errorf("open migrations: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, files, goose.WithSessionLocker(locker))
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate schema %s: %w", schema, err)
	}
	return nil
}

// isAway reports whether the error is that of a database that is not there, shuts down, or takes no more connections:
// the same call may succeed later.
func isAway(err error) bool {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		var scan pgx.ScanArgError
		return !errors.As(err, &scan) // what is left are errors of the connection
	}
	switch pg.Code[:2] {
	case "08", "53", "57", "58": // connection, resources, operator intervention, system
		return true
	}
	return pg.Code == "40P01" || pg.Code == "25006" // deadlock; read only, as a server that recovers
}

// isSlow reports whether the statement timeout ended the query.
func isSlow(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "57014"
}

// isData reports whether the database refused the data themselves: trying again cannot help.
func isData(err error) bool {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return false
	}
	switch pg.Code[:2] {
	case "22", "23", "54": // data exception, integrity constraint, program limit
		return true
	}
	return false
}
