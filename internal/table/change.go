package table

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// The operations of a change, as Debezium's connector for Cassandra names them.
const (
	OpInsert = "i"
	OpUpdate = "u" // an upsert that writes no row marker; the embedded store makes none
	OpDelete = "d" // the deletion of a row
)

// The names in the envelope and in the topics.
const (
	Keyspace         = "darkroom"
	logicalName      = "cdc" // Debezium's topic.prefix
	topicPrefix      = logicalName + "." + Keyspace + "."
	connectorVersion = "1"
)

// Change is one applied mutation as it is published to Kafka: the envelope of Debezium's connector for Cassandra
// (https://debezium.io/documentation/reference/stable/connectors/cassandra.html), in JSON without schemas. A change says
// what was written and not what the row then was: it may have lost to a newer version, it may be repeated, and it may
// arrive late. A consumer keeps the greatest version of each row.
type Change struct {
	Table   string
	Op      string // OpInsert, OpUpdate or OpDelete
	Version int64  // of the write, microseconds
	// Row holds the key columns and, unless Op is OpDelete, the cells that were set; nil is a deleted cell.
	Row Row
	// At is when the change was made into a record. It is zero when a record does not say.
	At time.Time
	// Position is where the change stands in the producer's log: greater is later, and with Debezium so only within one
	// file of Cassandra's commit log. Zero when a record does not say.
	Position int64
}

// ChangeOf is the change that the mutation makes.
func ChangeOf(m Mutation, at time.Time, position int64) Change {
	op := OpInsert
	if m.Delete {
		op = OpDelete
	}
	return Change{Table: m.Table, Op: op, Version: m.Version, Row: m.Row, At: at, Position: position}
}

// Mutation is the write that the change tells of. Applying it to another Store brings the row there as well.
func (c Change) Mutation() Mutation {
	return Mutation{Table: c.Table, Row: c.Row, Delete: c.Op == OpDelete, Version: c.Version}
}

// ChangeTopic is the Kafka topic that carries the changes of a table.
func ChangeTopic(table string) string { return topicPrefix + table }

// ChangeTopics are the topics of all registered tables, ordered by name.
func ChangeTopics() []string {
	var topics []string
	for _, t := range Tables() {
		topics = append(topics, ChangeTopic(t.Name))
	}
	return topics
}

// Encode returns the record's key and value on ChangeTopic(c.Table). The key is a JSON object of the key columns, so
// that the changes of one row stay in one partition. It fails, as an ErrInvalid, on a row that does not fit the table.
func (c Change) Encode() (key, value []byte, err error) {
	if err := c.Mutation().Check(); err != nil {
		return nil, nil, fmt.Errorf("encode change: %w", err)
	}
	t, _ := Lookup(c.Table)
	keyColumns := t.Key()
	key = append(key, '{')
	for i, col := range keyColumns {
		if i > 0 {
			key = append(key, ',')
		}
		key = appendField(key, col.Name, c.Row[col.Name])
	}
	key = append(key, '}')

	value = appendEnvelope(make([]byte, 0, 1024), c)
	for _, col := range keyColumns {
		value = append(appendCell(value, col.Name, c.Row[col.Name]), ',')
	}
	for _, col := range byName(t.Regular) {
		value = append(c.appendRegular(value, col.Name), ',')
	}
	return key, append(value, `"_range_start":null,"_range_end":null}}`...), nil
}

// appendRegular appends a column that is not of the key: null when it was not set.
func (c Change) appendRegular(b []byte, name string) []byte {
	if c.Op == OpDelete {
		b = append(appendString(b, name), `:{"value":null,"deletion_ts":`...)
		return append(strconv.AppendInt(b, c.Version, 10), `,"set":true}`...)
	}
	value, ok := c.Row[name]
	if !ok {
		return append(appendString(b, name), ":null"...)
	}
	return appendCell(b, name, value)
}

// byName returns the columns in the order in which Cassandra keeps them.
func byName(columns []Column) []Column {
	return slices.SortedFunc(slices.Values(columns), func(a, b Column) int { return strings.Compare(a.Name, b.Name) })
}

// appendEnvelope appends all that comes before the first cell.
func appendEnvelope(b []byte, c Change) []byte {
	now := c.At.UnixMilli()
	b = append(b, `{"ts_ms":`...)
	b = strconv.AppendInt(b, now, 10)
	b = append(b, `,"op":"`...)
	b = append(b, c.Op...)
	b = append(b, `","source":{"version":"`+connectorVersion+`","connector":"cassandra","name":"`+logicalName+`","ts_ms":`...)
	b = strconv.AppendInt(b, floorMilli(c.Version), 10)
	b = append(b, `,"snapshot":"false","db":"NULL","sequence":null,"ts_us":`...)
	b = strconv.AppendInt(b, c.Version, 10)
	b = append(b, `,"ts_ns":`...)
	b = strconv.AppendInt(b, c.Version*1000, 10) // it overflows for versions beyond a time, as Debezium's does
	b = append(b, `,"cluster":"embedded","file":"changes","pos":`...)
	b = strconv.AppendInt(b, c.Position, 10)
	b = append(b, `,"keyspace":"`+Keyspace+`","table":"`...)
	b = append(b, c.Table...)
	return append(b, `"},"after":{`...)
}

func floorMilli(micro int64) int64 { return time.UnixMicro(micro).UnixMilli() }

func appendCell(b []byte, name string, value any) []byte {
	b = appendString(b, name)
	b = appendField(append(b, ":{"...), "value", value)
	return append(b, `,"deletion_ts":null,"set":true}`...)
}

func appendField(b []byte, name string, value any) []byte {
	b = append(appendString(b, name), ':')
	switch v := value.(type) {
	case string:
		return appendString(b, v)
	case int64:
		return strconv.AppendInt(b, v, 10)
	case bool:
		return strconv.AppendBool(b, v)
	case []byte:
		return append(base64.StdEncoding.AppendEncode(append(b, '"'), v), '"')
	}
	return append(b, "null"...)
}

// appendString appends s as JSON. Almost every string of ours needs no escape.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' {
			return appendQuoted(b, s)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// appendQuoted leaves <, > and & as they are, as Debezium does.
func appendQuoted(b []byte, s string) []byte {
	buf := bytes.NewBuffer(b)
	e := json.NewEncoder(buf)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string cannot fail
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
}
