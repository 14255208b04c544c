package embedded

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"slices"

	"darkroom/internal/table"
)

// rowState is all that the store knows of one row. States form a join-semilattice: join is commutative, associative and
// idempotent, so that a row depends on the set of its mutations alone.
type rowState struct {
	deletion stamp
	marker   stamp
	cells    []cell // ascending by name; none is hidden by the deletion
}

// stamp is a version that may be absent.
type stamp struct {
	set     bool
	version int64
}

// cell is one column's latest write. Its slices belong to the bytes that it was decoded from.
type cell struct {
	name    []byte
	version int64
	typ     table.Type // 0: the cell was deleted
	value   []byte     // as Cassandra serialises the type
}

// The stored form of a row:
//
//	flags | deletion (8 bytes, if flagged) | marker (8 bytes, if flagged) | cells until the end
//	cell = name length (uvarint) | name | kind | version (8 bytes, if flagged) | value length (uvarint) | value
//
// A kind is a type, with a flag when the cell's version is not the marker's. A deleted cell has no value. Integers are
// big endian. The form of a state is unique. Databases hold it, so it cannot change under its Merger's name.
const (
	flagDeletion   = 1
	flagMarker     = 2
	flagOwnVersion = 0x80
)

var errCorrupt = errors.New("corrupt row")

func (s stamp) covers(version int64) bool { return s.set && version <= s.version }

func later(a, b stamp) stamp {
	if !a.set || (b.set && b.version > a.version) {
		return b
	}
	return a
}

// compareCells orders two writes of one cell: the greater one wins.
func compareCells(a, b cell) int {
	aDeleted, bDeleted := a.typ == 0, b.typ == 0
	switch {
	case a.version != b.version:
		return cmp.Compare(a.version, b.version)
	case aDeleted != bDeleted:
		if aDeleted {
			return 1
		}
		return -1
	}
	return cmp.Or(bytes.Compare(a.value, b.value), cmp.Compare(a.typ, b.typ))
}

// join is the state after the mutations of both. The result's cells are appended to room.
func join(a, b rowState, room []cell) rowState {
	out := rowState{deletion: later(a.deletion, b.deletion), marker: later(a.marker, b.marker), cells: room}
	if out.marker.set && out.deletion.covers(out.marker.version) {
		out.marker = stamp{}
	}
	for len(a.cells) > 0 || len(b.cells) > 0 {
		var winner cell
		switch order := compareNames(a.cells, b.cells); {
		case order < 0:
			winner, a.cells = a.cells[0], a.cells[1:]
		case order > 0:
			winner, b.cells = b.cells[0], b.cells[1:]
		default:
			winner = a.cells[0]
			if compareCells(b.cells[0], winner) > 0 {
				winner = b.cells[0]
			}
			a.cells, b.cells = a.cells[1:], b.cells[1:]
		}
		if !out.deletion.covers(winner.version) {
			out.cells = append(out.cells, winner)
		}
	}
	return out
}

// compareNames compares the first names of two lists, of which at most one is empty.
func compareNames(a, b []cell) int {
	if len(a) == 0 {
		return 1
	}
	if len(b) == 0 {
		return -1
	}
	return bytes.Compare(a[0].name, b[0].name)
}

// stateOf is the state of a row that this checked mutation alone was applied to.
func stateOf(t table.Table, m table.Mutation) rowState {
	if m.Delete {
		return rowState{deletion: stamp{true, m.Version}}
	}
	s := rowState{marker: stamp{true, m.Version}, cells: make([]cell, 0, len(t.Regular))}
	for _, c := range t.Regular {
		if value, ok := m.Row[c.Name]; ok {
			typ, serialised := serialise(value)
			s.cells = append(s.cells, cell{name: []byte(c.Name), version: m.Version, typ: typ, value: serialised})
		}
	}
	slices.SortFunc(s.cells, func(a, b cell) int { return bytes.Compare(a.name, b.name) })
	return s
}

func serialise(value any) (table.Type, []byte) {
	switch v := value.(type) {
	case string:
		return table.Text, []byte(v)
	case int64:
		return table.BigInt, binary.BigEndian.AppendUint64(nil, uint64(v))
	case bool:
		if v {
			return table.Boolean, []byte{1}
		}
		return table.Boolean, []byte{0}
	case []byte:
		return table.Blob, v
	}
	return 0, nil
}

// addTo adds the live cells to the row. It reports whether the row exists.
func (s rowState) addTo(row table.Row) bool {
	exists := s.marker.set
	for _, c := range s.cells {
		if c.typ != 0 {
			exists = true
			row[string(c.name)] = c.deserialise()
		}
	}
	return exists
}

func (c cell) deserialise() any {
	switch c.typ {
	case table.Text:
		return string(c.value)
	case table.BigInt:
		return int64(binary.BigEndian.Uint64(c.value))
	case table.Boolean:
		return c.value[0] == 1
	}
	return append([]byte{}, c.value...)
}

func (s rowState) appendTo(b []byte) []byte {
	flags := len(b)
	b = append(b, 0)
	if s.deletion.set {
		b[flags] |= flagDeletion
		b = binary.BigEndian.AppendUint64(b, uint64(s.deletion.version))
	}
	if s.marker.set {
		b[flags] |= flagMarker
		b = binary.BigEndian.AppendUint64(b, uint64(s.marker.version))
	}
	for _, c := range s.cells {
		b = binary.AppendUvarint(b, uint64(len(c.name)))
		b = append(b, c.name...)
		if s.marker.set && c.version == s.marker.version {
			b = append(b, byte(c.typ))
		} else {
			b = append(b, byte(c.typ)|flagOwnVersion)
			b = binary.BigEndian.AppendUint64(b, uint64(c.version))
		}
		if c.typ != 0 {
			b = binary.AppendUvarint(b, uint64(len(c.value)))
			b = append(b, c.value...)
		}
	}
	return b
}

// decodeState reads a stored row. The state keeps slices of b; its cells are appended to room.
func decodeState(b []byte, room []cell) (rowState, error) {
	r := reader{rest: b}
	flags := r.byte()
	s := rowState{cells: room}
	if flags&flagDeletion != 0 {
		s.deletion = stamp{true, r.int64()}
	}
	if flags&flagMarker != 0 {
		s.marker = stamp{true, r.int64()}
	}
	for len(r.rest) > 0 {
		c := cell{name: r.bytes(), version: s.marker.version}
		kind := r.byte()
		if kind&flagOwnVersion != 0 {
			c.version = r.int64()
		} else if !s.marker.set {
			r.bad = true
		}
		c.typ = table.Type(kind &^ flagOwnVersion)
		if c.typ != 0 {
			c.value = r.bytes()
		}
		if n := len(s.cells); r.bad || !c.wellFormed() || (n > 0 && bytes.Compare(s.cells[n-1].name, c.name) >= 0) {
			return rowState{}, errCorrupt
		}
		s.cells = append(s.cells, c)
	}
	if r.bad || flags > flagDeletion|flagMarker {
		return rowState{}, errCorrupt
	}
	return s, nil
}

func (c cell) wellFormed() bool {
	switch c.typ {
	case 0, table.Text, table.Blob:
		return true
	case table.BigInt:
		return len(c.value) == 8
	case table.Boolean:
		return len(c.value) == 1 && c.value[0] <= 1
	}
	return false
}

// reader reads stored bytes. After bad is set, all that it returns is zero.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.rest)) {
		r.bad, r.rest = true, nil
		return nil
	}
	out := r.rest[:n:n]
	r.rest = r.rest[n:]
	return out
}

func (r *reader) byte() byte {
	if b := r.take(1); len(b) == 1 {
		return b[0]
	}
	return 0
}

func (r *reader) int64() int64 {
	if b := r.take(8); len(b) == 8 {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.bad, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *reader) bytes() []byte { return r.take(r.uvarint()) }
