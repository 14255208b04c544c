package table_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"testing"

	"darkroom/internal/table"
	"darkroom/internal/table/tabletest"
)

// The files of testdata/debezium hold what Debezium's connector 3.4.1.Final for Cassandra 5 wrote to Kafka. Those beside
// "other" are of tabletest.ChangeCases("golden"); a test of package cassandra writes them anew.
func golden(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "debezium", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSpace(b)
}

func TestDecodeChangeOfDebezium(t *testing.T) {
	for _, c := range tabletest.ChangeCases("golden") {
		t.Run(c.Name, func(t *testing.T) {
			got, err := table.DecodeChange(golden(t, c.Name))
			if err != nil {
				t.Fatal(err)
			}
			want := table.ChangeOf(c.Mutation, got.At, got.Position)
			if !reflect.DeepEqual(got, want) || got.At.Year() < 2026 || got.Position == 0 {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

var producer = regexp.MustCompile(`"version":"3.4.1.Final"|"cluster":"lab"|"file":"CommitLog-[-0-9]*.log"`)

// But for the names of the producer, and characters beyond U+FFFF, which Debezium escapes, Encode writes what Debezium
// does, byte for byte.
func TestEncodeWritesWhatDebeziumDoes(t *testing.T) {
	for _, c := range tabletest.ChangeCases("golden") {
		t.Run(c.Name, func(t *testing.T) {
			record := golden(t, c.Name)
			theirs, err := table.DecodeChange(record)
			if err != nil {
				t.Fatal(err)
			}
			_, got, err := table.ChangeOf(c.Mutation, theirs.At, theirs.Position).Encode()
			if err != nil {
				t.Fatal(err)
			}
			want := producer.ReplaceAllFunc(record, func(b []byte) []byte {
				return map[byte][]byte{'v': []byte(`"version":"1"`), 'c': []byte(`"cluster":"embedded"`),
					'f': []byte(`"file":"changes"`)}[b[1]]
			})
			want = bytes.ReplaceAll(want, []byte(`\uDBFF\uDFFF`), []byte("\U0010ffff"))
			if !bytes.Equal(got, want) {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

// No store of ours makes these, but a person with cqlsh may.
func TestDecodeChangeOfOtherWrites(t *testing.T) {
	got, err := table.DecodeChange(golden(t, "other/update"))
	want := table.Mutation{Table: "table_test_mixed", Version: 1700000000000001, Row: table.Row{
		"p_text": "aupdate", "p_int": int64(1), "c_blob": []byte{1}, "c_bool": false, "text": "u"}}
	if err != nil || got.Op != table.OpUpdate || !reflect.DeepEqual(got.Mutation(), want) {
		t.Errorf("an UPDATE is %+v, %v, want %+v", got, err, want)
	}
	got, err = table.DecodeChange(golden(t, "other/expiring"))
	if err != nil || got.Row["text"] != "x" {
		t.Errorf("a cell that will expire is %+v, %v", got, err)
	}
	for _, name := range []string{"other/partition_deleted", "other/range_deleted"} {
		if got, err := table.DecodeChange(golden(t, name)); !errors.Is(err, table.ErrInvalid) {
			t.Errorf("%s, which is of no row, is %+v, %v", name, got, err)
		}
	}
}

// A snapshot's timestamp is when the row was read, so the row's own version counts, and its columns without a value are
// not deleted.
func TestDecodeChangeOfASnapshot(t *testing.T) {
	record := golden(t, "other/snapshot")
	got, err := table.DecodeChange(record)
	want := table.Mutation{Table: "image", Version: 1700000000000001, Row: table.Row{"image_id": "ai", "tenant": "acme",
		"state": "deleted", "uploaded_at": int64(5), "version": int64(1700000000000001)}}
	if err != nil || !reflect.DeepEqual(got.Mutation(), want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	record = bytes.Replace(record, []byte(`"version":{"value":1700000000000001`), []byte(`"version":{"value":null`), 1)
	if got, err := table.DecodeChange(record); !errors.Is(err, table.ErrInvalid) {
		t.Errorf("without a version it is %+v, %v", got, err)
	}
}
