package table

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The binary form of a mutation, version 1. It describes itself, so that it can be read without the table; equal
// mutations have equal forms.
//
//	mutation = 0x01 | flags (bit 0: delete) | table | version (zigzag varint) | row
//	row      = count (uvarint) | count × cell, in the ascending order of their names
//	cell     = name | type (0: nil) | value
//	value    = bytes for Text and Blob, eight bytes big endian for BigInt, 0 or 1 for Boolean
//	name, table, bytes = length (uvarint) | that many bytes
const (
	binaryVersion = 1
	flagDelete    = 1
	typeNil       = 0
)

var errMalformed = errors.New("malformed")

// AppendBinary appends the mutation's binary form to b. It fails on a value that has no Type, and on names and counts
// that no table has.
func (m Mutation) AppendBinary(b []byte) ([]byte, error) {
	if len(m.Table) > maxName {
		return nil, errors.New("encode mutation: the table's name is too long")
	}
	var flags byte
	if m.Delete {
		flags = flagDelete
	}
	b = append(b, binaryVersion, flags)
	b = appendBytes(b, m.Table)
	b = binary.AppendVarint(b, m.Version)
	b, err := m.Row.AppendBinary(b)
	if err != nil {
		return nil, fmt.Errorf("encode mutation of %s: %w", m.Table, err)
	}
	return b, nil
}

// MarshalBinary returns the mutation's binary form.
func (m Mutation) MarshalBinary() ([]byte, error) { return m.AppendBinary(nil) }

// UnmarshalBinary reads what MarshalBinary wrote. The mutation shares no memory with b, and a nil Blob comes back as an
// empty one. It does not check the mutation against its table.
func (m *Mutation) UnmarshalBinary(b []byte) error {
	d := decoder{rest: b}
	version, flags := d.byte(), d.byte()
	if d.err == nil && (version != binaryVersion || flags > flagDelete) {
		return fmt.Errorf("decode mutation: %w: form %d, flags %d", errMalformed, version, flags)
	}
	out := Mutation{Delete: flags == flagDelete}
	out.Table = d.name()
	out.Version = d.varint()
	out.Row = d.row()
	if err := d.finish(); err != nil {
		return fmt.Errorf("decode mutation: %w", err)
	}
	*m = out
	return nil
}

// AppendBinary appends the row's binary form to b. It fails on a value that has no Type, and on names and counts that no
// table has.
func (r Row) AppendBinary(b []byte) ([]byte, error) {
	if len(r) > maxColumns {
		return nil, fmt.Errorf("%d columns are too many", len(r))
	}
	b = binary.AppendUvarint(b, uint64(len(r)))
	for _, name := range sortedNames(r) {
		if len(name) > maxName {
			return nil, errors.New("a column's name is too long")
		}
		b = appendBytes(b, name)
		switch v := r[name].(type) {
		case nil:
			b = append(b, typeNil)
		case string:
			b = appendBytes(append(b, byte(Text)), v)
		case int64:
			b = binary.BigEndian.AppendUint64(append(b, byte(BigInt)), uint64(v))
		case bool:
			b = append(b, byte(Boolean), boolByte(v))
		case []byte:
			b = appendBytes(append(b, byte(Blob)), v)
		default:
			return nil, fmt.Errorf("column %s: no column type for %T", name, v)
		}
	}
	return b, nil
}

// MarshalBinary returns the row's binary form.
func (r Row) MarshalBinary() ([]byte, error) { return r.AppendBinary(nil) }

// UnmarshalBinary reads what MarshalBinary wrote. The row shares no memory with b.
func (r *Row) UnmarshalBinary(b []byte) error {
	d := decoder{rest: b}
	out := d.row()
	if err := d.finish(); err != nil {
		return fmt.Errorf("decode row: %w", err)
	}
	*r = out
	return nil
}

func appendBytes[T string | []byte](b []byte, v T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

func boolByte(v bool) byte {
	if v {
		return 1
	}
	return 0
}

// decoder reads the binary form. After an error, err is set and all that it returns is zero.
type decoder struct {
	rest []byte
	err  error
}

func (d *decoder) fail(what string) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", errMalformed, what)
	}
	d.rest = nil
}

func (d *decoder) finish() error {
	if d.err == nil && len(d.rest) > 0 {
		d.fail("bytes after the end")
	}
	return d.err
}

func (d *decoder) take(n uint64) []byte {
	if n > uint64(len(d.rest)) {
		d.fail("it ends early")
		return nil
	}
	out := d.rest[:n]
	d.rest = d.rest[n:]
	return out
}

func (d *decoder) byte() byte {
	if b := d.take(1); len(b) == 1 {
		return b[0]
	}
	return 0
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 {
		d.fail("a bad number")
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.rest)
	if n <= 0 {
		d.fail("a bad number")
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) name() string {
	n := d.uvarint()
	if n > maxName {
		d.fail("a name is too long")
		return ""
	}
	return string(d.take(n))
}

func (d *decoder) row() Row {
	count := d.uvarint()
	if count > maxColumns {
		d.fail("too many columns")
		return nil
	}
	// A cell takes at least two bytes, which keeps a false count from reserving memory.
	row := make(Row, min(count, uint64(len(d.rest)/2)))
	last := ""
	for i := range count {
		name := d.name()
		if i > 0 && name <= last {
			d.fail("names are not in order")
		}
		value := d.value()
		if d.err != nil {
			return nil
		}
		row[name], last = value, name
	}
	return row
}

func (d *decoder) value() any {
	switch t := d.byte(); Type(t) {
	case typeNil:
		return nil
	case Text:
		return string(d.take(d.uvarint()))
	case BigInt:
		if b := d.take(8); len(b) == 8 {
			return int64(binary.BigEndian.Uint64(b))
		}
	case Boolean:
		if b := d.byte(); b <= 1 {
			return b == 1
		}
		d.fail("a boolean is neither 0 nor 1")
	case Blob:
		return append([]byte{}, d.take(d.uvarint())...)
	default:
		d.fail(fmt.Sprintf("unknown type %d", t))
	}
	return nil
}
