package cassandra_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"darkroom/internal/table"
	"darkroom/internal/table/cassandra"
)

// What the cluster then says of its tables is what Go says.
func TestTheClusterHasTheTables(t *testing.T) {
	keyspace := newKeyspace(t)
	openStore(t, config(t, keyspace))
	got := map[string]string{}
	rows := session(t).Query("SELECT table_name, column_name, type, kind, position FROM system_schema.columns "+
		"WHERE keyspace_name = ?", keyspace).Iter()
	var tab, column, typ, kind string
	var position int
	for rows.Scan(&tab, &column, &typ, &kind, &position) {
		got[tab+"."+column] = fmt.Sprintf("%s %s %d", typ, kind, position)
	}
	if err := rows.Close(); err != nil {
		t.Fatal(err)
	}
	for _, tab := range table.Tables() {
		if isTestTable(tab.Name) {
			continue
		}
		for kind, columns := range map[string][]table.Column{
			"partition_key": tab.Partition, "clustering": tab.Clustering, "regular": tab.Regular} {
			for i, c := range columns {
				if kind == "regular" {
					i = -1
				}
				name, want := tab.Name+"."+c.Name, fmt.Sprintf("%s %s %d", c.Type, kind, i)
				if got[name] != want {
					t.Errorf("column %s is %q, want %q", name, got[name], want)
				}
				delete(got, name)
			}
		}
	}
	for name := range got {
		if !strings.HasPrefix(name, "schema_") {
			t.Errorf("column %s is not known to Go", name)
		}
	}
}

// Instances that start together make one schema, once.
func TestInstancesStartTogether(t *testing.T) {
	keyspace := newKeyspace(t)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			s, err := cassandra.Open(t.Context(), config(t, keyspace))
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			m := table.Progresses.Mutation(table.Progress{Pipeline: "live", CompleteTo: 1, Version: 1})
			if err := s.Apply(t.Context(), []table.Mutation{m}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	var locks int
	if err := session(t).Query("SELECT count(*) FROM " + keyspace + "." + cassandra.LockTable).Scan(&locks); err != nil || locks != 0 {
		t.Errorf("%d locks are left, %v", locks, err)
	}
}

func TestANewerSchemaIsRefused(t *testing.T) {
	keyspace := newKeyspace(t)
	openStore(t, config(t, keyspace))
	exec(t, session(t), "INSERT INTO %s.%s (version, name) VALUES (7, '0007_tomorrow')", keyspace, cassandra.VersionTable)
	_, err := cassandra.Open(t.Context(), config(t, keyspace))
	if !errors.Is(err, cassandra.ErrNewerSchema) || !strings.Contains(err.Error(), "version 7") ||
		strings.Contains(err.Error(), "\n") {
		t.Errorf("a newer schema gives %v", err)
	}
}

// A migration that breaks off is finished by the next instance.
func TestABrokenMigrationIsFinishedLater(t *testing.T) {
	keyspace := newKeyspace(t)
	s := openStore(t, config(t, keyspace))
	bad := cassandra.MigrationsAnd(t, "CREATE TABLE IF NOT EXISTS one (a text PRIMARY KEY); CREATE TABLE two (a nonsense PRIMARY KEY);")
	if err := cassandra.MigrateTo(t.Context(), s, bad); err == nil || !strings.Contains(err.Error(), "_next") {
		t.Fatalf("a bad migration gives %v", err)
	}
	good := cassandra.MigrationsAnd(t, "CREATE TABLE IF NOT EXISTS one (a text PRIMARY KEY); CREATE TABLE IF NOT EXISTS two (a text PRIMARY KEY);")
	for range 2 {
		if err := cassandra.MigrateTo(t.Context(), s, good); err != nil {
			t.Fatal(err)
		}
	}
	exec(t, session(t), "INSERT INTO %s.two (a) VALUES ('x')", keyspace)
}

// An instance that died with the lock does not keep others out for longer than the lock lasts.
func TestALockExpires(t *testing.T) {
	keyspace := newKeyspace(t)
	s := openStore(t, config(t, keyspace))
	exec(t, session(t), "INSERT INTO %s.%s (name, owner) VALUES ('schema', 'dead') USING TTL 2", keyspace, cassandra.LockTable)
	began := time.Now()
	next := cassandra.MigrationsAnd(t, "CREATE TABLE IF NOT EXISTS one (a text PRIMARY KEY)")
	if err := cassandra.MigrateTo(t.Context(), s, next); err != nil {
		t.Fatal(err)
	}
	if waited := time.Since(began); waited < time.Second {
		t.Errorf("another instance's lock held for %s only", waited)
	}
}

// An instance that was away for so long that another took its lock changes nothing more.
func TestALostLockStopsTheMigration(t *testing.T) {
	keyspace := newKeyspace(t)
	s := openStore(t, config(t, keyspace))
	steal := fmt.Sprintf("INSERT INTO %s.%s (name, owner) VALUES ('schema', 'other') USING TTL 60", keyspace, cassandra.LockTable)
	next := cassandra.MigrationsAnd(t, steal+"; CREATE TABLE IF NOT EXISTS one (a text PRIMARY KEY)")
	if err := cassandra.MigrateTo(t.Context(), s, next); err == nil || !strings.Contains(err.Error(), "lock was lost") {
		t.Errorf("a migration without its lock gives %v", err)
	}
	err := session(t).Query("SELECT a FROM " + keyspace + ".one").Exec()
	if err == nil {
		t.Error("it went on")
	}
}
