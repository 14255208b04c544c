package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"
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

func TestAFlagOutOfRangeIsNamed(t *testing.T) {
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second) // for an up that is not refused
	defer stop()
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	const (
		derive = "derive testdata/photos/wine.png --engine go "
		up     = "up --data OUT --ingest-listen 127.0.0.1:0 --stats-listen 127.0.0.1:0 "
	)
	for args, want := range map[string]string{
		derive + "--sizes=":                   "--sizes (DARKROOM_SIZES): needs at least one size",
		derive + "--format=":                  "--format (DARKROOM_FORMAT): needs at least one format",
		derive + "--max-pixels=0":             "derive: --max-pixels (DARKROOM_MAX_PIXELS): must be positive",
		derive + "--image-time=0s":            "derive: --image-time (DARKROOM_IMAGE_TIME): must be positive",
		derive + "--image-memory=1 --out OUT": "--image-memory (DARKROOM_IMAGE_MEMORY) 1: must be at least 134217728 bytes",
		"probe go.mod --processes=-1":         "probe: --processes (DARKROOM_PROCESSES): must not be negative",
		up + "--stall-after=0s":               "up: --stall-after (DARKROOM_STALL_AFTER): must be positive",
		up + "--max-pixels=0":                 "up: --max-pixels (DARKROOM_MAX_PIXELS): must be positive",
		up + "--max-share=0":                  "up: --max-share (DARKROOM_MAX_SHARE): must be more than 0 and at most 1",
		"doctor --engine none":                `--engine (DARKROOM_PIXELS or DARKROOM_ENGINE) must be one of "auto","go","libvips" but got "none"`,
		"pipeline status --flink h:8082":      `pipeline status: --flink (DARKROOM_FLINK) "h:8082": must be a URL such as http://127.0.0.1:8082`,
		"pipeline cancel live --flink h":      `pipeline cancel: --flink (DARKROOM_FLINK) "h": must be a URL such as http://127.0.0.1:8082`,
		"pipeline drain live --flink :":       `pipeline drain: --flink (DARKROOM_FLINK) ":": must be a URL such as http://127.0.0.1:8082`,
		"pipeline run live --flink h":         `pipeline run: --flink (DARKROOM_FLINK) "h": must be a URL such as http://127.0.0.1:8082`,
		"pipeline run live --stall-after=-1s": "pipeline run: --stall-after (DARKROOM_STALL_AFTER): must be positive",
		// What is to be copied stays as it is.
		up + "--demo=go.mod/x":       "--demo (DARKROOM_DEMO): read folder: open " + wd + "/go.mod/x: not a directory (give another as --demo=DIR)",
		"deadletter list --limit -1": `--limit (DARKROOM_LIMIT): expected int value but got "-1" (short flag); perhaps try --limit="-1"?`,
	} {
		var out bytes.Buffer
		args = strings.ReplaceAll(args, "OUT", t.TempDir())
		if err := run(ctx, strings.Fields(args), stdio{&out, &out}); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", args, err, want)
		}
	}
}
