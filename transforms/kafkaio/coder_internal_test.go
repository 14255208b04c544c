package kafkaio

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
)

func BenchmarkRecordCoder(b *testing.B) {
	c := beam.NewElementEncoder(reflect.TypeFor[Record]())
	r := Record{Topic: "images.events", Partition: 2, Offset: 123456, Timestamp: 1767268800000, Key: bytes.Repeat([]byte("k"), 32), Value: bytes.Repeat([]byte("v"), 460)}
	enc := c
	dec := beam.NewElementDecoder(reflect.TypeFor[Record]())
	var buf bytes.Buffer
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			buf.Reset()
			if err := enc.Encode(r, &buf); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := dec.Decode(bytes.NewReader(buf.Bytes())); err != nil {
				b.Fatal(err)
			}
		}
	})
}
