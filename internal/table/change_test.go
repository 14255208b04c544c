package table_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"darkroom/internal/table"
)

func TestChangeIsDebeziumsEnvelope(t *testing.T) {
	at := time.UnixMilli(1700000000123)
	row := table.Row{"p_text": `a"<é`, "p_int": int64(1<<63 - 1), "c_blob": []byte{0, 255}, "c_bool": true, "text": nil,
		"flag": false}
	key, value, err := table.ChangeOf(table.Mutation{Table: "table_test_mixed", Row: row, Version: -1}, at, 42).Encode()
	if err != nil {
		t.Fatal(err)
	}
	wantKey := `{"p_text":"a\"<é","p_int":9223372036854775807,"c_blob":"AP8=","c_bool":true}`
	wantValue := `{"ts_ms":1700000000123,"op":"i","source":{"version":"1","connector":"cassandra","name":"cdc",` +
		`"ts_ms":-1,"snapshot":"false","db":"NULL","sequence":null,"ts_us":-1,"ts_ns":-1000,"cluster":"embedded",` +
		`"file":"changes","pos":42,"keyspace":"darkroom","table":"table_test_mixed"},"after":{` +
		`"p_text":{"value":"a\"<é","deletion_ts":null,"set":true},` +
		`"p_int":{"value":9223372036854775807,"deletion_ts":null,"set":true},` +
		`"c_blob":{"value":"AP8=","deletion_ts":null,"set":true},` +
		`"c_bool":{"value":true,"deletion_ts":null,"set":true},"blob":null,` +
		`"flag":{"value":false,"deletion_ts":null,"set":true},` +
		`"text":{"value":null,"deletion_ts":null,"set":true},"version":null,"_range_start":null,"_range_end":null}}`
	if string(key) != wantKey {
		t.Errorf("the key is %s, want %s", key, wantKey)
	}
	if string(value) != wantValue {
		t.Errorf("the value is %s, want %s", value, wantValue)
	}
}

func TestChangesComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawMutation(t)
		want := table.ChangeOf(m, time.UnixMilli(rapid.Int64Range(1, 1<<42).Draw(t, "at")).UTC(),
			rapid.Int64Min(0).Draw(t, "position"))
		key, value, err := want.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if !json.Valid(key) || !json.Valid(value) {
			t.Fatalf("no JSON: %s %s", key, value)
		}
		got, err := table.DecodeChange(value)
		if err != nil {
			t.Fatal(err)
		}
		if !equalMutations(got.Mutation(), m) || !got.At.Equal(want.At) || got.Position != want.Position {
			t.Fatalf("got %+v, want %+v", got, want)
		}
	})
}

// Records of our own once called ts_us ts_micro, and topics still hold them.
func TestDecodeChangeOfOlderRecords(t *testing.T) {
	source := `"source":{"version":"3.4.1.Final","connector":"cassandra","name":"cdc","ts_ms":1700000000000,` +
		`"snapshot":"false","db":"NULL","sequence":null,` +
		`"cluster":"lab","file":"CommitLog-7-1.log","pos":2000,"keyspace":"darkroom","table":"hash_band",` +
		`"ts_micro":1700000000000001},"ts_ms":1700000000555`
	key := `"tenant":{"value":"t","deletion_ts":null,"set":true},"band":{"value":"sha256","deletion_ts":null,"set":true},` +
		`"value":{"value":"00","deletion_ts":null,"set":true},"image_id":{"value":"i","deletion_ts":null,"set":true}`
	keyRow := table.Row{"tenant": "t", "band": "sha256", "value": "00", "image_id": "i"}
	tests := map[string]struct {
		record string
		op     string
		cells  table.Row
	}{
		"insert": {`{"op":"i",` + source + `,"after":{` + key + `,"deleted":{"value":true,"deletion_ts":null,"set":true},` +
			`"version":{"value":1700000000000001,"deletion_ts":null,"set":true}}}`, table.OpInsert,
			table.Row{"deleted": true, "version": int64(1700000000000001)}},
		"update of one cell": {`{"op":"u",` + source + `,"after":{` + key + `,"deleted":null,` +
			`"version":{"value":9007199254740993,"deletion_ts":null,"set":true}}}`, table.OpUpdate,
			table.Row{"version": int64(9007199254740993)}},
		"deleted cell": {`{"op":"u",` + source + `,"after":{` + key + `,"deleted":{"value":null,"deletion_ts":1,"set":true},` +
			`"version":{"value":null,"deletion_ts":null,"set":false}}}`, table.OpUpdate, table.Row{"deleted": nil}},
		"deleted row": {`{"op":"d",` + source + `,"after":{` + key + `,` +
			`"deleted":{"value":null,"deletion_ts":1700000000000001,"set":true},` +
			`"version":{"value":null,"deletion_ts":1700000000000001,"set":true}}}`, table.OpDelete, nil},
		"column of tomorrow": {`{"op":"i",` + source + `,"after":{` + key + `,` +
			`"tags":{"value":["a",{"b":1.5}],"deletion_ts":null,"set":true}},"before":{"x":1}}`, table.OpInsert, nil},
		"only what is needed": {`{"op":"i","source":{"table":"hash_band","ts_micro":1700000000000001},"after":{` +
			strings.ReplaceAll(key, `,"deletion_ts":null,"set":true`, "") + `}}`, table.OpInsert, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := table.DecodeChange([]byte(tt.record))
			if err != nil {
				t.Fatal(err)
			}
			want := table.Mutation{Table: "hash_band", Row: table.Row{}, Delete: tt.op == table.OpDelete,
				Version: 1700000000000001}
			for _, cells := range []table.Row{keyRow, tt.cells} {
				for name, value := range cells {
					want.Row[name] = value
				}
			}
			if got.Op != tt.op || !equalMutations(got.Mutation(), want) {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

func TestDecodeChangeRefuses(t *testing.T) {
	tests := map[string]string{
		"nothing":        ``,
		"no object":      `[]`,
		"null":           `null`,
		"no op":          `{"source":{"table":"progress","ts_micro":1},"after":{"pipeline":{"value":"a"}}}`,
		"range deletion": `{"op":"r","source":{"table":"progress","ts_micro":1},"after":{"pipeline":{"value":"a"}}}`,
		"no table":       `{"op":"i","source":{"ts_micro":1},"after":{"pipeline":{"value":"a"}}}`,
		"unknown table":  `{"op":"i","source":{"table":"absent","ts_micro":1},"after":{}}`,
		"other keyspace": `{"op":"i","source":{"table":"progress","keyspace":"k","ts_micro":1},` +
			`"after":{"pipeline":{"value":"a"}}}`,
		"no version": `{"op":"i","source":{"table":"progress"},"after":{"pipeline":{"value":"a"}}}`,
		"no key":     `{"op":"i","source":{"table":"progress","ts_micro":1},"after":{"version":{"value":1}}}`,
		"nil key":    `{"op":"d","source":{"table":"progress","ts_micro":1},"after":{"pipeline":{"value":null}}}`,
		"wrong type": `{"op":"i","source":{"table":"progress","ts_micro":1},"after":{"pipeline":{"value":1}}}`,
		"fraction": `{"op":"i","source":{"table":"progress","ts_micro":1},` +
			`"after":{"pipeline":{"value":"a"},"version":{"value":1.5}}}`,
		"too large": `{"op":"i","source":{"table":"progress","ts_micro":1},` +
			`"after":{"pipeline":{"value":"a"},"version":{"value":9223372036854775808}}}`,
	}
	for name, record := range tests {
		t.Run(name, func(t *testing.T) {
			if c, err := table.DecodeChange([]byte(record)); !errors.Is(err, table.ErrInvalid) {
				t.Errorf("got %+v, %v", c, err)
			}
		})
	}
}

func TestEncodeRefusesABadRow(t *testing.T) {
	if _, _, err := (table.Change{Table: "progress", Op: table.OpInsert}).Encode(); !errors.Is(err, table.ErrInvalid) {
		t.Errorf("a change without a key gives %v", err)
	}
}

// The largest mutation that Check lets through fits into a record of one mebibyte.
func TestTheLargestChangeFitsIntoAMessage(t *testing.T) {
	for _, name := range []string{"pipeline", "image_id"} {
		tab := map[string]string{"pipeline": "progress", "image_id": "image"}[name]
		m := table.Mutation{Table: tab, Row: table.Row{name: strings.Repeat("\x01", table.MaxMutation-len(name))}}
		key, value, err := table.ChangeOf(m, time.Now(), 1).Encode()
		if err != nil {
			t.Fatal(err)
		}
		if size := len(key) + len(value); size > 1_000_000 {
			t.Errorf("the record has %d bytes", size)
		}
	}
}

func FuzzDecodeChange(f *testing.F) {
	_, value, err := table.ChangeOf(mixed.Mutation(Mixed{PText: "a", CBlob: []byte("b")}), time.UnixMilli(1), 1).Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(value)
	f.Add([]byte(`{"op":"d","source":{"table":"progress","ts_micro":1,"pos":1e3},` +
		`"after":{"pipeline":{"value":"a"},"x":null}}`))
	f.Add([]byte(`{"op":"u","source":{"table":"table_test_mixed","ts_micro":-1},"after":{"p_text":{"value":"\ud800"},` +
		`"p_int":{"value":-0},"c_blob":{"value":""},"c_bool":{"value":true,"set":true},"blob":{"value":[1,2]}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := table.DecodeChange(b)
		if err != nil {
			return
		}
		_, value, err := c.Encode()
		if errors.Is(err, table.ErrInvalid) && len(b) > table.MaxMutation/8 {
			return // larger than any mutation that a store of ours takes
		}
		if err != nil {
			t.Fatalf("what was decoded cannot be encoded: %v", err)
		}
		again, err := table.DecodeChange(value)
		if err != nil || !equalMutations(again.Mutation(), c.Mutation()) {
			t.Fatalf("got %+v, %v, want %+v", again, err, c)
		}
	})
}
