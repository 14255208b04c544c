// Package deadletter makes dead letters of records that cannot be processed.
package deadletter

import (
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"darkroom/internal/event"
	"darkroom/transforms/kafkaio"
)

const (
	// maxLetter bounds a dead letter's key and value, in bytes, so that a topic with Kafka's own limits takes it.
	maxLetter = 900_000
	// maxDetail bounds its detail, which may quote the record.
	maxDetail = 1000
)

// Of returns the dead letter of a record that the named stage refused after so many attempts. It holds the record
// whole, so that the record can be replayed; but for one so large that no topic would take the letter: then it says
// where the record is, and that it was truncated. That of a replay has the id of the letter that was replayed.
func Of(r kafkaio.Record, stage string, class event.Class, code, detail string, attempts int) (kafkaio.Message, error) {
	letter := event.Rejection{
		ID: r.Letter, Replays: max(0, r.Replay),
		Stage: stage, Class: class, Code: code, Detail: shorten(detail), Attempts: attempts, Software: software(),
		Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Timestamp: time.UnixMilli(r.Timestamp).UTC(),
		Key: r.Key, Value: r.Value,
	}
	m, err := encode(letter)
	if err == nil && len(m.Key)+len(m.Value) > maxLetter {
		letter.Value, letter.Truncated = nil, true
		m, err = encode(letter)
	}
	if err == nil && len(m.Key)+len(m.Value) > maxLetter {
		letter.Key = nil
		m, err = encode(letter)
	}
	return m, err
}

func encode(r event.Rejection) (kafkaio.Message, error) {
	key, value, err := r.Encode()
	return kafkaio.Message{Key: key, Value: value}, err
}

func shorten(detail string) string {
	if len(detail) <= maxDetail {
		return detail
	}
	return strings.ToValidUTF8(detail[:maxDetail], "") + "…"
}

// software is this program's version as the build recorded it.
var software = sync.OnceValue(func() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	version := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			version += " " + s.Value
		}
	}
	return version
})
