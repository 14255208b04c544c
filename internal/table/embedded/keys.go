package embedded

import (
	"encoding/binary"
	"fmt"
	"slices"

	"darkroom/internal/table"
)

// The key space. Rows lie under
//
//	'r' | table | 0x00 | partition columns | clustering columns
//
// where each column is written so that bytes order as values do: a Boolean as one byte, a BigInt big endian with its
// sign bit flipped, and a Text or Blob with 0x00 written as 0x00 0xff and 0x00 0x01 after its end, which puts "a" before
// "a\x00" and both before "ab". Each column's form ends by itself, so the form of a prefix is a prefix of the form.
const (
	spaceRows      = 'r'
	spaceLog       = 'l'
	spaceMeta      = 'm'
	escape         = 0x00
	escapedZero    = 0xff
	escapedEnd     = 0x01
	signBit        = 1 << 63
	afterTableName = 0x00
)

// appendTablePrefix appends what the keys of all rows of a table begin with.
func appendTablePrefix(b []byte, t table.Table) []byte {
	b = append(b, spaceRows)
	b = append(b, t.Name...)
	return append(b, afterTableName)
}

// appendRowKey appends the key of the row. Its key columns have been checked.
func appendRowKey(b []byte, t table.Table, row table.Row) []byte {
	b = appendTablePrefix(b, t)
	b = appendColumns(b, t.Partition, row)
	return appendColumns(b, t.Clustering, row)
}

func appendColumns(b []byte, columns []table.Column, row table.Row) []byte {
	for _, c := range columns {
		b = appendKeyValue(b, row[c.Name])
	}
	return b
}

func appendKeyValue(b []byte, value any) []byte {
	switch v := value.(type) {
	case string:
		return appendEscaped(b, v)
	case []byte:
		return appendEscaped(b, v)
	case int64:
		return binary.BigEndian.AppendUint64(b, uint64(v)^signBit)
	case bool:
		if v {
			return append(b, 1)
		}
		return append(b, 0)
	}
	panic(fmt.Sprintf("key value of type %T was not checked", value))
}

func appendEscaped[T string | []byte](b []byte, v T) []byte {
	for i := range len(v) {
		b = append(b, v[i])
		if v[i] == escape {
			b = append(b, escapedZero)
		}
	}
	return append(b, escape, escapedEnd)
}

// keyRow reads the key columns of a row's key.
func keyRow(t table.Table, key []byte) (table.Row, error) {
	prefix := len(t.Name) + 2
	if len(key) < prefix {
		return nil, errCorrupt
	}
	r := reader{rest: key[prefix:]}
	row := make(table.Row, len(t.Partition)+len(t.Clustering)+len(t.Regular))
	for _, columns := range [][]table.Column{t.Partition, t.Clustering} {
		for _, c := range columns {
			row[c.Name] = r.keyValue(c.Type)
		}
	}
	if r.bad || len(r.rest) > 0 {
		return nil, errCorrupt
	}
	return row, nil
}

func (r *reader) keyValue(t table.Type) any {
	switch t {
	case table.BigInt:
		return int64(uint64(r.int64()) ^ signBit)
	case table.Boolean:
		return r.byte() == 1
	case table.Text:
		return string(r.escaped())
	}
	return r.escaped()
}

func (r *reader) escaped() []byte {
	out := []byte{}
	for {
		b := r.byte()
		if b != escape {
			out = append(out, b)
			continue
		}
		switch r.byte() {
		case escapedZero:
			out = append(out, escape)
		case escapedEnd:
			return out
		default: // also at the end of the bytes, which read as zeroes
			r.bad, r.rest = true, nil
			return nil
		}
	}
}

// span is the range of keys from lower, inclusive, to upper, exclusive.
type span struct{ lower, upper []byte }

// spanOf is where the rows of a checked query lie.
func spanOf(t table.Table, q table.Query) span {
	prefix := appendTablePrefix(nil, t)
	if q.Partition != nil {
		prefix = appendColumns(prefix, t.Partition, q.Partition)
	}
	s := span{lower: prefix, upper: afterPrefix(prefix)}
	if len(q.From) > 0 {
		s.lower = appendBound(prefix, q.From)
	}
	if len(q.To) > 0 {
		s.upper = appendBound(prefix, q.To)
	}
	return s
}

func appendBound(prefix []byte, bound []any) []byte {
	b := slices.Clone(prefix)
	for _, value := range bound {
		b = appendKeyValue(b, value)
	}
	return b
}

// afterPrefix is the first key after all keys that begin with the prefix, whose first byte is below 0xff.
func afterPrefix(prefix []byte) []byte {
	b := slices.Clone(prefix)
	for b[len(b)-1] == 0xff {
		b = b[:len(b)-1]
	}
	b[len(b)-1]++
	return b
}
