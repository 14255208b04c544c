package cassandra_test

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"darkroom/internal/table"
	"darkroom/internal/table/cassandra"
)

var (
	create  = regexp.MustCompile(`(?s)^CREATE TABLE IF NOT EXISTS (\w+) \((.*),\s+PRIMARY KEY \((.*?)\)\s*\) WITH (.*)$`)
	alter   = regexp.MustCompile(`^ALTER TABLE (\w+) ADD IF NOT EXISTS (\w+) (\w+)$`)
	keyList = regexp.MustCompile(`^\(?([\w, ]+?)\)?(?:, ([\w, ]+))?$`)
	plain   = regexp.MustCompile(`^(\w+)$`)
)

// migrated are the tables that the migrations make, as far as they are statements of the forms above.
func migrated(t *testing.T) (tables map[string]table.Table, options map[string]string) {
	t.Helper()
	all, err := cassandra.ReadMigrations(cassandra.MigrationFiles)
	if err != nil {
		t.Fatal(err)
	}
	types := map[string]table.Type{"text": table.Text, "bigint": table.BigInt, "boolean": table.Boolean, "blob": table.Blob}
	tables, options = map[string]table.Table{}, map[string]string{}
	for _, m := range all {
		for _, cql := range m.Statements() {
			if parts := alter.FindStringSubmatch(cql); parts != nil {
				tab := tables[parts[1]]
				tab.Regular = append(tab.Regular, table.Column{Name: parts[2], Type: types[parts[3]]})
				tables[parts[1]] = tab
				continue
			}
			parts := create.FindStringSubmatch(cql)
			if parts == nil {
				t.Fatalf("a statement that this test cannot read: %s", cql)
			}
			tab := table.Table{Name: parts[1]}
			key := keyList.FindStringSubmatch(parts[3])
			if plain.MatchString(parts[3]) {
				key = []string{"", parts[3], ""}
			}
			columns := map[string]table.Column{}
			for _, definition := range strings.Split(parts[2], ",") {
				name, typ, _ := strings.Cut(strings.TrimSpace(definition), " ")
				columns[name] = table.Column{Name: name, Type: types[typ]}
				if !slices.Contains(strings.Split(key[1]+", "+key[2], ", "), name) {
					tab.Regular = append(tab.Regular, columns[name])
				}
			}
			for _, name := range strings.Split(key[1], ", ") {
				tab.Partition = append(tab.Partition, columns[name])
			}
			for _, name := range strings.FieldsFunc(key[2], func(r rune) bool { return r == ',' || r == ' ' }) {
				tab.Clustering = append(tab.Clustering, columns[name])
			}
			tables[tab.Name], options[tab.Name] = tab, parts[4]
		}
	}
	return tables, options
}

func TestMigrationsMakeTheTables(t *testing.T) {
	got, options := migrated(t)
	want := map[string]table.Table{}
	for _, tab := range table.Tables() {
		if !isTestTable(tab.Name) {
			want[tab.Name] = tab
		}
	}
	if g, w := slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)); !slices.Equal(g, w) {
		t.Errorf("the migrations make %v, want %v", g, w)
	}
	for name, w := range want {
		// A column that a later migration adds is the last there; in Go it stands where it belongs.
		g := got[name]
		byName := func(a, b table.Column) int { return strings.Compare(a.Name, b.Name) }
		slices.SortFunc(g.Regular, byName)
		w.Regular = slices.SortedFunc(slices.Values(w.Regular), byName)
		if fmt.Sprint(g) != fmt.Sprint(w) {
			t.Errorf("the migrations make %v, want %v", g, w)
		}
		if !strings.Contains(options[name], "cdc = true") || strings.Contains(options[name], "ttl") {
			t.Errorf("table %s has the options %s", name, options[name])
		}
	}
	if !strings.Contains(options["image_stats"], "TimeWindowCompactionStrategy") {
		t.Error("the statistics are not compacted by time")
	}
}

// Debezium 3.4 reads a blob among several partition columns as the bytes of all of them.
func TestPartitionsThatDebeziumCanRead(t *testing.T) {
	for _, tab := range table.Tables() {
		for _, c := range tab.Partition {
			if !isTestTable(tab.Name) && c.Type == table.Blob && len(tab.Partition) > 1 {
				t.Errorf("table %s has the blob %s in its partition", tab.Name, c.Name)
			}
		}
	}
}

func TestSplitCQL(t *testing.T) {
	text := "-- only a comment; with a semicolon\n\nCREATE TABLE a (b text); -- after it\nALTER TABLE a\n  ADD c text;;\n-- end"
	want := []string{"CREATE TABLE a (b text)", "ALTER TABLE a\n  ADD c text"}
	if got := cassandra.SplitCQL(text); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestMigrationsCountUp(t *testing.T) {
	for _, names := range [][]string{{"0002_a"}, {"0001_a", "0003_b"}, {"0001_a", "0001_b"}, {"1_a"}, {"x_a"}} {
		files := fstest.MapFS{}
		for _, name := range names {
			files["migrations/"+name+".cql"] = &fstest.MapFile{}
		}
		if _, err := cassandra.ReadMigrations(files); err == nil {
			t.Errorf("%v are taken for migrations", names)
		}
	}
}
