package tabletest

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"darkroom/internal/table"
)

// model is the semantics of package table, written down as plainly as can be: it keeps every mutation, and works out
// the rows from all of them at each question.
type model struct {
	muts []table.Mutation
}

func (m *model) apply(muts []table.Mutation) { m.muts = append(m.muts, muts...) }

// keys are the keys of all rows that were ever written to, in the order of their partitions and clustering columns.
func (m *model) keys(t table.Table) []table.Row {
	byKey := map[string]table.Row{}
	for _, mut := range m.muts {
		if mut.Table == t.Name {
			key := keyOf(t, mut.Row)
			byKey[fmt.Sprintf("%#v", values(t.Key(), key))] = key
		}
	}
	var keys []table.Row
	for _, key := range byKey {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b table.Row) int {
		return compareValues(values(t.Key(), a), values(t.Key(), b))
	})
	return keys
}

// get is the row of a key; nil when it does not exist.
func (m *model) get(t table.Table, key table.Row) table.Row {
	var upserts, deletes []table.Mutation
	for _, mut := range m.muts {
		switch {
		case mut.Table != t.Name || !equalRows(keyOf(t, mut.Row), key):
		case mut.Delete:
			deletes = append(deletes, mut)
		default:
			upserts = append(upserts, mut)
		}
	}
	// What a row deletion hides might as well not have been written.
	visible := slices.DeleteFunc(upserts, func(u table.Mutation) bool {
		return slices.ContainsFunc(deletes, func(d table.Mutation) bool { return u.Version <= d.Version })
	})
	if len(visible) == 0 {
		return nil
	}
	row := keyOf(t, key)
	for _, c := range t.Regular {
		writes := slices.DeleteFunc(slices.Clone(visible), func(u table.Mutation) bool {
			_, sets := u.Row[c.Name]
			return !sets
		})
		if len(writes) == 0 {
			continue
		}
		winner := slices.MaxFunc(writes, func(a, b table.Mutation) int {
			return cmp.Or(cmp.Compare(a.Version, b.Version), compareCells(a.Row[c.Name], b.Row[c.Name]))
		})
		if value := winner.Row[c.Name]; value != nil {
			row[c.Name] = value
		}
	}
	return row
}

// scan is what a query of one partition yields.
func (m *model) scan(t table.Table, q table.Query) []table.Row {
	var rows []table.Row
	for _, key := range m.keys(t) {
		at := values(t.Clustering, key)
		if !equalRows(only(t.Partition, key), q.Partition) ||
			(q.From != nil && compareValues(at[:len(q.From)], q.From) < 0) ||
			(q.To != nil && compareValues(at[:len(q.To)], q.To) >= 0) {
			continue
		}
		if row := m.get(t, key); row != nil && (q.Limit == 0 || len(rows) < q.Limit) {
			rows = append(rows, row)
		}
	}
	return rows
}

func keyOf(t table.Table, row table.Row) table.Row { return only(t.Key(), row) }

func only(columns []table.Column, row table.Row) table.Row {
	out := table.Row{}
	for _, c := range columns {
		out[c.Name] = row[c.Name]
	}
	return out
}

func values(columns []table.Column, row table.Row) []any {
	out := make([]any, len(columns))
	for i, c := range columns {
		out[i] = row[c.Name]
	}
	return out
}

// compareValues orders key values by their meaning.
func compareValues(a, b []any) int {
	return slices.CompareFunc(a, b, func(a, b any) int {
		switch a := a.(type) {
		case string:
			return strings.Compare(a, b.(string))
		case int64:
			return cmp.Compare(a, b.(int64))
		case []byte:
			return bytes.Compare(a, b.([]byte))
		}
		return bytes.Compare(serialised(a), serialised(b))
	})
}

// compareCells orders writes of equal versions: a deletion is greater than any value.
func compareCells(a, b any) int {
	if a == nil || b == nil {
		return cmp.Compare(deletions(a), deletions(b))
	}
	return bytes.Compare(serialised(a), serialised(b))
}

func deletions(values ...any) (n int) {
	for _, v := range values {
		if v == nil {
			n++
		}
	}
	return n
}

// serialised is a value as Cassandra stores it.
func serialised(value any) []byte {
	switch v := value.(type) {
	case string:
		return []byte(v)
	case int64:
		return binary.BigEndian.AppendUint64(nil, uint64(v))
	case bool:
		if v {
			return []byte{1}
		}
		return []byte{0}
	}
	return value.([]byte)
}
