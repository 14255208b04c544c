// Command bench measures Darkroom against a named peer in the same run, and prints a ratio with its median and spread.
// The figures of the last run are in docs/BENCHMARKS.md.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
)

type cli struct {
	Binary string `help:"The program to measure." env:"DARKROOM_BIN" default:"bin/darkroom" type:"path"`

	Ingest       ingestBench     `cmd:"" help:"Upload speed against a bare handler that hashes, writes and renames."`
	Freshness    freshnessBench  `cmd:"" help:"From an acknowledged upload to its figure in the summary."`
	Lanes        lanesBench      `cmd:"" help:"Freshness beside a backfill that derives at full speed, against that without."`
	Live         liveBench       `cmd:"" help:"The live pipeline on Prism from a topic that is full, against a bare client."`
	Memory       memoryBench     `cmd:"" help:"Memory of up under steady uploads."`
	Stream       streamBench     `cmd:"" help:"A windowed sum on every engine: Kafka Streams, native Flink, Darkroom's pipelines on Flink and Prism, a bare client."`
	Derive       deriveBench     `cmd:"" help:"The derive pipeline on Prism against a plain pool of goroutines, in images per CPU second. Needs a C compiler."`
	Pixels       pixelsBench     `cmd:"" help:"What deriving sizes and formats takes, against vipsthumbnail, sharp, libvips from C, and imaging."`
	DerivePool   derivePoolCmd   `cmd:"" hidden:"" help:"The plain pool, to be measured."`
	PixelsChild  pixelsChildCmd  `cmd:"" hidden:"" help:"Be a process of a pool that derives images."`
	PixelsInputs pixelsInputsCmd `cmd:"" hidden:"" help:"Compose the inputs of the pixels benchmark."`
	PixelsRun    pixelsRunCmd    `cmd:"" hidden:"" help:"One engine, to be measured."`
	StreamRun    streamRunCmd    `cmd:"" hidden:"" help:"One run of one engine, to be measured."`
	Service      ingestService   `cmd:"" hidden:"" help:"The upload service alone, to be measured."`
	Bare         bareService     `cmd:"" hidden:"" help:"A handler that hashes, writes and renames, to be measured against."`
	All          allBench        `cmd:"" default:"1" help:"Everything; the memory for ten minutes."`
}

type allBench struct{}

// Run runs every benchmark.
func (*allBench) Run(ctx context.Context, c *cli) error {
	for _, b := range []interface {
		Run(context.Context, *cli) error
	}{&c.Ingest, &c.Freshness, &c.Live, &c.Memory} {
		if err := b.Run(ctx, c); err != nil {
			return err
		}
		fmt.Println()
	}
	return nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var c cli
	command := kong.Parse(&c, kong.Name("bench"), kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(&c),
		kong.Vars{"tmp": os.TempDir()})
	command.FatalIfErrorf(command.Run())
}

// spread prints the minimum, the median and the maximum.
func spread(values []float64, format string) string {
	sorted := slices.Sorted(slices.Values(values))
	var b strings.Builder
	for i, v := range []float64{sorted[0], median(values), sorted[len(sorted)-1]} {
		if i > 0 {
			b.WriteString(" / ")
		}
		fmt.Fprintf(&b, format, v)
	}
	return b.String()
}

func median(values []float64) float64 { return percentile(values, 0.5) }

func percentile(values []float64, p float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(len(sorted)-1, int(p*float64(len(sorted))))]
}
