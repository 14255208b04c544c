package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/schollz/progressbar/v3"

	"darkroom/internal/local"
	realstack "darkroom/internal/local/stack"
)

// stackCmd runs the real parts that Darkroom grows into.
type stackCmd struct {
	Up     stackUpCmd     `cmd:"" help:"Start the parts and wait until they answer. Run it again to start what has died."`
	Down   stackDownCmd   `cmd:"" help:"Stop the parts. Their data stays."`
	Status stackStatusCmd `cmd:"" help:"Say how the parts do, and where they are."`
	Logs   stackLogsCmd   `cmd:"" help:"Print the log of a part."`
}

// Help is what "darkroom stack --help" adds.
func (*stackCmd) Help() string {
	return `The real parts, each as a process of its own on 127.0.0.1: Kafka, Cassandra with its changes captured by
Debezium, Flink and Spark with Beam's job servers, PostgreSQL and an S3 gateway. They keep running when this command ends.

It needs Java 17 and, for the first start, Maven, which fetches 700 MB of jars: apt-get install openjdk-17-jdk-headless maven

Start two of them: darkroom stack up --only kafka,cassandra

Tell Darkroom's other commands where they are: eval "$(darkroom stack status --env)"

See why one has died: darkroom stack logs cassandra`
}

type stackFlags struct {
	Dir string `help:"Folder of all data, configuration and logs." default:"./.darkroom/stack" type:"path"`
}

type stackUpCmd struct {
	stackFlags
	Only      []string       `help:"Start these parts and what they need, instead of all: ${stack_parts}." placeholder:"PART"`
	FreePorts bool           `help:"Pick free ports instead of the usual ones, and keep them from then on."`
	Port      map[string]int `help:"Port of a part, as PART=N (or PART/PORT=N for its further ones, see ports.json)." placeholder:"PART=N"`
	Lib       string         `help:"Folder of the jars, which stacks share; empty for the user's cache." default:"" type:"path" placeholder:"DIR"`
}

// Run starts the parts.
func (c *stackUpCmd) Run(ctx context.Context, io stdio) error {
	s, err := realstack.Open(realstack.Options{Dir: c.Dir, Lib: c.Lib, FreePorts: c.FreePorts, Ports: c.Port})
	if err != nil {
		return err
	}
	progress := newStackProgress(io.err, s)
	err = s.Up(ctx, progress.print, c.Only...)
	progress.endBar()
	var taken *realstack.TakenError
	if errors.As(err, &taken) {
		return fmt.Errorf("%w; end that, or choose another with --port %s=N or --free-ports", err, taken.Part)
	}
	return err
}

type stackDownCmd struct {
	stackFlags
	Only []string `help:"Stop these parts, instead of all." placeholder:"PART"`
}

// Run stops the parts.
func (c *stackDownCmd) Run(ctx context.Context, io stdio) error {
	s, err := realstack.Open(realstack.Options{Dir: c.Dir})
	if err != nil {
		return err
	}
	return s.Down(ctx, newStackProgress(io.err, s).print, c.Only...)
}

type stackStatusCmd struct {
	stackFlags
	Env bool `help:"Print, as lines for a shell, the variables that tell Darkroom's other commands of the parts. Secrets are among them."`
}

// Run prints how the parts do.
func (c *stackStatusCmd) Run(ctx context.Context, io stdio) error {
	s, err := realstack.Open(realstack.Options{Dir: c.Dir})
	if err != nil {
		return err
	}
	all, err := s.Status(ctx)
	if err != nil {
		return err
	}
	if c.Env {
		for _, p := range all {
			for _, v := range p.Variables {
				fmt.Fprintf(io.out, "export %s='%s'\n", v.Name, v.Value)
			}
		}
		return nil
	}
	w := tabwriter.NewWriter(io.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "PART\tSTATE\tPID\tMEMORY\tADDRESS")
	for _, p := range all {
		pid, memory := "-", "-"
		if p.PID != 0 {
			pid, memory = fmt.Sprint(p.PID), fmt.Sprintf("%d MiB", p.Memory>>20)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", p.Name, p.State, pid, memory, p.Address)
	}
	return w.Flush()
}

type stackLogsCmd struct {
	stackFlags
	Name   string `arg:"" help:"The part: ${stack_parts}."`
	Follow bool   `short:"f" help:"Wait for more, until interrupted."`
}

// logEvery is how often a log that is followed is looked at.
const logEvery = 200 * time.Millisecond

// Run prints the log.
func (c *stackLogsCmd) Run(ctx context.Context, out stdio) error {
	s, err := realstack.Open(realstack.Options{Dir: c.Dir})
	if err != nil {
		return err
	}
	path, err := s.Logs(c.Name)
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s has no log in %s: it has not been started there", c.Name, c.Dir)
	}
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	defer func() { _ = f.Close() }()
	for {
		if _, err := io.Copy(out.out, f); err != nil {
			return fmt.Errorf("read log: %w", err)
		}
		if !c.Follow {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(logEvery):
		}
		if f, err = reopen(f, path); err != nil {
			return fmt.Errorf("open log: %w", err)
		}
	}
}

// reopen follows a log to the next run of its part.
func reopen(f *os.File, path string) (*os.File, error) {
	now, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return f, nil // it is being started
	}
	open, errOpen := f.Stat()
	if err := errors.Join(err, errOpen); err != nil || os.SameFile(now, open) {
		return f, err
	}
	_ = f.Close()
	return os.Open(path)
}

// stackProgress prints what becomes of the parts, a line each.
type stackProgress struct {
	w     io.Writer
	s     *realstack.Stack
	width int
	bar   *progressbar.ProgressBar // of the fetch that is under way
}

func newStackProgress(w io.Writer, s *realstack.Stack) *stackProgress {
	p := &stackProgress{w: w, s: s}
	for _, name := range s.Names() {
		p.width = max(p.width, len(name))
	}
	return p
}

func (p *stackProgress) print(e realstack.Event) {
	switch e.State {
	case realstack.Fetching:
		if p.bar == nil {
			p.bar = progressbar.NewOptions64(-1, progressbar.OptionSetWriter(p.w), progressbar.OptionShowBytes(true),
				progressbar.OptionThrottle(barThrottle), progressbar.OptionClearOnFinish(), progressbar.OptionSetWidth(10))
		}
		p.bar.Describe(fmt.Sprintf("%-*s  fetching, %d jars", p.width, e.Part, e.Files))
		_ = p.bar.Set64(e.Bytes) // a bar that cannot be drawn harms nothing
	case realstack.Fetched:
		p.endBar()
		p.line(e.Part, fmt.Sprintf("fetched %d jars, %d MB, in %s", e.Files, e.Bytes/1e6, e.Took.Round(time.Second)))
	case realstack.Ready:
		p.line(e.Part, fmt.Sprintf("ready on %s after %s", p.s.Addr(e.Part), e.Took.Round(100*time.Millisecond)))
	case realstack.Running:
		p.line(e.Part, "runs on "+p.s.Addr(e.Part))
	case realstack.Stopped:
		p.line(e.Part, fmt.Sprintf("stopped after %s", e.Took.Round(100*time.Millisecond)))
	case realstack.Killed:
		p.line(e.Part, fmt.Sprintf("killed: it did not stop within %s", e.Took.Round(time.Second)))
	}
}

func (p *stackProgress) endBar() {
	if p.bar != nil {
		_ = p.bar.Finish()
		p.bar = nil
	}
}

func (p *stackProgress) line(part, text string) {
	fmt.Fprintf(p.w, "%-*s  %s\n", p.width, part, text)
}

// partCmd runs a part of the stack that is in this binary.
type partCmd struct {
	Postgres partPostgresCmd `cmd:"" help:"Run PostgreSQL."`
	S3       partS3Cmd       `cmd:"" name:"s3" help:"Run the S3 gateway."`
}

type partFlags struct {
	Dir  string `help:"Folder of the data." required:"" type:"path"`
	Port int    `help:"Port to listen on." required:""`
}

type partPostgresCmd struct{ partFlags }

// Run serves until ctx ends.
func (c *partPostgresCmd) Run(ctx context.Context, log *slog.Logger, io stdio) error {
	p, err := local.StartPostgres(ctx, local.PostgresOptions{Dir: c.Dir, Port: c.Port, Log: log})
	if err != nil {
		return err
	}
	fmt.Fprintf(io.out, "ready on port %d\n", c.Port)
	<-ctx.Done()
	return p.Close()
}

type partS3Cmd struct{ partFlags }

// Run serves until ctx ends.
func (c *partS3Cmd) Run(ctx context.Context, io stdio) error {
	s, err := local.StartS3(ctx, local.S3Options{Dir: c.Dir, Port: c.Port})
	if err != nil {
		return err
	}
	fmt.Fprintf(io.out, "ready on port %d\n", c.Port)
	<-ctx.Done()
	return s.Close()
}

// stackParts names the parts, for help.
func stackParts() string {
	names := []string{}
	for _, p := range realstack.Parts() {
		names = append(names, p.Name)
	}
	return strings.Join(names, ", ")
}
