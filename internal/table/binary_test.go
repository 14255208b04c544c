package table_test

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"darkroom/internal/table"
)

func TestBinaryComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawMutation(t)
		b, err := want.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		var got table.Mutation
		if err := got.UnmarshalBinary(b); err != nil {
			t.Fatal(err)
		}
		if !equalMutations(got, want) {
			t.Fatalf("got %+v, want %+v", got, want)
		}
		again, err := got.AppendBinary([]byte("before"))
		if err != nil || !bytes.Equal(again, append([]byte("before"), b...)) {
			t.Fatalf("not deterministic: %x, then %x, %v", b, again, err)
		}
	})
}

func TestBinaryRefusesACutMessage(t *testing.T) {
	b, err := mixed.Mutation(Mixed{PText: "partition", CBlob: []byte{1, 2}, Version: 1 << 60}).MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	var m table.Mutation
	for n := range b {
		if err := m.UnmarshalBinary(b[:n]); err == nil {
			t.Errorf("the first %d of %d bytes are taken for a mutation", n, len(b))
		}
	}
	if err := m.UnmarshalBinary(append(b, 0)); err == nil {
		t.Error("a byte after the end is passed over")
	}
}

// One row has one form: its names ascend, so none comes twice.
func TestBinaryRefusesNamesOutOfOrder(t *testing.T) {
	for _, names := range []string{"ba", "aa"} {
		b := []byte{2, 1, names[0], byte(table.Boolean), 1, 1, names[1], byte(table.Boolean), 0}
		var row table.Row
		if err := row.UnmarshalBinary(b); err == nil {
			t.Errorf("names %q give %v", names, row)
		}
	}
}

func TestBinaryRefusesOtherGoTypes(t *testing.T) {
	if _, err := (table.Mutation{Row: table.Row{"a": 1}}).MarshalBinary(); err == nil {
		t.Error("an int is encoded")
	}
	if _, err := (table.Row{string(make([]byte, 100)): "x"}).MarshalBinary(); err == nil {
		t.Error("a name of 100 bytes is encoded")
	}
}

func FuzzMutationUnmarshalBinary(f *testing.F) {
	for _, m := range []table.Mutation{
		mixed.Mutation(Mixed{PText: "a", CBlob: []byte("b"), Version: -3}),
		{Table: "image", Row: table.Row{"image_id": "x", "tenant": nil}},
		{Table: "image", Row: table.Row{"image_id": "x"}, Delete: true, Version: 9},
	} {
		b, err := m.MarshalBinary()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte{1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, b []byte) {
		var m, again table.Mutation
		if m.UnmarshalBinary(b) != nil {
			return
		}
		encoded, err := m.MarshalBinary()
		if err != nil {
			t.Fatalf("what was decoded cannot be encoded: %v", err)
		}
		if err := again.UnmarshalBinary(encoded); err != nil || !equalMutations(m, again) {
			t.Fatalf("got %+v, %v, want %+v", again, err, m)
		}
	})
}
