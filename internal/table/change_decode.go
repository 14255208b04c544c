package table

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"
)

// envelope is what DecodeChange reads of a record. Debezium's records hold more.
type envelope struct {
	AtMilli int64  `json:"ts_ms"`
	Op      string `json:"op"`
	Source  struct {
		Table    string      `json:"table"`
		Keyspace string      `json:"keyspace"`
		Snapshot string      `json:"snapshot"`
		Micros   *int64      `json:"ts_us"`
		Micro    *int64      `json:"ts_micro"` // what records of our own called it once
		Position json.Number `json:"pos"`
	} `json:"source"`
	After map[string]*envelopeCell `json:"after"`
}

type envelopeCell struct {
	Value json.RawMessage `json:"value"`
	Set   *bool           `json:"set"`
}

// isSet reports whether the write touched the cell. Debezium lists the others as null.
func (c *envelopeCell) isSet() bool { return c != nil && (c.Set == nil || *c.Set) }

// isSnapshot reports whether the record tells of a row that was read, and not of a write.
func (e envelope) isSnapshot() bool { return e.Source.Snapshot != "" && e.Source.Snapshot != "false" }

// version is that of the write. A snapshot knows only when it read the row, which is later than any write that is still
// on its way; there the row must say its version itself.
func (e envelope) version(row Row) (int64, error) {
	if e.isSnapshot() {
		if v, ok := row[VersionColumn].(int64); ok && v != math.MinInt64 {
			return v, nil
		}
		return 0, fmt.Errorf("%w: a snapshot of a row without a version", ErrInvalid)
	}
	micros := e.Source.Micros
	if micros == nil {
		micros = e.Source.Micro
	}
	if micros == nil || *micros == math.MinInt64 {
		return 0, fmt.Errorf("%w: no ts_us", ErrInvalid)
	}
	return *micros, nil
}

// DecodeChange reads the value of a record of a change topic, of this package's or of Debezium's making. Fields and
// columns that it does not know are passed over, and those that are not there are left out of the row; but without an
// operation, a known table, a version and the whole key a record means nothing. What it refuses, as an ErrInvalid, can
// never be read, so the caller counts and skips it.
func DecodeChange(value []byte) (Change, error) {
	var env envelope
	if err := json.Unmarshal(value, &env); err != nil {
		return Change{}, fmt.Errorf("decode change: %w: %w", ErrInvalid, err)
	}
	if env.Op != OpInsert && env.Op != OpUpdate && env.Op != OpDelete {
		return Change{}, fmt.Errorf("decode change: %w: unknown op %q", ErrInvalid, env.Op)
	}
	if env.Source.Keyspace != "" && env.Source.Keyspace != Keyspace {
		return Change{}, fmt.Errorf("decode change: %w: keyspace %q", ErrInvalid, env.Source.Keyspace)
	}
	t, err := known(env.Source.Table)
	if err != nil {
		return Change{}, fmt.Errorf("decode change: %w", err)
	}
	c := Change{Table: t.Name, Op: env.Op}
	if c.Row, err = env.row(t); err == nil {
		c.Version, err = env.version(c.Row)
	}
	if err != nil {
		return Change{}, fmt.Errorf("decode change: %w", err)
	}
	if env.AtMilli != 0 {
		c.At = time.UnixMilli(env.AtMilli).UTC()
	}
	c.Position, _ = env.Source.Position.Int64()
	return c, nil
}

// row reads the cells. Debezium marks the cells of a deleted row as deleted one by one; only the key matters there.
func (e envelope) row(t Table) (Row, error) {
	columns := t.Key()
	if e.Op != OpDelete {
		columns = append(columns, t.Regular...)
	}
	row := make(Row, len(columns))
	for _, col := range columns {
		cell := e.After[col.Name]
		if !cell.isSet() {
			continue
		}
		value, err := col.decode(cell.Value)
		if err != nil {
			return nil, t.invalid(err)
		}
		if value == nil && e.isSnapshot() {
			continue // it lists every column
		}
		row[col.Name] = value
	}
	if err := t.checkKeyColumns(row); err != nil {
		return nil, t.invalid(err)
	}
	return row, nil
}

func (c Column) decode(raw json.RawMessage) (any, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	value, err := c.decodeValue(raw)
	if err != nil {
		return nil, fmt.Errorf("column %s: %w", c.Name, err)
	}
	return value, nil
}

// decodeValue reads an int64 from its digits, since a float64 does not hold each one.
func (c Column) decodeValue(raw json.RawMessage) (any, error) {
	switch c.Type {
	case BigInt:
		return strconv.ParseInt(string(raw), 10, 64)
	case Boolean:
		return unmarshal[bool](raw)
	case Blob:
		if bytes.Equal(raw, []byte(`""`)) {
			return []byte{}, nil
		}
		return unmarshal[[]byte](raw)
	}
	return unmarshal[string](raw)
}

func unmarshal[T any](raw json.RawMessage) (any, error) {
	var v T
	err := json.Unmarshal(raw, &v)
	return v, err
}
