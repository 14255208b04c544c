// Package deadletter makes dead letters of records that cannot be processed.
package deadletter

import (
	"runtime/debug"
	"sync"
	"time"

	"darkroom/internal/event"
	"darkroom/transforms/kafkaio"
)

// Of returns the dead letter of a record that the named stage refused after so many attempts. It holds the record
// whole, so that the record can be replayed. That of a replay has the id of the letter that was replayed.
func Of(r kafkaio.Record, stage string, class event.Class, code, detail string, attempts int) (kafkaio.Message, error) {
	key, value, err := event.Rejection{
		ID: r.Letter, Replays: max(0, r.Replay), Stage: stage, Class: class, Code: code, Detail: detail, Attempts: attempts, Software: software(),
		Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Timestamp: time.UnixMilli(r.Timestamp).UTC(),
		Key: r.Key, Value: r.Value,
	}.Encode()
	return kafkaio.Message{Key: key, Value: value}, err
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
