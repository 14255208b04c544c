package table_test

import (
	"bytes"
	"maps"
	"math"
	"slices"

	"pgregory.net/rapid"

	"darkroom/internal/table"
)

// Mixed has a column of each type in each role.
type Mixed struct {
	PText   string `cql:"p_text,partition"`
	PInt    int64  `cql:"p_int,partition"`
	CBlob   []byte `cql:"c_blob,clustering"`
	CBool   bool   `cql:"c_bool,clustering"`
	Text    string `cql:"text"`
	Blob    []byte `cql:"blob"`
	Flag    bool   `cql:"flag"`
	Version int64  `cql:"version,version"`
}

var mixed = table.Define[Mixed]("table_test_mixed")

func drawMixed(t *rapid.T) Mixed {
	blob := rapid.SliceOf(rapid.Byte())
	return Mixed{
		PText: rapid.String().Draw(t, "p_text"), PInt: rapid.Int64().Draw(t, "p_int"),
		CBlob: blob.Draw(t, "c_blob"), CBool: rapid.Bool().Draw(t, "c_bool"),
		Text: rapid.String().Draw(t, "text"), Blob: blob.Draw(t, "blob"),
		Flag: rapid.Bool().Draw(t, "flag"), Version: rapid.Int64Min(math.MinInt64+1).Draw(t, "version"),
	}
}

// drawMutation makes a whole or partial upsert, with cells deleted, or a row deletion.
func drawMutation(t *rapid.T) table.Mutation {
	row := drawMixed(t)
	m := mixed.Mutation(row)
	if rapid.Bool().Draw(t, "delete") {
		return table.Mutation{Table: m.Table, Row: mixed.Key(row), Delete: true, Version: m.Version}
	}
	for _, name := range []string{"text", "blob", "flag", "version"} {
		switch rapid.IntRange(0, 2).Draw(t, "cell") {
		case 0:
			delete(m.Row, name)
		case 1:
			m.Row[name] = nil
		}
	}
	return m
}

// equalMutations compares two mutations, taking a nil Blob for an empty one.
func equalMutations(a, b table.Mutation) bool {
	return a.Table == b.Table && a.Delete == b.Delete && a.Version == b.Version && maps.EqualFunc(a.Row, b.Row, equalValues)
}

func equalValues(a, b any) bool {
	x, isBlob := a.([]byte)
	y, areBlobs := b.([]byte)
	if isBlob && areBlobs {
		return bytes.Equal(x, y)
	}
	return !isBlob && !areBlobs && a == b
}

func names(tables []table.Table) []string {
	var out []string
	for _, t := range tables {
		out = append(out, t.Name)
	}
	return slices.Sorted(slices.Values(out))
}
