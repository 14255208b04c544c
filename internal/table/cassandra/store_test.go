package cassandra_test

import (
	"testing"

	"darkroom/internal/table"
	"darkroom/internal/table/tabletest"
)

func TestConformance(t *testing.T) {
	keyspace := newKeyspace(t)
	s := openStore(t, config(t, keyspace))
	createTestTables(t, keyspace)
	tabletest.Run(t, func(*testing.T) table.Store { return s })
}
