package embedded

import (
	"fmt"
	"log/slog"
)

// pebbleLogger passes Pebble's errors on. Its information, some lines for each compaction, is dropped.
type pebbleLogger struct{ log *slog.Logger }

func (pebbleLogger) Infof(string, ...any) {}

func (l pebbleLogger) Errorf(format string, args ...any) {
	l.log.Error("table store", "error", fmt.Sprintf(format, args...))
}

// Fatalf must not return. Pebble calls it when its log cannot be written, after which nothing that it holds in memory
// can be trusted; the next Open recovers all that was acknowledged.
func (l pebbleLogger) Fatalf(format string, args ...any) {
	panic("table store: " + fmt.Sprintf(format, args...))
}
