package embedded

import (
	"encoding/binary"
	"fmt"

	"darkroom/internal/table"
)

// The first byte of a key in pebble.
const (
	dataSpace = 'd' // d | table | 0 | partition columns | clustering columns: a row
	logSpace  = 'l' // l | sequence number: a change to be published
)

// Text and blobs end with a terminator that sorts before everything that may follow, and their zero bytes are escaped,
// so that the order of the encoded keys is that of the values, column by column.
const (
	escape     = 0x00
	escaped    = 0xFF
	terminator = 0x01
)

func appendTable(b []byte, name string) []byte {
	b = append(b, dataSpace)
	b = append(b, name...)
	return append(b, 0)
}

func appendColumns(b []byte, columns []table.Column, row table.Row) []byte {
	for _, c := range columns {
		b = appendKeyValue(b, row[c.Name])
	}
	return b
}

// appendKeyValue appends a key column, which has been checked.
func appendKeyValue(b []byte, value any) []byte {
	switch v := value.(type) {
	case string:
		return appendEscaped(b, []byte(v))
	case []byte:
		return appendEscaped(b, v)
	case int64:
		return binary.BigEndian.AppendUint64(b, uint64(v)^1<<63)
	case bool:
		if v {
			return append(b, 1)
		}
		return append(b, 0)
	}
	panic(fmt.Sprintf("key column of type %T", value)) // Check has let it pass: a bug
}

func appendEscaped(b, v []byte) []byte {
	for _, c := range v {
		b = append(b, c)
		if c == escape {
			b = append(b, escaped)
		}
	}
	return append(b, escape, terminator)
}

func rowKey(t table.Table, row table.Row) []byte {
	return appendColumns(appendTable(nil, t.Name), t.Key(), row)
}

// keyColumns reads the key columns back.
func keyColumns(t table.Table, key []byte) (table.Row, error) {
	rest := key[len(t.Name)+2:]
	row := make(table.Row, len(t.Partition)+len(t.Clustering)+len(t.Regular))
	for _, c := range t.Key() {
		value, n := decodeKeyValue(c.Type, rest)
		if n == 0 {
			return nil, fmt.Errorf("read key of %s: column %s is cut", t.Name, c.Name)
		}
		row[c.Name], rest = value, rest[n:]
	}
	return row, nil
}

// decodeKeyValue returns the value and its encoded length, zero if it is cut.
func decodeKeyValue(t table.Type, b []byte) (value any, n int) {
	switch t {
	case table.BigInt:
		if len(b) < 8 {
			return nil, 0
		}
		return int64(binary.BigEndian.Uint64(b) ^ 1<<63), 8
	case table.Boolean:
		if len(b) < 1 {
			return nil, 0
		}
		return b[0] == 1, 1
	}
	raw := []byte{}
	for i := 0; i+1 < len(b); i++ {
		if b[i] != escape {
			raw = append(raw, b[i])
			continue
		}
		if b[i+1] == terminator {
			if t == table.Text {
				return string(raw), i + 2
			}
			return raw, i + 2
		}
		raw = append(raw, escape)
		i++
	}
	return nil, 0
}

// bounds are the first key of a query and the first behind it.
func bounds(t table.Table, q table.Query) (lower, upper []byte) {
	base := appendTable(nil, t.Name)
	if q.Partition == nil {
		return base, successor(base)
	}
	base = appendColumns(base, t.Partition, q.Partition)
	lower, upper = base, successor(base)
	if q.From != nil {
		lower = base[:len(base):len(base)]
		for _, v := range q.From {
			lower = appendKeyValue(lower, v)
		}
	}
	if q.To != nil {
		upper = base[:len(base):len(base)]
		for _, v := range q.To {
			upper = appendKeyValue(upper, v)
		}
	}
	return lower, upper
}

// successor is the first key behind all that begin with the prefix.
func successor(prefix []byte) []byte {
	s := append([]byte(nil), prefix...)
	for i := len(s) - 1; i >= 0; i-- {
		if s[i]++; s[i] != 0 {
			return s[:i+1]
		}
	}
	return nil // all 0xFF: pebble's open end; no key of ours begins so
}

func logKey(seq uint64) []byte { return binary.BigEndian.AppendUint64([]byte{logSpace}, seq) }
