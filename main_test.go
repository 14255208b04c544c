package main

import (
	"bytes"
	"context"
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

func TestACommandThatIsInterruptedSaysSo(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	stop()
	for args, want := range map[string]error{
		"probe testdata/photos/wine.png":                                      errInterrupted,
		"pipeline status --flink http://127.0.0.1:1":                          errInterrupted,
		"statsapi rebuild --postgres postgres://127.0.0.1:1/x":                errInterrupted,
		"statsapi --stats-listen 127.0.0.1:0 --postgres postgres://[::1]:1/x": nil, // it runs until it is asked to stop
	} {
		var out bytes.Buffer
		if err := run(ctx, strings.Fields(args), stdio{&out, &out}); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", args, err, want)
		}
	}
}
