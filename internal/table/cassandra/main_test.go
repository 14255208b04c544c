package cassandra_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"

	"darkroom/internal/table"
	"darkroom/internal/table/cassandra"
)

func TestMain(m *testing.M) {
	cassandra.SetSchemaPause(0) // but for one test there is no Debezium
	os.Exit(m.Run())
}

// address is the Cassandra that tests may write to, host:port.
func address(t testing.TB) string {
	t.Helper()
	addr := os.Getenv("DARKROOM_CASSANDRA")
	if addr == "" {
		t.Skip("DARKROOM_CASSANDRA=host:port names no Cassandra to test against")
	}
	return addr
}

// session talks to the cluster beside the store under test.
func session(t testing.TB) *gocql.Session {
	t.Helper()
	cluster := gocql.NewCluster(address(t))
	cluster.Timeout = time.Minute
	s, err := cluster.CreateSession()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func exec(t testing.TB, s *gocql.Session, format string, args ...any) {
	t.Helper()
	if err := s.Query(fmt.Sprintf(format, args...)).Exec(); err != nil {
		t.Fatalf("%s: %v", fmt.Sprintf(format, args...), err)
	}
}

var keyspaces atomic.Int64

// newKeyspace names a keyspace that the test's end drops.
func newKeyspace(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("test_%x_%d", time.Now().UnixNano(), keyspaces.Add(1))
	s := session(t)
	t.Cleanup(func() { exec(t, s, "DROP KEYSPACE IF EXISTS %s", name) })
	return name
}

func config(t testing.TB, keyspace string) cassandra.Config {
	return cassandra.Config{Hosts: []string{address(t)}, Keyspace: keyspace}
}

func openStore(t testing.TB, c cassandra.Config) table.Store {
	t.Helper()
	s, err := cassandra.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// createTestTables creates the tables that only tests have.
func createTestTables(t testing.TB, keyspace string) {
	t.Helper()
	s := session(t)
	for _, tab := range table.Tables() {
		if isTestTable(tab.Name) {
			exec(t, s, "%s", createTable(keyspace, tab))
		}
	}
	if err := s.AwaitSchemaAgreement(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func isTestTable(name string) bool { return strings.HasPrefix(name, "tabletest_") }

func createTable(keyspace string, t table.Table) string {
	var columns []string
	for _, c := range append(t.Key(), t.Regular...) {
		columns = append(columns, c.Name+" "+c.Type.String())
	}
	key := []string{"(" + strings.Join(columnNames(t.Partition), ", ") + ")"}
	key = append(key, columnNames(t.Clustering)...)
	return fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s.%s (%s, PRIMARY KEY (%s)) WITH cdc = true",
		keyspace, t.Name, strings.Join(columns, ", "), strings.Join(key, ", "))
}

func columnNames(columns []table.Column) []string {
	var out []string
	for _, c := range columns {
		out = append(out, c.Name)
	}
	return out
}
