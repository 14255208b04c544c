package cassandra

import (
	"encoding/binary"

	"darkroom/internal/table"
)

// A batch has at most maxStatements and about maxBytes: a node takes it as one mutation, which its commit log bounds to
// half a segment and one thread applies.
const (
	maxStatements = 100
	maxBytes      = 128 << 10
)

// group is what one request writes: mutations of different rows of one partition.
//
// Cassandra logs a batch of one partition as one write, and Debezium tells what it made of each row: of a deletion with
// its own timestamp, of an upsert with the greatest in the batch. So a group holds either one version or mutations that
// tell theirs, and of each row one mutation.
type group struct {
	muts  []table.Mutation
	rows  map[string]bool // by key
	bytes int
	same  bool // all mutations have one version
	told  bool // every mutation tells its version
}

// groups splits mutations by partition and size. Within a partition the order stays.
func groups(muts []table.Mutation) []*group {
	var all []*group
	open := map[string]*group{} // the group that still takes mutations, by partition
	var partition, row []byte
	for _, m := range muts {
		t, _ := table.Lookup(m.Table) // it has been checked
		partition = appendValues(appendString(partition[:0], m.Table), t.Partition, m.Row)
		row = appendValues(row[:0], t.Clustering, m.Row)
		g := open[string(partition)]
		if g == nil || !g.takes(m, row) {
			g = &group{rows: map[string]bool{}, same: true, told: true}
			open[string(partition)] = g
			all = append(all, g)
		}
		g.add(m, row)
	}
	return all
}

func (g *group) takes(m table.Mutation, row []byte) bool {
	return len(g.muts) < maxStatements && g.bytes+sizeOf(m) <= maxBytes && !g.rows[string(row)] &&
		(g.same && m.Version == g.muts[0].Version || g.told && tells(m))
}

func (g *group) add(m table.Mutation, row []byte) {
	g.muts = append(g.muts, m)
	g.rows[string(row)] = true
	g.bytes += sizeOf(m)
	g.same = g.same && m.Version == g.muts[0].Version
	g.told = g.told && tells(m)
}

// tells reports whether a consumer of changes learns the mutation's version also when it was in a batch.
func tells(m table.Mutation) bool {
	version, ok := m.Row[table.VersionColumn].(int64)
	return m.Delete || ok && version == m.Version
}

func sizeOf(m table.Mutation) (n int) {
	for _, value := range m.Row {
		switch v := value.(type) {
		case string:
			n += len(v)
		case []byte:
			n += len(v)
		}
		n += 8 // a number, or a value's length and flags
	}
	return n
}

// appendValues appends what tells these values of the columns from all others.
func appendValues(b []byte, columns []table.Column, row table.Row) []byte {
	for _, c := range columns {
		switch v := row[c.Name].(type) {
		case string:
			b = appendString(b, v)
		case []byte:
			b = appendString(b, v)
		case int64:
			b = binary.BigEndian.AppendUint64(b, uint64(v))
		case bool:
			if v {
				b = append(b, 1)
			} else {
				b = append(b, 0)
			}
		}
	}
	return b
}

func appendString[T string | []byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}
