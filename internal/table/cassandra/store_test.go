package cassandra_test

import (
	"errors"
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

// Cassandra alone has no row whose partition is one empty value.
func TestAnEmptyPartitionKey(t *testing.T) {
	s := openStore(t, config(t, newKeyspace(t)))
	key := table.Row{"image_id": ""}
	good := table.Images.Mutation(table.Image{ImageID: "a", Version: 1})
	err := s.Apply(t.Context(), []table.Mutation{good, {Table: "image", Row: key, Version: 1}})
	if !errors.Is(err, table.ErrInvalid) {
		t.Errorf("Apply gives %v", err)
	}
	for _, key := range []table.Row{key, {"image_id": "a"}} { // nothing of the batch was applied
		if row, err := s.Get(t.Context(), "image", key); !errors.Is(err, table.ErrNotFound) {
			t.Errorf("Get gives %v, %v", row, err)
		}
	}
	for row, err := range s.Scan(t.Context(), table.Query{Table: "image", Partition: key}) {
		t.Errorf("Scan gives %v, %v", row, err)
	}
}
