package table

import (
	"context"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strings"
	"sync"
)

// Typed is a table whose rows are values of the struct T.
type Typed[T any] struct {
	table   Table
	fields  []field // every column, in the order of the struct
	version int     // index into fields
}

// field is one column and where T keeps it.
type field struct {
	Column
	index int
	key   bool
}

var registry = struct {
	sync.RWMutex
	tables map[string]Table
}{tables: map[string]Table{}}

// Define registers the table name whose columns are the fields of the struct T, in their order. A field's tag is
// `cql:"name"`, followed by ",partition" or ",clustering" for a key column, or by ",version" for the one BigInt column
// that holds the row's version. A string is a Text, an int64 a BigInt, a bool a Boolean and a []byte a Blob.
//
// Define is called while packages are initialised, so it panics when T is no such struct or the name is taken.
func Define[T any](name string) *Typed[T] {
	t, err := define[T](name)
	if err == nil {
		err = register(t.table)
	}
	if err != nil {
		panic(fmt.Sprintf("define table %q: %v", name, err))
	}
	return t
}

// Lookup returns the table of this name. It reports false when no Define has registered it.
func Lookup(name string) (Table, bool) {
	registry.RLock()
	defer registry.RUnlock()
	t, ok := registry.tables[name]
	return t, ok
}

// Tables returns every registered table, ordered by name.
func Tables() []Table {
	registry.RLock()
	defer registry.RUnlock()
	all := make([]Table, 0, len(registry.tables))
	for _, t := range registry.tables {
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b Table) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Table describes the table.
func (t *Typed[T]) Table() Table { return t.table }

// Mutation is the upsert of the whole row: it sets every column, at the version that the row carries.
func (t *Typed[T]) Mutation(row T) Mutation {
	v := reflect.ValueOf(&row).Elem()
	cells := make(Row, len(t.fields))
	for _, f := range t.fields {
		cells[f.Name] = v.Field(f.index).Interface()
	}
	return Mutation{Table: t.table.Name, Row: cells, Version: v.Field(t.fields[t.version].index).Int()}
}

// Key holds the key columns of the row, as Get and a deletion take them.
func (t *Typed[T]) Key(row T) Row {
	v := reflect.ValueOf(&row).Elem()
	key := make(Row, len(t.table.Partition)+len(t.table.Clustering))
	for _, f := range t.fields {
		if f.key {
			key[f.Name] = v.Field(f.index).Interface()
		}
	}
	return key
}

// Get reads the row of a key, as Store.Get does.
func (t *Typed[T]) Get(ctx context.Context, s Store, key T) (T, error) {
	cells, err := s.Get(ctx, t.table.Name, t.Key(key))
	if err != nil {
		var zero T
		return zero, err
	}
	return t.FromRow(cells)
}

// Scan reads the rows that a query, whose table it fills in, selects, as Store.Scan does. It ends with the first error.
func (t *Typed[T]) Scan(ctx context.Context, s Store, q Query) iter.Seq2[T, error] {
	q.Table = t.table.Name
	return func(yield func(T, error) bool) {
		for cells, err := range s.Scan(ctx, q) {
			var row T
			if err == nil {
				row, err = t.FromRow(cells)
			}
			if !yield(row, err) || err != nil {
				return
			}
		}
	}
}

// FromRow is the struct of a row that a Store returned. An absent cell leaves the field's zero value, and a column that
// T does not have is passed over, so that a reader outlives a newer schema. A value of another Go type is an error.
func (t *Typed[T]) FromRow(row Row) (T, error) {
	var out T
	v := reflect.ValueOf(&out).Elem()
	for _, f := range t.fields {
		cell, ok := row[f.Name]
		if !ok || cell == nil {
			continue
		}
		if typ, ok := typeOfValue(cell); !ok || typ != f.Type {
			var zero T
			return zero, fmt.Errorf("read row of %s: column %s holds %T, not %s", t.table.Name, f.Name, cell, f.Type)
		}
		v.Field(f.index).Set(reflect.ValueOf(cell))
	}
	return out, nil
}

func define[T any](name string) (*Typed[T], error) {
	typ := reflect.TypeFor[T]()
	if typ.Kind() != reflect.Struct {
		return nil, fmt.Errorf("%s is not a struct", typ)
	}
	t := &Typed[T]{table: Table{Name: name}, version: -1}
	for i := range typ.NumField() {
		if err := t.addField(typ.Field(i), i); err != nil {
			return nil, fmt.Errorf("field %s: %w", typ.Field(i).Name, err)
		}
	}
	if t.version < 0 {
		return nil, fmt.Errorf("%s has no version column", typ)
	}
	return t, nil
}

func (t *Typed[T]) addField(sf reflect.StructField, index int) error {
	tag, ok := sf.Tag.Lookup("cql")
	if !ok || !sf.IsExported() {
		return fmt.Errorf("it has no cql tag or is not exported")
	}
	typ, ok := typeOf(sf.Type)
	if !ok {
		return fmt.Errorf("no column type for %s", sf.Type)
	}
	name, role, _ := strings.Cut(tag, ",")
	f := field{Column: Column{Name: name, Type: typ}, index: index}
	switch role {
	case "":
		t.table.Regular = append(t.table.Regular, f.Column)
	case "partition":
		f.key = true
		t.table.Partition = append(t.table.Partition, f.Column)
	case "clustering":
		f.key = true
		t.table.Clustering = append(t.table.Clustering, f.Column)
	case "version":
		if typ != BigInt || t.version >= 0 {
			return fmt.Errorf("a table has one version column, an int64")
		}
		t.version = len(t.fields)
		t.table.Regular = append(t.table.Regular, f.Column)
	default:
		return fmt.Errorf("unknown role %q", role)
	}
	t.fields = append(t.fields, f)
	return nil
}

func typeOf(t reflect.Type) (Type, bool) {
	switch t {
	case reflect.TypeFor[string]():
		return Text, true
	case reflect.TypeFor[int64]():
		return BigInt, true
	case reflect.TypeFor[bool]():
		return Boolean, true
	case reflect.TypeFor[[]byte]():
		return Blob, true
	}
	return 0, false
}

// register checks what no single field shows, and makes the table known.
func register(t Table) error {
	if err := t.check(); err != nil {
		return err
	}
	registry.Lock()
	defer registry.Unlock()
	if _, taken := registry.tables[t.Name]; taken {
		return fmt.Errorf("the name is taken")
	}
	registry.tables[t.Name] = t
	return nil
}
