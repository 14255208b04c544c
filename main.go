// Darkroom takes in images, looks at each one as it arrives and answers questions about all of them within seconds.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
)

const description = `Darkroom takes in images at any scale, looks at each one as it arrives and answers questions about all of them.

Start everything on this machine, with some photographs: darkroom up --demo

Upload a photograph: curl --data-binary @photo.jpg http://127.0.0.1:8080/v1/images

Ask for the figures: curl http://127.0.0.1:8081/v1/stats/summary

Every flag can also be given as an environment variable, named beside it.`

// cli is the command line: one field a command.
type cli struct {
	LogLevel slog.Level `help:"What to log: debug, info, warn or error." default:"warn" placeholder:"LEVEL"`

	Up          upCmd          `cmd:"" help:"Run all of Darkroom in one process, on this machine."`
	Ingest      ingestCmd      `cmd:"" help:"Run the upload service alone."`
	Statsapi    statsapiCmd    `cmd:"" help:"Run the statistics service alone, or rebuild its copy."`
	Table       tableCmd       `cmd:"" help:"Run the embedded table store alone."`
	Pipeline    pipelineCmd    `cmd:"" help:"List the pipelines, run one, or look after one on Flink."`
	Deadletter  deadletterCmd  `cmd:"" help:"List, show and replay the records that could not be processed."`
	Sign        signCmd        `cmd:"" help:"Sign the URL of an image, so that whoever has it may fetch the image for a time."`
	Derive      deriveCmd      `cmd:"" help:"Make sizes and formats of local images."`
	Probe       probeCmd       `cmd:"" help:"Show what images are: format, size, camera, time."`
	Doctor      doctorCmd      `cmd:"" help:"Say what this machine has: the pixel engine that is used and why, codecs, programs."`
	Worker      workerCmd      `cmd:"" help:"Serve a pool of workers for jobs on Flink and Spark."`
	Stack       stackCmd       `cmd:"" help:"Run the real parts on this machine: Kafka, Cassandra, Debezium, Flink, Spark, PostgreSQL, S3."`
	Part        partCmd        `cmd:"" hidden:"" help:"Run one part of the stack in this process."`
	PixelsChild pixelsChildCmd `cmd:"" hidden:"" help:"Be a process of a pool that derives images."`
}

// silent is a level that nothing is logged at.
const silent = slog.LevelError + 100

// stdio is where a command talks to a person.
type stdio struct{ out, err io.Writer }

func main() {
	ctx, stop := signalContext()
	err := run(ctx, os.Args[1:], stdio{os.Stdout, os.Stderr})
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "darkroom: %v\n", err)
		os.Exit(exitStatus(err))
	}
}

// errInterrupted is that of a command that was asked to stop with its work half done. One that runs until it is asked to
// stop has none.
var errInterrupted = errors.New("interrupted")

// exitStatus is that of a command that failed; 130 is what shells say of one that was interrupted.
func exitStatus(err error) int {
	if errors.Is(err, errInterrupted) {
		return 130
	}
	return 1
}

// signalContext ends with the first SIGINT or SIGTERM. A second signal ends the process at once.
func signalContext() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		cancel()
		<-signals
		os.Exit(1)
	}()
	return ctx, cancel
}

func run(ctx context.Context, args []string, io stdio) error {
	var c cli
	exited := false
	parser, err := kong.New(&c, kong.Name("darkroom"), kong.Description(description), kong.DefaultEnvars("DARKROOM"),
		kong.Writers(io.out, io.err), kong.Exit(func(int) { exited = true }), kong.UsageOnError(),
		kong.Vars{"stack_parts": stackParts()},
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 110}),
		kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(io))
	if err != nil {
		return fmt.Errorf("build command line: %w", err)
	}
	command, err := parser.Parse(args)
	if exited { // --help has been printed
		return nil
	}
	if err != nil {
		return withVariable(parser, err)
	}
	// Everything logs through this one; libraries that keep the default logger must find it set.
	level := &slog.LevelVar{}
	level.Set(c.LogLevel)
	options := &slog.HandlerOptions{Level: level}
	if c.LogLevel > slog.LevelDebug {
		options.ReplaceAttr = brief
	}
	log := slog.New(slog.NewTextHandler(io.err, options))
	slog.SetDefault(log)
	// What a runner says of the bundles that a stop cuts short is no news; what matters is returned as an error.
	context.AfterFunc(ctx, func() { level.Set(silent) })
	if err = command.Run(log); ctx.Err() != nil && errors.Is(err, context.Canceled) {
		if err = errInterrupted; serves(command.Selected().Target.Addr().Interface()) {
			err = nil // asked to stop, and stopped
		}
	}
	return withVariable(parser, err)
}

// serves tells the commands that run until they are asked to stop from those that have then left work undone. A pipeline
// knows by itself whether it has an end.
func serves(command any) bool {
	switch command.(type) {
	case *upCmd, *ingestCmd, *statsServeCmd, *tableCmd, *workerServeCmd, *workerRunCmd, *partPostgresCmd, *partS3Cmd,
		*pixelsChildCmd:
		return true
	}
	return false
}

// maxLogged is the most bytes of one value in the log.
const maxLogged = 500

// brief cuts what is logged to its first line: runners log whole plans and stacks as errors. Where we log a stack, as such,
// it stays.
func brief(_ []string, a slog.Attr) slog.Attr {
	if a.Key == "stack" {
		return a
	}
	var text string
	switch v := a.Value.Any().(type) {
	case string:
		text = v
	case error:
		text = v.Error()
	default:
		return a
	}
	first, _, more := strings.Cut(text, "\n")
	if len(first) > maxLogged {
		first, more = strings.ToValidUTF8(first[:maxLogged], ""), true
	}
	if !more {
		return a
	}
	return slog.String(a.Key, first+" … (all of it with --log-level=debug)")
}

// fieldNames puts the flag for the field of a package's configuration that its own error names.
var fieldNames = strings.NewReplacer("MaxBytes ", "--max-bytes ", "SweepAfter ", "--sweep-after ", "Brokers ", "--kafka ",
	"RequireSignature needs keys", "--require-signature needs --signing-keys", "Variants.Processes ", "--variant-processes ",
	"Variants.Waiting ", "--variant-queue ", "Variants.Timeout ", "--variant-timeout ", "Variants.MaxPixels ", "--variant-max-pixels ",
	"Variants.MaxSide ", "--variant-max-side ", "open pixel processes: memory ", "--image-memory ", "Variants.Sizes has", "--variant-sizes:",
	"PostgresDSN: ", "--postgres: ", "blob: endpoint ", "--s3-endpoint ", "blob: no bucket ", "--s3-bucket: no bucket ",
	"blob: access key and secret key ", "--s3-access-key and --s3-secret-key ")

var flagInError = regexp.MustCompile(`--[a-z0-9][a-z0-9-]*=?`)

// withVariable names beside each flag in an error the environment variable that sets it too.
func withVariable(parser *kong.Kong, err error) error {
	if err == nil {
		return nil
	}
	text := flagInError.ReplaceAllStringFunc(fieldNames.Replace(err.Error()), func(flag string) string {
		if strings.HasSuffix(flag, "=") { // it is to be copied, with the value behind it
			return flag
		}
		variables := variablesOf(parser.Model.Node, flag[2:])
		if len(variables) == 0 || strings.Contains(err.Error(), flag+" (DARKROOM_") {
			return flag
		}
		return flag + " (" + strings.Join(variables, " or ") + ")"
	})
	if text == err.Error() {
		return err
	}
	return errors.New(text)
}

// variablesOf are the environment variables of a flag, of whichever command it is; none if no command has it.
func variablesOf(n *kong.Node, name string) []string {
	for _, f := range n.Flags {
		if f.Name == name {
			return f.Envs
		}
	}
	for _, c := range n.Children {
		if found := variablesOf(c, name); len(found) > 0 {
			return found
		}
	}
	return nil
}

// optionalDir is a flag that may be given without a value: --demo or --demo=DIR.
type optionalDir string

const demoPhotos = "testdata/photos"

// Decode implements kong.MapperValue.
func (d *optionalDir) Decode(ctx *kong.DecodeContext) error {
	if next := ctx.Scan.Peek(); next.Type == kong.FlagValueToken {
		*d = optionalDir(ctx.Scan.Pop().String())
		return nil
	}
	*d = demoPhotos
	return nil
}

// IsBool lets kong accept the flag without a value.
func (*optionalDir) IsBool() bool { return true }

var _ kong.BoolMapperValue = (*optionalDir)(nil)
