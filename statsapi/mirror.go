package statsapi

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"darkroom/internal/table"
)

const versionColumn = table.VersionColumn

// mirror is the copy of one table: how a change becomes a row, and how rows get into the database.
type mirror struct {
	table   table.Table
	columns []table.Column // key columns first, without the version
	upsert  string
}

var progressMirror = newMirror(table.Progresses.Table())

// mirrors are the tables that are copied, in the order in which a transaction writes them.
var mirrors = []*mirror{
	newMirror(table.Images.Table()),
	newMirror(table.HashBands.Table()),
	newMirror(table.AllImageStats.Table()),
	progressMirror,
}

// mirrorOf are the mirrors by their topic, and topics all of their topics.
var mirrorOf, topics = func() (map[string]*mirror, []string) {
	byTopic, names := map[string]*mirror{}, []string{}
	for _, m := range mirrors {
		topic := table.ChangeTopic(m.table.Name)
		byTopic[topic], names = m, append(names, topic)
	}
	return byTopic, names
}()

func newMirror(t table.Table) *mirror {
	m := &mirror{table: t, columns: t.Key()}
	for _, c := range t.Regular {
		if c.Name != versionColumn {
			m.columns = append(m.columns, c)
		}
	}
	m.upsert = m.upsertSQL()
	return m
}

// row is a row of a mirror.
type row struct {
	cells   []any // string, int64 or bool, one for each of the mirror's columns
	version int64
	gone    bool // the store deleted the row; cells that are not of the key are zero
}

// errTable marks a record of another table than its topic's.
var errTable = errors.New("the record is of another table than its topic")

// errTime marks a record with a time that no answer can hold.
var errTime = errors.New("the time is outside the years 0 to 9999")

// shownTimes are the columns with times that answers hold.
var shownTimes = []string{"uploaded_at", "complete_to"}

var (
	firstShowable = time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
	endOfShowable = time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
)

// isShowable reports whether JSON can hold a time.
func isShowable(micro int64) bool { return firstShowable <= micro && micro < endOfShowable }

// read makes a row of a record.
func (m *mirror) read(r *kgo.Record) (row, error) {
	c, err := table.DecodeChange(r.Value)
	if err != nil {
		return row{}, err
	}
	if c.Table != m.table.Name {
		return row{}, fmt.Errorf("%w: %s", errTable, c.Table)
	}
	out := row{cells: make([]any, len(m.columns)), version: c.Version, gone: c.Op == table.OpDelete}
	// The envelope's version is that of the whole write, which may be a batch of several rows; the row's own is exact.
	if v, ok := c.Row[versionColumn].(int64); ok && !out.gone {
		out.version = v
	}
	for i, col := range m.columns {
		out.cells[i] = stored(col, c.Row[col.Name])
		if micro, ok := out.cells[i].(int64); ok && slices.Contains(shownTimes, col.Name) && !isShowable(micro) {
			return row{}, fmt.Errorf("%w: %s is %d", errTime, col.Name, micro)
		}
	}
	return out, nil
}

// stored is a value as PostgreSQL can hold it: it has no U+0000 in text. An absent cell is zero.
func stored(col table.Column, value any) any {
	switch v := value.(type) {
	case string:
		return strings.ReplaceAll(v, "\x00", "\uFFFD")
	case int64, bool:
		return v
	}
	switch col.Type {
	case table.BigInt:
		return int64(0)
	case table.Boolean:
		return false
	}
	return ""
}

// cell is the row's value of a column that the table has.
func (m *mirror) cell(r row, name string) any {
	i := slices.IndexFunc(m.columns, func(c table.Column) bool { return c.Name == name })
	return r.cells[i]
}

// key identifies the row among those of its mirror. Text holds no U+0000, so the parts cannot run into one another.
func (m *mirror) key(r row) string {
	var b strings.Builder
	for i := range m.table.Key() {
		fmt.Fprintf(&b, "%v\x00", r.cells[i])
	}
	return b.String()
}

// join is the row that two writes to one row make: what upsertSQL does with a row that is there already.
func join(a, b row) row {
	switch {
	case a.version != b.version:
		if a.version > b.version {
			return a
		}
		return b
	case a.gone != b.gone:
		if a.gone {
			return a
		}
		return b
	}
	cells := make([]any, len(a.cells))
	for i := range cells {
		cells[i] = greater(a.cells[i], b.cells[i])
	}
	return row{cells: cells, version: a.version, gone: a.gone}
}

func greater(a, b any) any {
	switch x := a.(type) {
	case string:
		return max(x, b.(string))
	case int64:
		return max(x, b.(int64))
	}
	return a.(bool) || b.(bool)
}

// joined leaves one row for each key, since one upsert cannot write a row twice.
func (m *mirror) joined(rows []row) []row {
	at := make(map[string]int, len(rows))
	var out []row
	for _, r := range rows {
		k := m.key(r)
		if i, ok := at[k]; ok {
			out[i] = join(out[i], r)
			continue
		}
		at[k] = len(out)
		out = append(out, r)
	}
	return out
}

// arguments are the rows as upsertSQL takes them: an array for each column, then versions and gone.
func (m *mirror) arguments(rows []row) []any {
	args := make([]any, 0, len(m.columns)+2)
	for i, col := range m.columns {
		switch col.Type {
		case table.BigInt:
			args = append(args, column[int64](rows, i))
		case table.Boolean:
			args = append(args, column[bool](rows, i))
		default:
			args = append(args, column[string](rows, i))
		}
	}
	versions, gone := make([]int64, len(rows)), make([]bool, len(rows))
	for i, r := range rows {
		versions[i], gone[i] = r.version, r.gone
	}
	return append(args, versions, gone)
}

func column[T any](rows []row, i int) []T {
	out := make([]T, len(rows))
	for n, r := range rows {
		out[n] = r.cells[i].(T)
	}
	return out
}
