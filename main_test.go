package main

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
)

func TestTheLogIsBrief(t *testing.T) {
	long := strings.Repeat("ä", 400)
	for _, c := range []struct {
		value slog.Value
		want  string
	}{
		{slog.StringValue("short"), "short"},
		{slog.IntValue(7), "7"},
		{slog.AnyValue(errors.New("panic\nstack")), "panic … (all of it with --log-level=debug)"},
		{slog.StringValue(long), long[:500] + " … (all of it with --log-level=debug)"},
		{slog.StringValue("x" + long), "x" + long[:498] + " … (all of it with --log-level=debug)"},
	} {
		if got := brief(nil, slog.Attr{Key: "error", Value: c.value}).Value.String(); got != c.want {
			t.Errorf("%v is logged as %q", c.value, got)
		}
	}
}
