package cassandra_test

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"darkroom/internal/table"
	"darkroom/internal/table/cassandra"
)

func stats(tenant string, window, events int64) table.Mutation {
	return table.AllImageStats.Mutation(table.ImageStats{Tenant: tenant, Dimension: "all", Day: "2026-01-01",
		WindowStart: window, Events: events, Version: window + events})
}

func removal(m table.Mutation, version int64) table.Mutation {
	t, _ := table.Lookup(m.Table)
	key := table.Row{}
	for _, c := range t.Key() {
		key[c.Name] = m.Row[c.Name]
	}
	return table.Mutation{Table: m.Table, Row: key, Delete: true, Version: version}
}

func untold(m table.Mutation) table.Mutation {
	row := table.Row{"value": ""}
	for name, value := range m.Row {
		if name != table.VersionColumn {
			row[name] = value
		}
	}
	m.Row = row
	return m
}

func TestGroupsByPartition(t *testing.T) {
	a, b := stats("a", 1, 1), stats("b", 1, 1)
	tests := map[string]struct {
		muts []table.Mutation
		want []int // mutations in each request
	}{
		"nothing":              {nil, nil},
		"two partitions":       {[]table.Mutation{a, b, stats("a", 2, 1), stats("b", 2, 1)}, []int{2, 2}},
		"two tables":           {[]table.Mutation{table.Progresses.Mutation(table.Progress{Pipeline: "a"}), a}, []int{1, 1}},
		"one row":              {[]table.Mutation{a, stats("a", 1, 2), stats("a", 2, 1)}, []int{1, 2}},
		"deletion of a row":    {[]table.Mutation{a, removal(a, 9), stats("a", 2, 1)}, []int{1, 2}},
		"deletion of another":  {[]table.Mutation{a, removal(stats("a", 2, 1), 9)}, []int{2}},
		"untold version":       {[]table.Mutation{a, untold(stats("a", 2, 1))}, []int{1, 1}},
		"untold, same version": {[]table.Mutation{untold(stats("a", 1, 2)), untold(stats("a", 2, 1)), stats("a", 0, 3)}, []int{3}},
		"told, then untold":    {[]table.Mutation{stats("a", 1, 2), stats("a", 2, 2), untold(stats("a", 3, 0))}, []int{2, 1}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var got []int
			for _, g := range cassandra.Groups(tt.muts) {
				got = append(got, len(g))
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("the requests have %v mutations, want %v", got, tt.want)
			}
		})
	}
}

func TestGroupsAreBounded(t *testing.T) {
	var muts []table.Mutation
	for n := range int64(10_000) {
		muts = append(muts, stats("a", n, 1))
	}
	if got := len(cassandra.Groups(muts)); got != 10_000/cassandra.MaxStatements {
		t.Errorf("10,000 rows of one partition go in %d requests", got)
	}
	for n := range muts[:9] {
		muts[n].Row["value"] = fmt.Sprint(n) + strings.Repeat("x", 60_000)
	}
	for _, g := range cassandra.Groups(muts[:9]) {
		if len(g) > cassandra.MaxBytes/60_000 {
			t.Errorf("%d large rows go in one request", len(g))
		}
	}
}

// Whatever is applied, each mutation goes out once, and a consumer of Debezium's records can tell its version.
func TestGroupsKeepWhatDebeziumCanTell(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		muts := rapid.SliceOf(rapid.Custom(func(t *rapid.T) table.Mutation {
			m := stats(rapid.SampledFrom([]string{"a", "b"}).Draw(t, "tenant"), rapid.Int64Range(0, 3).Draw(t, "window"),
				rapid.Int64Range(0, 3).Draw(t, "events"))
			switch rapid.IntRange(0, 3).Draw(t, "kind") {
			case 0:
				m = removal(m, m.Version)
			case 1:
				m = untold(m)
			}
			return m
		})).Draw(t, "mutations")
		left := len(muts)
		for _, g := range cassandra.Groups(muts) {
			left -= len(g)
			greatest, rows := int64(math.MinInt64), map[string]bool{}
			for _, m := range g {
				greatest = max(greatest, m.Version)
				rows[fmt.Sprint(m.Row["tenant"], m.Row["window_start"])] = true
				if m.Row["tenant"] != g[0].Row["tenant"] {
					t.Errorf("a request is for two partitions: %v", g)
				}
			}
			if len(rows) != len(g) {
				t.Errorf("a request writes a row twice: %v", g)
			}
			for _, m := range g {
				if _, told := m.Row[table.VersionColumn]; !told && !m.Delete && m.Version != greatest {
					t.Errorf("version %d of %v is lost beside %d", m.Version, m.Row, greatest)
				}
			}
		}
		if left != 0 {
			t.Errorf("%d mutations are left out", left)
		}
	})
}
