package cassandra

import (
	"encoding/binary"
	"fmt"

	gocql "github.com/apache/cassandra-gocql-driver/v2"

	"darkroom/internal/table"
)

// unset binds a column that stays as it is.
var unset = gocql.UnsetValue

// cell receives one column of a row that is read.
type cell struct {
	table.Column
	value any // nil: there is none
}

var _ gocql.Unmarshaler = (*cell)(nil)

// UnmarshalCQL implements gocql.Unmarshaler. It alone can tell a value that is not there from an empty one.
func (c *cell) UnmarshalCQL(_ gocql.TypeInfo, data []byte) error {
	if c.value = nil; data == nil {
		return nil
	}
	switch {
	case c.Type == table.Text:
		c.value = string(data)
	case c.Type == table.Blob:
		c.value = append([]byte{}, data...)
	case c.Type == table.BigInt && len(data) == 8:
		c.value = int64(binary.BigEndian.Uint64(data))
	case c.Type == table.Boolean && len(data) == 1:
		c.value = data[0] != 0
	default:
		return fmt.Errorf("column %s: %d bytes are no %s", c.Name, len(data), c.Type)
	}
	return nil
}

// newCells returns where a row is read to, once as the driver takes it.
func newCells(columns []table.Column) ([]cell, []any) {
	cells, dest := make([]cell, len(columns)), make([]any, len(columns))
	for i, c := range columns {
		cells[i].Column = c
		dest[i] = &cells[i]
	}
	return cells, dest
}

func rowOf(cells []cell) table.Row {
	row := make(table.Row, len(cells))
	for _, c := range cells {
		if c.value != nil {
			row[c.Name] = c.value
		}
	}
	return row
}
