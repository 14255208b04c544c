package table_test

import (
	"errors"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"darkroom/internal/table"
)

func TestDefineReadsTheTags(t *testing.T) {
	want := table.Table{
		Name:       "table_test_mixed",
		Partition:  []table.Column{{Name: "p_text", Type: table.Text}, {Name: "p_int", Type: table.BigInt}},
		Clustering: []table.Column{{Name: "c_blob", Type: table.Blob}, {Name: "c_bool", Type: table.Boolean}},
		Regular: []table.Column{{Name: "text", Type: table.Text}, {Name: "blob", Type: table.Blob},
			{Name: "flag", Type: table.Boolean}, {Name: "version", Type: table.BigInt}},
	}
	if got := mixed.Table(); !reflect.DeepEqual(got, want) {
		t.Errorf("the table is %+v, want %+v", got, want)
	}
	if got, ok := table.Lookup("table_test_mixed"); !ok || !reflect.DeepEqual(got, want) {
		t.Errorf("Lookup returns %+v, %v", got, ok)
	}
	if _, ok := table.Lookup("absent"); ok {
		t.Error("Lookup knows a table that was never defined")
	}
}

func TestTablesHoldsTheKeyspace(t *testing.T) {
	got := names(table.Tables())
	for _, want := range []string{"hash_band", "image", "image_stats", "progress"} {
		if !slices.Contains(got, want) {
			t.Errorf("%s is missing in %v", want, got)
		}
	}
	if !slices.Contains(table.ChangeTopics(), "cdc.darkroom.image") || len(table.ChangeTopics()) != len(got) {
		t.Errorf("topics are %v", table.ChangeTopics())
	}
}

func TestDefinePanicsOnABadStruct(t *testing.T) {
	type noVersion struct {
		P string `cql:"p,partition"`
	}
	type noPartition struct {
		V int64 `cql:"v,version"`
	}
	type noTag struct {
		P string `cql:"p,partition"`
		X string
		V int64 `cql:"v,version"`
	}
	type badType struct {
		P string `cql:"p,partition"`
		X int32  `cql:"x"`
		V int64  `cql:"v,version"`
	}
	type badRole struct {
		P string `cql:"p,partition,static"`
		V int64  `cql:"v,version"`
	}
	type badName struct {
		P string `cql:"P,partition"`
		V int64  `cql:"v,version"`
	}
	type twice struct {
		P string `cql:"p,partition"`
		Q string `cql:"p"`
		V int64  `cql:"v,version"`
	}
	type textVersion struct {
		P string `cql:"p,partition"`
		V string `cql:"v,version"`
	}
	tests := map[string]struct {
		define func()
		says   string
	}{
		"no version":     {func() { table.Define[noVersion]("table_test_bad") }, "no version column"},
		"no partition":   {func() { table.Define[noPartition]("table_test_bad") }, "no partition column"},
		"no tag":         {func() { table.Define[noTag]("table_test_bad") }, "field X"},
		"bad type":       {func() { table.Define[badType]("table_test_bad") }, "int32"},
		"bad role":       {func() { table.Define[badRole]("table_test_bad") }, "unknown role"},
		"bad column":     {func() { table.Define[badName]("table_test_bad") }, `"P"`},
		"column twice":   {func() { table.Define[twice]("table_test_bad") }, "taken"},
		"text version":   {func() { table.Define[textVersion]("table_test_bad") }, "one version column"},
		"no struct":      {func() { table.Define[int]("table_test_bad") }, "not a struct"},
		"bad table name": {func() { table.Define[Mixed]("Bad") }, "CQL identifier"},
		"name taken":     {func() { table.Define[Mixed]("table_test_mixed") }, "taken"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if got, _ := recover().(string); !strings.Contains(got, tt.says) {
					t.Errorf("panic says %q, want it to contain %q", got, tt.says)
				}
			}()
			tt.define()
		})
	}
	if _, ok := table.Lookup("table_test_bad"); ok {
		t.Error("a bad table was registered")
	}
}

func TestMutationHoldsTheWholeRow(t *testing.T) {
	m := mixed.Mutation(Mixed{PText: "a", PInt: -1, Version: 7})
	if m.Version != 7 || m.Delete || m.Table != "table_test_mixed" || len(m.Row) != 8 {
		t.Errorf("the mutation is %+v", m)
	}
	if err := m.Check(); err != nil {
		t.Error(err)
	}
}

func TestRowsComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawMixed(t)
		got, err := mixed.FromRow(mixed.Mutation(want).Row)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v, %v, want %+v", got, err, want)
		}
		key := mixed.Key(want)
		if err := mixed.Table().CheckKey(key); err != nil {
			t.Fatal(err)
		}
	})
}

func TestFromRowOfPartAndOfWrongTypes(t *testing.T) {
	got, err := mixed.FromRow(table.Row{"p_text": "a", "blob": nil, "column_of_tomorrow": "x"})
	if want := (Mixed{PText: "a"}); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	if _, err := mixed.FromRow(table.Row{"p_int": 1}); err == nil || !strings.Contains(err.Error(), "p_int") {
		t.Errorf("an int for an int64 gives %v", err)
	}
}

func TestCheckNamesWhatIsWrong(t *testing.T) {
	key := table.Row{"p_text": "a", "p_int": int64(1), "c_blob": []byte{}, "c_bool": false}
	with := func(changes table.Row) table.Mutation {
		row := maps.Clone(key)
		maps.Copy(row, changes)
		return table.Mutation{Table: "table_test_mixed", Row: row}
	}
	without := with(nil)
	delete(without.Row, "p_int")
	deletion := with(table.Row{"text": "x"})
	deletion.Delete = true
	tests := map[string]struct {
		m    table.Mutation
		says string
	}{
		"unknown table":       {table.Mutation{Table: "absent"}, `"absent"`},
		"unknown column":      {with(table.Row{"text": "x", "zoo": "y", "yak": nil}), `"yak"`},
		"missing key":         {without, "p_int is missing"},
		"nil key":             {with(table.Row{"p_int": nil}), "p_int"},
		"wrong type":          {with(table.Row{"text": int64(1)}), "text holds int64, not text"},
		"int for int64":       {with(table.Row{"version": 1}), "version holds int, not bigint"},
		"not UTF-8":           {with(table.Row{"text": "\xff"}), "text is not UTF-8"},
		"deletion with cells": {deletion, "key columns only"},
		"no version":          {table.Mutation{Table: "table_test_mixed", Row: key, Version: math.MinInt64}, "stands for none"},
		"too large":           {with(table.Row{"blob": make([]byte, table.MaxMutation)}), "65536 are allowed"},
		"too large a deletion": {table.Mutation{Table: "progress", Delete: true,
			Row: table.Row{"pipeline": strings.Repeat("a", table.MaxMutation)}}, "65536 are allowed"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := tt.m.Check()
			if !errors.Is(err, table.ErrInvalid) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("Check says %v, want it to contain %q", err, tt.says)
			}
		})
	}
	if err := with(table.Row{"text": nil}).Check(); err != nil {
		t.Errorf("a deleted cell is refused: %v", err)
	}
}

func TestQueryCheck(t *testing.T) {
	partition := table.Row{"p_text": "a", "p_int": int64(1)}
	tests := map[string]struct {
		q  table.Query
		ok bool
	}{
		"all":              {table.Query{Table: "table_test_mixed"}, true},
		"partition":        {table.Query{Table: "table_test_mixed", Partition: partition}, true},
		"range":            {table.Query{Table: "table_test_mixed", Partition: partition, From: []any{[]byte("a"), true}}, true},
		"unknown table":    {table.Query{Table: "absent"}, false},
		"half a partition": {table.Query{Table: "table_test_mixed", Partition: table.Row{"p_text": "a"}}, false},
		"bound of all":     {table.Query{Table: "table_test_mixed", From: []any{[]byte("a")}}, false},
		"bound of wrong type": {
			table.Query{Table: "table_test_mixed", Partition: partition, To: []any{"a"}}, false},
		"bound too long": {
			table.Query{Table: "table_test_mixed", Partition: partition, To: []any{[]byte("a"), true, true}}, false},
		"negative limit": {table.Query{Table: "table_test_mixed", Limit: -1}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if err := tt.q.Check(); (err == nil) != tt.ok || (err != nil && !errors.Is(err, table.ErrInvalid)) {
				t.Errorf("Check says %v, want ok %v", err, tt.ok)
			}
		})
	}
}
