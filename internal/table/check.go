package table

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

var errNoVersion = fmt.Errorf("the version %d stands for none", math.MinInt64)

// ErrInvalid marks a mutation, key or query that does not fit its table. The caller has a bug or bad data: repeating
// the call does not help.
var ErrInvalid = errors.New("does not fit the table")

// MaxMutation bounds the names and values of one mutation, in bytes. Its change record then fits into a message of one
// mebibyte, Kafka's default limit, also when all of it is key, which a record holds twice, and JSON writes each byte as
// six.
const MaxMutation = 64 << 10

// Lengths of names and counts of columns, which also bound what decoders accept.
const (
	maxName    = 48 // Cassandra's limit for a table's name
	maxColumns = 256
)

// String returns the CQL name of the type.
func (t Type) String() string {
	switch t {
	case Text:
		return "text"
	case BigInt:
		return "bigint"
	case Boolean:
		return "boolean"
	case Blob:
		return "blob"
	}
	return fmt.Sprintf("Type(%d)", uint8(t))
}

// typeOfValue returns the type whose Go type the value has.
func typeOfValue(value any) (Type, bool) {
	switch value.(type) {
	case string:
		return Text, true
	case int64:
		return BigInt, true
	case bool:
		return Boolean, true
	case []byte:
		return Blob, true
	}
	return 0, false
}

// Key returns the key columns: those of the partition, then the clustering columns.
func (t Table) Key() []Column { return slices.Concat(t.Partition, t.Clustering) }

// Check reports, as an ErrInvalid, why the mutation cannot be applied: an unknown table or column, a key column that is
// missing or nil, a value of the wrong type, text that is not UTF-8, a deletion with cells, more than MaxMutation bytes,
// or the least version, which is Cassandra's mark for none.
func (m Mutation) Check() error {
	t, err := known(m.Table)
	if err != nil {
		return err
	}
	if m.Version == math.MinInt64 {
		return t.invalid(errNoVersion)
	}
	if m.Delete {
		if err := t.CheckKey(m.Row); err != nil {
			return err
		}
		return t.checkSize(m.Row)
	}
	if err := t.checkKeyColumns(m.Row); err != nil {
		return t.invalid(err)
	}
	count := len(t.Partition) + len(t.Clustering)
	for _, c := range t.Regular {
		value, ok := m.Row[c.Name]
		if !ok {
			continue
		}
		count++
		if value == nil {
			continue
		}
		if err := c.check(value); err != nil {
			return t.invalid(err)
		}
	}
	if count != len(m.Row) {
		return t.invalid(fmt.Errorf("it has no column %s", t.firstUnknown(m.Row)))
	}
	return t.checkSize(m.Row)
}

func (t Table) checkSize(row Row) error {
	size := 0
	for name, value := range row {
		size += len(name) + sizeOf(value)
	}
	if size > MaxMutation {
		return t.invalid(fmt.Errorf("a mutation of %d bytes, at most %d are allowed", size, MaxMutation))
	}
	return nil
}

// CheckKey reports, as an ErrInvalid, why key is not exactly the key columns of the table with values of their types.
func (t Table) CheckKey(key Row) error {
	if err := t.checkKeyColumns(key); err != nil {
		return t.invalid(err)
	}
	if len(key) != len(t.Partition)+len(t.Clustering) {
		return t.invalid(errors.New("a key holds the key columns only"))
	}
	return nil
}

// Check reports, as an ErrInvalid, why the query cannot be answered: an unknown table, a partition that is not exactly
// the partition columns, bounds without a partition or of the wrong types, or a negative limit.
func (q Query) Check() error {
	t, err := known(q.Table)
	if err != nil {
		return err
	}
	if q.Limit < 0 {
		return t.invalid(errors.New("the limit is negative"))
	}
	if q.Partition == nil {
		if len(q.From)+len(q.To) > 0 {
			return t.invalid(errors.New("bounds need a partition"))
		}
		return nil
	}
	if err := checkColumns(t.Partition, q.Partition); err != nil {
		return t.invalid(err)
	}
	if len(q.Partition) != len(t.Partition) {
		return t.invalid(errors.New("a partition holds the partition columns only"))
	}
	return errors.Join(t.checkBound(q.From), t.checkBound(q.To))
}

func (t Table) checkBound(prefix []any) error {
	if len(prefix) > len(t.Clustering) {
		return t.invalid(fmt.Errorf("a bound of %d values, the table has %d clustering columns",
			len(prefix), len(t.Clustering)))
	}
	for i, value := range prefix {
		if err := t.Clustering[i].check(value); err != nil {
			return t.invalid(err)
		}
	}
	return nil
}

func known(name string) (Table, error) {
	t, ok := Lookup(name)
	if !ok {
		return t, fmt.Errorf("table %q: %w: no such table", name, ErrInvalid)
	}
	return t, nil
}

func (t Table) checkKeyColumns(row Row) error {
	if err := checkColumns(t.Partition, row); err != nil {
		return err
	}
	return checkColumns(t.Clustering, row)
}

// checkColumns wants a value of every column.
func checkColumns(columns []Column, row Row) error {
	for _, c := range columns {
		value, ok := row[c.Name]
		if !ok {
			return fmt.Errorf("key column %s is missing", c.Name)
		}
		if err := c.check(value); err != nil {
			return err
		}
	}
	return nil
}

func (c Column) check(value any) error {
	if typ, ok := typeOfValue(value); !ok || typ != c.Type {
		return fmt.Errorf("column %s holds %T, not %s", c.Name, value, c.Type)
	}
	if s, ok := value.(string); ok && !utf8.ValidString(s) {
		return fmt.Errorf("column %s is not UTF-8", c.Name)
	}
	return nil
}

// firstUnknown is the first column of the row, in the order of names, that the table does not have.
func (t Table) firstUnknown(row Row) string {
	for _, name := range sortedNames(row) {
		if _, ok := t.column(name); !ok {
			return fmt.Sprintf("%q", name)
		}
	}
	return ""
}

// column finds a column by its name.
func (t Table) column(name string) (Column, bool) {
	for _, group := range [][]Column{t.Partition, t.Clustering, t.Regular} {
		for _, c := range group {
			if c.Name == name {
				return c, true
			}
		}
	}
	return Column{}, false
}

func sizeOf(value any) int {
	switch v := value.(type) {
	case string:
		return len(v)
	case []byte:
		return len(v)
	}
	return 8
}

func sortedNames(row Row) []string {
	names := make([]string, 0, len(row))
	for name := range row {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (t Table) invalid(err error) error {
	return fmt.Errorf("table %s: %w: %w", t.Name, ErrInvalid, err)
}

// check says what is wrong with the definition of a table.
func (t Table) check() error {
	if !validName(t.Name) {
		return fmt.Errorf("the name is no CQL identifier of at most %d bytes", maxName)
	}
	if len(t.Partition) == 0 {
		return errors.New("no partition column")
	}
	all := append(t.Key(), t.Regular...)
	if len(all) > maxColumns {
		return fmt.Errorf("more than %d columns", maxColumns)
	}
	seen := map[string]bool{}
	for _, c := range all {
		if !validName(c.Name) || seen[c.Name] {
			return fmt.Errorf("column name %q is taken or no CQL identifier of at most %d bytes", c.Name, maxName)
		}
		seen[c.Name] = true
	}
	return nil
}

// validName reports whether s is a lower-case identifier that CQL takes without quotes.
func validName(s string) bool {
	if len(s) == 0 || len(s) > maxName || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789_") == ""
}
