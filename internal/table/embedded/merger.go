package embedded

import (
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2"
)

// mergerName is stored in every database, which refuses to open under another one: it must never change.
const mergerName = "darkroom.cells.v1"

var merger = &pebble.Merger{
	Name: mergerName,
	Merge: func(_, value []byte) (pebble.ValueMerger, error) {
		m := &rowMerger{}
		return m, m.add(value)
	},
}

// rowMerger joins the states of one row. Whether an operand is newer in the order of writing makes no difference.
type rowMerger struct {
	state   rowState
	operand []cell // room for the next operand's cells
	spare   []cell // room for the next join
}

func (m *rowMerger) MergeNewer(value []byte) error { return m.add(value) }
func (m *rowMerger) MergeOlder(value []byte) error { return m.add(value) }

func (m *rowMerger) Finish(bool) ([]byte, io.Closer, error) { return m.state.appendTo(nil), nil, nil }

func (m *rowMerger) add(value []byte) error {
	owned := append([]byte(nil), value...) // the caller reuses its own
	operand, err := decodeState(owned, m.operand[:0])
	if err != nil {
		return fmt.Errorf("merge row: %w", err)
	}
	m.operand = operand.cells
	joined := join(m.state, operand, m.spare[:0])
	m.spare = m.state.cells
	m.state = joined
	return nil
}
