package cassandra

import (
	"fmt"
	"slices"
	"strings"

	"darkroom/internal/table"
)

// statements are a table's CQL. Each is prepared once, since its text never changes: columns that an upsert does not set
// are bound as unset. Names need no quotes, as table.Define sees to.
type statements struct {
	table   table.Table
	columns []table.Column // key columns, then the others: the order of binding and of reading
	upsert  string         // binds columns, then the version; writes the row marker
	remove  string         // binds the version, then the key
	get     string         // binds the key
	scan    string         // of every partition; binds nothing
	part    string         // of one partition; binds its columns
}

func statementsOf(t table.Table) *statements {
	s := &statements{table: t, columns: append(t.Key(), t.Regular...)}
	list := strings.Join(names(s.columns), ", ")
	s.upsert = fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s) USING TIMESTAMP ?", t.Name, list, marks(len(s.columns)))
	s.remove = fmt.Sprintf("DELETE FROM %s USING TIMESTAMP ? WHERE %s", t.Name, equal(t.Key()))
	s.scan = fmt.Sprintf("SELECT %s FROM %s", list, t.Name)
	s.get = s.scan + " WHERE " + equal(t.Key())
	s.part = s.scan + " WHERE " + equal(t.Partition)
	return s
}

// upsertArgs binds upsert. Of a cell that the mutation does not name, nothing is written.
func (s *statements) upsertArgs(m table.Mutation) []any {
	args := make([]any, 0, len(s.columns)+1)
	for _, c := range s.columns {
		value, ok := m.Row[c.Name]
		if !ok {
			args = append(args, unset)
			continue
		}
		args = append(args, bindable(value))
	}
	return append(args, m.Version)
}

func (s *statements) removeArgs(m table.Mutation) []any {
	return append([]any{m.Version}, values(s.table.Key(), m.Row)...)
}

// query is a scan as CQL, with what it binds.
func (s *statements) query(q table.Query) (cql string, args []any) {
	if q.Partition == nil {
		cql = s.scan
	} else {
		cql, args = s.part, values(s.table.Partition, q.Partition)
		cql += bound(s.table.Clustering, q.From, ">=") + bound(s.table.Clustering, q.To, "<")
		for _, value := range slices.Concat(q.From, q.To) {
			args = append(args, bindable(value))
		}
	}
	if q.Limit > 0 {
		cql, args = cql+" LIMIT ?", append(args, q.Limit)
	}
	return cql, args
}

// bound compares a prefix of the clustering columns. A shorter tuple stands before the longer ones that begin with it,
// as table.Query wants.
func bound(clustering []table.Column, prefix []any, op string) string {
	if len(prefix) == 0 {
		return ""
	}
	list := strings.Join(names(clustering[:len(prefix)]), ", ")
	return fmt.Sprintf(" AND (%s) %s (%s)", list, op, marks(len(prefix)))
}

// noSuchPartition reports whether the row's partition cannot be in Cassandra: its only column is empty.
func (s *statements) noSuchPartition(row table.Row) bool {
	if len(s.table.Partition) != 1 {
		return false
	}
	switch v := row[s.table.Partition[0].Name].(type) {
	case string:
		return v == ""
	case []byte:
		return len(v) == 0
	}
	return false
}

func equal(columns []table.Column) string {
	return strings.Join(names(columns), " = ? AND ") + " = ?"
}

func marks(n int) string { return strings.TrimSuffix(strings.Repeat("?, ", n), ", ") }

func names(columns []table.Column) []string {
	out := make([]string, len(columns))
	for i, c := range columns {
		out[i] = c.Name
	}
	return out
}

func values(columns []table.Column, row table.Row) []any {
	out := make([]any, len(columns))
	for i, c := range columns {
		out[i] = bindable(row[c.Name])
	}
	return out
}

// bindable is the value as the driver takes it, for which a nil slice is no value. A nil Blob is an empty one.
func bindable(value any) any {
	if b, ok := value.([]byte); ok && b == nil {
		return []byte{}
	}
	return value
}
