// Package table is the wide-column store that pipelines write and services read.
//
// Its semantics are Cassandra's: every write is an upsert (or a row deletion) that carries a version, and what a reader
// sees depends on the set of writes alone, never on their order or on how often each was applied. For each cell the
// write of the greatest version wins. At equal versions a deletion beats a value, and of two values the one whose
// serialised bytes are greater (compared as unsigned bytes) wins. A row deletion at version v hides every cell whose
// version is at most v. A row exists while it has a live cell or a row marker newer than its deletion; an upsert
// writes the marker.
//
// Every applied mutation, also one that lost to a newer version, is published to Kafka as a Debezium change envelope
// (see Change), at least once, and for one row in the order in which the store applied them.
package table

import (
	"context"
	"errors"
	"iter"
)

// ErrNotFound is returned by Get for a row that does not exist. Callers treat it as an empty answer, not as a fault.
var ErrNotFound = errors.New("row not found")

// Type is a column's type. The Go value of each is named beside it.
type Type uint8

// The column types.
const (
	Text    Type = iota + 1 // string, UTF-8
	BigInt                  // int64, stored as eight bytes, big endian
	Boolean                 // bool, stored as one byte
	Blob                    // []byte
)

// Column is one column of a table.
type Column struct {
	Name string
	Type Type
}

// Table describes a table. Rows with equal Partition columns live together, ordered by their Clustering columns.
type Table struct {
	Name       string
	Partition  []Column
	Clustering []Column
	Regular    []Column
}

// Row holds values by column name; the Go types are those of Type. A cell that is not set is absent.
type Row map[string]any

// Mutation is one write to one row.
type Mutation struct {
	Table   string
	Row     Row   // all key columns; for an upsert also the cells to set, where nil deletes the cell
	Delete  bool  // deletes the whole row; Row then holds the key columns only
	Version int64 // Cassandra's USING TIMESTAMP: microseconds
}

// Query selects rows of one table.
type Query struct {
	Table string
	// Partition holds the partition columns. Nil reads every partition, in an order that is the store's own.
	Partition Row
	// From and To bound the clustering columns, each a prefix of them: From is inclusive, To is exclusive, and nil is
	// open. A prefix stands for the position before all rows that begin with it, so To: ("a") leaves out ("a", 1).
	From, To []any
	Limit    int // 0: no limit
}

// Store is a wide-column store. It is safe for concurrent use.
type Store interface {
	// Apply makes the mutations durable before it returns. They are not applied as a unit to readers: after an error
	// some may have been applied, and the caller may apply all of them again, since every mutation is idempotent.
	Apply(ctx context.Context, muts []Mutation) error
	// Get returns one row by its whole key, or ErrNotFound.
	Get(ctx context.Context, table string, key Row) (Row, error)
	// Scan yields the selected rows; those of one partition in the order of their clustering columns.
	Scan(ctx context.Context, q Query) iter.Seq2[Row, error]
	// Ping reports whether the store answers.
	Ping(ctx context.Context) error
	Close() error
}
