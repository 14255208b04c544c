package embedded

import (
	"bytes"
	"cmp"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"darkroom/internal/table"
)

// These tests look inside: a merge that is wrong in one order of a thousand hides well behind the store.

var wide = table.Define[struct {
	Text    string `cql:"text,partition"`
	Num     int64  `cql:"num,clustering"`
	Flag    bool   `cql:"flag,clustering"`
	Data    []byte `cql:"data,clustering"`
	A       string `cql:"a"`
	B       int64  `cql:"b"`
	C       bool   `cql:"c"`
	D       []byte `cql:"d"`
	Version int64  `cql:"version,version"`
}]("embedded_test_wide").Table()

func drawState(t *rapid.T) []byte {
	m := table.Mutation{Row: table.Row{}, Version: rapid.Int64Range(-2, 3).Draw(t, "version"),
		Delete: rapid.IntRange(0, 3).Draw(t, "delete") == 0}
	cells := map[string][]any{"a": {nil, "", "x", "y"}, "b": {nil, int64(-1), int64(1)}, "c": {nil, false, true},
		"d": {nil, []byte{}, []byte{255}}}
	for _, c := range wide.Regular[:4] {
		if rapid.Bool().Draw(t, "set") {
			m.Row[c.Name] = rapid.SampledFrom(cells[c.Name]).Draw(t, c.Name)
		}
	}
	return stateOf(wide, m).appendTo(nil)
}

// merged feeds the operands to the Merger as Pebble does.
func merged(t *rapid.T, operands ...[]byte) []byte {
	m, err := merger.Merge(nil, operands[0])
	for _, operand := range operands[1:] {
		if err != nil {
			break
		}
		if rapid.Bool().Draw(t, "older") {
			err = m.MergeOlder(operand)
		} else {
			err = m.MergeNewer(operand)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	out, _, err := m.Finish(true)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Any order, repetition and grouping of the operands gives the same stored bytes.
func TestMergeIsASemilattice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		operands := rapid.SliceOfN(rapid.Custom(drawState), 1, 8).Draw(t, "operands")
		want := merged(t, operands...)
		shuffled := rapid.Permutation(append(slices.Clone(operands), operands[:len(operands)/2]...)).Draw(t, "shuffled")
		for len(shuffled) > 1 { // merge any neighbours, as compactions do, until one is left
			from := rapid.IntRange(0, len(shuffled)-2).Draw(t, "from")
			to := rapid.IntRange(from+1, len(shuffled)-1).Draw(t, "to") + 1
			group := merged(t, shuffled[from:to]...)
			shuffled = slices.Replace(shuffled, from, to, group)
		}
		if got := merged(t, shuffled[0], want); !bytes.Equal(got, want) || !bytes.Equal(shuffled[0], want) {
			t.Fatalf("one way gives %x, another %x", want, shuffled[0])
		}
	})
}

// The stored form cannot change: databases hold it.
func TestStoredForm(t *testing.T) {
	m := table.Mutation{Version: 258, Row: table.Row{"a": "x", "b": int64(-1), "c": true, "d": nil}}
	newer := table.Mutation{Version: 259, Row: table.Row{"b": int64(1)}}
	deletion := table.Mutation{Version: 3, Delete: true}
	room := join(stateOf(wide, m), stateOf(wide, newer), nil)
	got := join(room, stateOf(wide, deletion), nil).appendTo(nil)
	want := "\x03" + "\x00\x00\x00\x00\x00\x00\x00\x03" + "\x00\x00\x00\x00\x00\x00\x01\x03" +
		"\x01a\x81\x00\x00\x00\x00\x00\x00\x01\x02\x01x" + "\x01b\x02\x08\x00\x00\x00\x00\x00\x00\x00\x01" +
		"\x01c\x83\x00\x00\x00\x00\x00\x00\x01\x02\x01\x01" + "\x01d\x80\x00\x00\x00\x00\x00\x00\x01\x02"
	if string(got) != want {
		t.Errorf("the stored form is %q, want %q", got, want)
	}
	if mergerName != "darkroom.cells.v1" {
		t.Errorf("the merger is named %s", mergerName)
	}
}

func FuzzDecodeState(f *testing.F) {
	cells := table.Row{"a": "x", "b": int64(1), "c": false, "d": nil}
	f.Add(stateOf(wide, table.Mutation{Version: 1, Row: cells}).appendTo(nil))
	f.Add(stateOf(wide, table.Mutation{Version: 1, Delete: true}).appendTo(nil))
	f.Add([]byte{3, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decodeState(b, nil)
		if err != nil {
			return
		}
		s.addTo(table.Row{})
		again, err := decodeState(s.appendTo(nil), nil)
		if err != nil || !bytes.Equal(again.appendTo(nil), s.appendTo(nil)) {
			t.Fatalf("%x does not come back: %v", b, err)
		}
	})
}

func drawKey(t *rapid.T) table.Row {
	text := rapid.StringOf(rapid.SampledFrom([]rune{0, 1, 'a', 255, 'é', '日', 0x10ffff}))
	data := rapid.SliceOf(rapid.SampledFrom([]byte{0, 1, 2, 254, 255}))
	num := rapid.OneOf(rapid.Int64(), rapid.SampledFrom([]int64{math.MinInt64, -1, 0, 1, math.MaxInt64}))
	return table.Row{"text": text.Draw(t, "text"), "num": num.Draw(t, "num"), "flag": rapid.Bool().Draw(t, "flag"),
		"data": data.Draw(t, "data")}
}

func compareKeys(a, b table.Row) int {
	flags := map[bool]int{false: 0, true: 1}
	return cmp.Or(strings.Compare(a["text"].(string), b["text"].(string)), cmp.Compare(a["num"].(int64), b["num"].(int64)),
		cmp.Compare(flags[a["flag"].(bool)], flags[b["flag"].(bool)]), bytes.Compare(a["data"].([]byte), b["data"].([]byte)))
}

// Keys order as their columns do, and come back.
func TestKeysKeepTheOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawKey(t), drawKey(t)
		for _, column := range []string{"text", "num", "flag"} { // else the first column decides almost always
			if rapid.Bool().Draw(t, "same "+column) {
				b[column] = a[column]
			}
		}
		keyA, keyB := appendRowKey(nil, wide, a), appendRowKey(nil, wide, b)
		if got, want := bytes.Compare(keyA, keyB), compareKeys(a, b); got != want {
			t.Fatalf("%v and %v compare as %d, their keys %x and %x as %d", a, b, want, keyA, keyB, got)
		}
		if back, err := keyRow(wide, keyA); err != nil || compareKeys(back, a) != 0 {
			t.Fatalf("%v comes back as %v, %v", a, back, err)
		}
	})
}

func FuzzKeyRow(f *testing.F) {
	f.Add(appendRowKey(nil, wide, table.Row{"text": "a\x00", "num": int64(1), "flag": true, "data": []byte{0}}))
	f.Add([]byte("rembedded_test_wide\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		row, err := keyRow(wide, b)
		if err != nil {
			return
		}
		again, err := keyRow(wide, appendRowKey(nil, wide, row))
		if err != nil || compareKeys(again, row) != 0 {
			t.Fatalf("%x does not come back: %v, %v", b, again, err)
		}
	})
}

// Rows that were merged by flushes and compactions are those that were merged by reads.
func TestCompactionChangesNothing(t *testing.T) {
	s, err := Open(t.Context(), t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	key := func(num int64) table.Row {
		return table.Row{"text": "p", "num": num, "flag": false, "data": []byte{}}
	}
	read := func() (rows []table.Row) {
		for row, err := range s.Scan(t.Context(), table.Query{Table: wide.Name}) {
			if err != nil {
				t.Fatal(err)
			}
			rows = append(rows, row)
		}
		return rows
	}
	for round := range int64(4) {
		var muts []table.Mutation
		for num := range int64(50) {
			m := table.Mutation{Table: wide.Name, Row: key(num), Version: num * 7 % (round + 2)}
			if m.Delete = (num+round)%5 == 0; !m.Delete {
				m.Row["b"], m.Row["a"] = num, []any{nil, "x", "y"}[(num+round)%3]
			}
			muts = append(muts, m)
		}
		if err := s.Apply(t.Context(), muts); err != nil {
			t.Fatal(err)
		}
		before := read()
		if err := s.db.Flush(); err != nil {
			t.Fatal(err)
		}
		flushed := read()
		if err := s.db.Compact(t.Context(), []byte{spaceRows}, []byte{spaceRows + 1}, false); err != nil {
			t.Fatal(err)
		}
		for i, rows := range [][]table.Row{flushed, read()} {
			if !slices.EqualFunc(rows, before, func(a, b table.Row) bool {
				return compareKeys(a, b) == 0 && a["a"] == b["a"] && a["b"] == b["b"]
			}) {
				t.Fatalf("round %d, step %d: %v became %v", round, i, before, rows)
			}
		}
	}
}
