package decode_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/testing/passert"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/testing/ptest"

	"darkroom/internal/event"
	"darkroom/transforms/decode"
	"darkroom/transforms/kafkaio"
)

func TestMain(m *testing.M) {
	register.Function2x1(idAndOffset)
	register.Function1x2[kafkaio.Message, string, error](letter)
	ptest.Main(m)
}

func idAndOffset(id string, r kafkaio.Record) string { return id + " " + string(r.Key) }

const letterID = "0123456789abcdef0123456789abcdef"

// letter tells what a dead letter says of its record.
func letter(m kafkaio.Message) (string, error) {
	r, err := event.DecodeRejection(m.Value)
	if len(m.Key)+len(m.Value) > 1_000_000 {
		return "", fmt.Errorf("a letter of %d bytes", len(m.Key)+len(m.Value))
	}
	words := []string{r.Stage, string(r.Class), r.Code, r.Topic, string(r.Value)}
	if r.Truncated {
		words = append(words, fmt.Sprintf("truncated, key of %d, offset %d", len(r.Key), r.Offset))
	}
	if r.ID == letterID {
		words = append(words, fmt.Sprint("the letter ", r.Replays))
	}
	return strings.Join(words, " "), err
}

func TestEventsAreKeyedAndGarbageIsKept(t *testing.T) {
	e := event.NewUploaded(event.Image{
		ImageID: "i1", Tenant: "default", SHA256: strings.Repeat("0a", 32), Bytes: 3, UploadedAt: time.UnixMicro(17),
	})
	k, v, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	p, s := beam.NewPipelineWithRoot()
	byID, dead := decode.Events(s, beam.Create(s,
		kafkaio.Record{Topic: event.TopicImages, Key: k, Value: v},
		kafkaio.Record{Topic: event.TopicImages, Key: k, Value: v, Letter: letterID, Replay: 2},
		kafkaio.Record{Topic: event.TopicImages, Key: k, Value: v, Replay: kafkaio.BadReplay},
		kafkaio.Record{Topic: event.TopicImages, Value: []byte("still bad"), Letter: letterID, Replay: 3},
		kafkaio.Record{Topic: event.TopicImages, Key: []byte("bad"), Value: []byte("{not json")},
		kafkaio.Record{Topic: event.TopicImages, Key: []byte("bad"), Value: []byte(`{"specversion":"1.0","type":"other"}`)},
	))
	passert.Equals(s, beam.ParDo(s, idAndOffset, byID), "i1.uploaded.17 i1", "i1.uploaded.17.replay.2 i1")
	passert.Equals(s, beam.ParDo(s, letter, dead),
		"decode permanent malformed-event images.events {not json",
		"decode permanent malformed-event images.events still bad the letter 3",
		"decode permanent malformed-replay images.events "+string(v),
		`decode permanent malformed-event images.events {"specversion":"1.0","type":"other"}`)
	ptest.RunAndValidate(t, p)
}

// TestALetterAlwaysFits has records whose letters would be larger than a topic takes.
func TestALetterAlwaysFits(t *testing.T) {
	large := func(n int) []byte { return bytes.Repeat([]byte("\x01"), n) } // of which JSON makes six each
	p, s := beam.NewPipelineWithRoot()
	byID, dead := decode.Events(s, beam.Create(s,
		kafkaio.Record{Topic: "t", Key: []byte("k"), Value: large(event.MaxBytes + 1), Offset: 7},
		kafkaio.Record{Topic: "t", Key: []byte("k"), Value: large(event.MaxBytes), Offset: 8},
		kafkaio.Record{Topic: "t", Key: large(200_000), Value: []byte("x"), Offset: 9},
		kafkaio.Record{Topic: "t", Key: []byte("k"), Value: []byte(`{"specversion":"1.0","type":"` + strings.Repeat("x", 600_000) + `"}`), Offset: 10},
		kafkaio.Record{Topic: "t", Key: []byte("k"), Value: []byte("x"), Offset: 11},
	))
	passert.Empty(s, byID)
	passert.Equals(s, beam.ParDo(s, letter, dead),
		"decode permanent record-too-large t  truncated, key of 1, offset 7",
		"decode permanent malformed-event t  truncated, key of 1, offset 8",
		"decode permanent malformed-event t  truncated, key of 0, offset 9",
		`decode permanent malformed-event t {"specversion":"1.0","type":"`+strings.Repeat("x", 600_000)+`"}`,
		"decode permanent malformed-event t x")
	ptest.RunAndValidate(t, p)
}
