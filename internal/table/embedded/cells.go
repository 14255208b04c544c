package embedded

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"darkroom/internal/table"
)

// mergerName is stored in the database, which opens with no other.
const mergerName = "darkroom.cells.v1"

// cells is what a store keeps of one row: of each cell, of the row's marker and of its deletion the newest write. Merging
// two is taking the newer of each, so it does not matter in what order, how often or in what groups writes are merged.
type cells struct {
	deleted int64 // version of the newest deletion of the row; minVersion if none
	marker  int64 // version of the newest upsert
	byName  map[string]cell
}

// minVersion stands for no write at all.
const minVersion = -1 << 63

type cell struct {
	version int64
	value   any // nil: deleted
}

func newCells() *cells {
	return &cells{deleted: minVersion, marker: minVersion, byName: map[string]cell{}}
}

// cellsOf is the effect of one mutation.
func cellsOf(t table.Table, m table.Mutation) *cells {
	c := newCells()
	if m.Delete {
		c.deleted = m.Version
		return c
	}
	c.marker = m.Version
	for _, col := range t.Regular {
		if value, ok := m.Row[col.Name]; ok {
			c.byName[col.Name] = cell{m.Version, value}
		}
	}
	return c
}

func (c *cells) merge(o *cells) {
	c.deleted, c.marker = max(c.deleted, o.deleted), max(c.marker, o.marker)
	for name, theirs := range o.byName {
		if ours, ok := c.byName[name]; !ok || theirs.beats(ours) {
			c.byName[name] = theirs
		}
	}
}

// beats decides between two writes of one cell, as Cassandra does: the newer one; of two of one version a deletion; of
// two values the greater in bytes.
func (a cell) beats(b cell) bool {
	if a.version != b.version {
		return a.version > b.version
	}
	if a.value == nil || b.value == nil {
		return a.value == nil && b.value != nil
	}
	return bytes.Compare(serialized(a.value), serialized(b.value)) > 0
}

func serialized(value any) []byte {
	switch v := value.(type) {
	case string:
		return []byte(v)
	case []byte:
		return v
	case int64:
		return binary.BigEndian.AppendUint64(nil, uint64(v))
	case bool:
		if v {
			return []byte{1}
		}
	}
	return []byte{0}
}

// row adds the live cells to the key columns, and reports whether the row exists.
func (c *cells) row(key table.Row) bool {
	live := c.marker > c.deleted
	for name, cell := range c.byName {
		if cell.version > c.deleted && cell.value != nil {
			key[name], live = cell.value, true
		}
	}
	return live
}

// The stored form: deleted, marker, and for each cell its version and a row of one column, in the order of the names.
func (c *cells) encode() ([]byte, error) {
	b := binary.AppendVarint(binary.AppendVarint(nil, c.deleted), c.marker)
	for _, name := range slices.Sorted(maps.Keys(c.byName)) {
		one, err := table.Row{name: c.byName[name].value}.MarshalBinary()
		if err != nil {
			return nil, err
		}
		b = binary.AppendVarint(b, c.byName[name].version)
		b = append(binary.AppendUvarint(b, uint64(len(one))), one...)
	}
	return b, nil
}

var errCut = errors.New("stored row is cut")

func decodeCells(b []byte) (*cells, error) {
	c := newCells()
	r := bytes.NewReader(b)
	var err error
	if c.deleted, err = binary.ReadVarint(r); err != nil {
		return nil, errCut
	}
	if c.marker, err = binary.ReadVarint(r); err != nil {
		return nil, errCut
	}
	for r.Len() > 0 {
		version, err := binary.ReadVarint(r)
		if err != nil {
			return nil, errCut
		}
		n, err := binary.ReadUvarint(r)
		if err != nil || n > uint64(r.Len()) {
			return nil, errCut
		}
		at := len(b) - r.Len()
		var one table.Row
		if err := one.UnmarshalBinary(b[at : at+int(n)]); err != nil {
			return nil, err
		}
		for name, value := range one {
			c.byName[name] = cell{version, value}
		}
		if _, err := r.Seek(int64(n), io.SeekCurrent); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// merger lets pebble merge rows, so that a write needs no read and no lock.
var merger = &pebble.Merger{
	Name: mergerName,
	Merge: func(_, value []byte) (pebble.ValueMerger, error) {
		c, err := decodeCells(value)
		return &valueMerger{c}, err
	},
}

type valueMerger struct{ cells *cells }

func (m *valueMerger) take(value []byte) error {
	c, err := decodeCells(value)
	if err == nil {
		m.cells.merge(c)
	}
	return err
}

func (m *valueMerger) MergeNewer(value []byte) error { return m.take(value) }
func (m *valueMerger) MergeOlder(value []byte) error { return m.take(value) }

func (m *valueMerger) Finish(bool) ([]byte, io.Closer, error) {
	b, err := m.cells.encode()
	return b, nil, err
}
