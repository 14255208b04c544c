package cassandra_test

import (
	"reflect"
	"testing"

	"darkroom/internal/table"
	"darkroom/internal/table/cassandra"
)

func TestStatements(t *testing.T) {
	upsert, remove, get, _, _ := cassandra.CQL(table.HashBands.Table(), table.Query{})
	for got, want := range map[string]string{
		upsert: "INSERT INTO hash_band (tenant, band, value, image_id, deleted, version) VALUES (?, ?, ?, ?, ?, ?) " +
			"USING TIMESTAMP ?",
		remove: "DELETE FROM hash_band USING TIMESTAMP ? WHERE tenant = ? AND band = ? AND value = ? AND image_id = ?",
		get: "SELECT tenant, band, value, image_id, deleted, version FROM hash_band " +
			"WHERE tenant = ? AND band = ? AND value = ? AND image_id = ?",
	} {
		if got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestScanStatements(t *testing.T) {
	partition := table.Row{"tenant": "a", "dimension": "all", "day": "2026-01-01"}
	_, _, _, all, _ := cassandra.CQL(table.AllImageStats.Table(), table.Query{})
	one := all + " WHERE tenant = ? AND dimension = ? AND day = ?"
	values := []any{"a", "all", "2026-01-01"}
	tests := map[string]struct {
		q    table.Query
		cql  string
		args []any
	}{
		"all":       {table.Query{Limit: 3}, all + " LIMIT ?", []any{3}},
		"partition": {table.Query{Partition: partition}, one, values},
		"from": {table.Query{Partition: partition, From: []any{int64(1)}}, one + " AND (window_start) >= (?)",
			append(values[:3:3], int64(1))},
		"from and to": {table.Query{Partition: partition, From: []any{int64(1), "x"}, To: []any{int64(2)}, Limit: 9},
			one + " AND (window_start, value) >= (?, ?) AND (window_start) < (?) LIMIT ?",
			append(values[:3:3], int64(1), "x", int64(2), 9)},
	}
	for name, tt := range tests {
		if _, _, _, cql, args := cassandra.CQL(table.AllImageStats.Table(), tt.q); cql != tt.cql || !reflect.DeepEqual(args, tt.args) {
			t.Errorf("%s is %s %v, want %s %v", name, cql, args, tt.cql, tt.args)
		}
	}
}

// A cell that a mutation does not name stays, one that it sets to nil goes, and an empty blob is one.
func TestUpsertsBindWhatTheySet(t *testing.T) {
	row := table.Row{"run": "r", "part": int64(1), "num": int64(2), "name": "", "data": []byte(nil), "flag": nil}
	got := cassandra.UpsertArgs(table.Mutation{Table: "tabletest_item", Row: row, Version: -7})
	want := []any{"r", int64(1), int64(2), "", cassandra.Unset, []byte{}, nil, cassandra.Unset, cassandra.Unset, int64(-7)}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %#v, want %#v", got, want)
	}
}
