package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"reflect"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kong"
	"github.com/apache/beam/sdks/v2/go/pkg/beam"

	"darkroom/pipelines"
	"darkroom/runners"
)

// pipelineCmd lists and runs pipelines, and looks after those that run on Flink.
type pipelineCmd struct {
	List      pipelineListCmd      `cmd:"" help:"List the pipelines: what each does and its options."`
	Run       pipelineRunCmd       `cmd:"" help:"Run a pipeline on Prism, in this process, or on Flink or Spark."`
	Status    pipelineStatusCmd    `cmd:"" help:"Show the jobs on Flink, with their checkpoints."`
	Cancel    pipelineCancelCmd    `cmd:"" help:"End a job on Flink at once; its last checkpoint stays."`
	Savepoint pipelineSavepointCmd `cmd:"" help:"Make a savepoint of a job on Flink, and print where it is."`
	Drain     pipelineDrainCmd     `cmd:"" help:"End a job on Flink when all that it has read has gone through."`
}

type pipelineListCmd struct{}

// Run prints the catalogue.
func (*pipelineListCmd) Run(io stdio, k *kong.Kong) error {
	w := tabwriter.NewWriter(io.out, 0, 0, 2, ' ', 0)
	for _, p := range runNode(k.Model.Node).Children {
		pipeline := p.Target.Addr().Interface().(pipelines.Pipeline)
		fmt.Fprintf(w, "%s\t%s\n\t%s\n", p.Name, p.Help, pipeline.Summary())
		for _, f := range p.Flags {
			fmt.Fprintf(w, "  --%s\t%s (default %q)\n", f.Name, f.Help, f.Default)
		}
	}
	return w.Flush()
}

// runNode is the command "pipeline run", whose subcommands are the catalogue.
func runNode(n *kong.Node) *kong.Node {
	if n.Target.IsValid() && n.Target.Type() == reflect.TypeFor[pipelineRunCmd]() {
		return n
	}
	for _, c := range n.Children {
		if found := runNode(c); found != nil {
			return found
		}
	}
	return nil
}

// selectedPipeline is the pipeline that the command line names. A command that has a Run of its own is run by kong also if
// none of its subcommands is named.
func selectedPipeline[P pipelines.Pipeline](selected *kong.Context) (name string, p P, err error) {
	node := selected.Selected()
	p, ok := node.Target.Addr().Interface().(P)
	if ok {
		return node.Name, p, nil
	}
	var names []string
	for _, c := range node.Children {
		names = append(names, strconv.Quote(c.Name))
	}
	return "", p, fmt.Errorf("name a pipeline: %s", strings.Join(names, ", "))
}

type pipelineRunCmd struct {
	pipelines.Catalogue

	Runner    string `help:"Where to run: prism (this process), flink or spark." default:"prism" enum:"prism,flink,spark"`
	JobServer string `help:"Beam's job server; 127.0.0.1:8099 for Flink and 127.0.0.1:8098 for Spark if empty." placeholder:"ADDR"`
	Workers   string `help:"Worker pool (darkroom worker), as the machines of Flink or Spark reach it; if empty, the work is done in this process and ends with it." placeholder:"ADDR"`
	Restart   bool   `help:"Begin from the last checkpoint of the last job of this name on Flink."`
	watchFlags
	flinkFlags
	runners.FlinkOptions

	MetricsListen string `help:"Address that serves the metrics of a streaming pipeline (/metrics, /healthz); port 0 picks a free one, none if empty." placeholder:"ADDR"`
}

// Validate checks the options. Its errors name the flag.
func (c *pipelineRunCmd) Validate() error {
	switch {
	case c.Runner != "flink" && (c.Restart || c.Savepoint != ""):
		return errors.New("--restart and --savepoint are for --runner flink")
	case c.Restart && c.Savepoint != "":
		return errors.New("--restart and --savepoint: only one of them can be given")
	}
	return errors.Join(c.watchFlags.Validate(), c.flinkFlags.Validate(), c.FlinkOptions.Validate())
}

// Run runs the pipeline that was named.
func (c *pipelineRunCmd) Run(ctx context.Context, log *slog.Logger, io stdio, selected *kong.Context) error {
	name, p, err := selectedPipeline[pipelines.Pipeline](selected)
	if err != nil {
		return err
	}
	if err := p.Check(ctx, c.Runner == "prism" || c.Workers == ""); err != nil {
		return fmt.Errorf("run %s: %w", name, err)
	}
	if streaming, ok := p.(pipelines.Streaming); ok && streaming.Unbounded() {
		return c.runStream(ctx, log, io, name, streaming)
	}
	if c.MetricsListen != "" {
		return errors.New("--metrics-listen is for a pipeline that runs without end")
	}
	if batch, ok := p.(pipelines.Batch); ok {
		return runBatch(ctx, io, name, batch, func(ctx context.Context, started func(*runners.Job)) error {
			return c.runOn(ctx, log, io, name, p, started)
		})
	}
	if err := c.runOn(ctx, log, io, name, p, func(*runners.Job) {}); err != nil || ctx.Err() == nil {
		return err
	}
	return errInterrupted
}

func (c *pipelineRunCmd) runStream(ctx context.Context, log *slog.Logger, io stdio, name string, p pipelines.Streaming) error {
	err := c.watched(ctx, log, io, name, p, func(ctx context.Context, started func(*runners.Job)) error {
		return c.runOn(ctx, log, io, name, p, started)
	})
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil // it has no end but this
	}
	return err
}

// runOn runs the pipeline on the runner that was chosen, until it or ctx ends.
func (c *pipelineRunCmd) runOn(ctx context.Context, log *slog.Logger, io stdio, name string, p pipelines.Pipeline,
	started func(*runners.Job),
) error {
	if c.Runner == "prism" {
		return c.onPrism(ctx, log, io, name, p, started)
	}
	jobName := nameOfJob(name, p)
	job, err := c.submit(ctx, jobName, p)
	if err != nil {
		return err
	}
	started(job)
	fmt.Fprintf(io.out, "running %s job=%s\n", name, job.ID())
	err = job.Wait(ctx)
	switch {
	case ctx.Err() == nil:
	case c.Workers == "":
		return job.Cancel(ctx)
	default:
		fmt.Fprintf(io.out, "%s goes on; end it with: darkroom pipeline cancel %s\n", name, jobName)
		return nil
	}
	if err != nil {
		return err
	}
	printDone(io, name, p)
	return nil
}

// printDone says that a pipeline has ended; a batch reports what it did instead.
func printDone(io stdio, name string, p pipelines.Pipeline) {
	if _, ok := p.(pipelines.Batch); !ok {
		fmt.Fprintf(io.out, "done %s\n", name)
	}
}

// nameOfJob tells a bounded run from the stream of the same pipeline, so that who cancels, restarts or looks for the one
// by its name never meets the other.
func nameOfJob(name string, p pipelines.Pipeline) string {
	if streaming, ok := p.(pipelines.Streaming); ok && !streaming.Unbounded() {
		return name + "-bounded"
	}
	return name
}

func (c *pipelineRunCmd) submit(ctx context.Context, name string, p pipelines.Pipeline) (*runners.Job, error) {
	if c.Restart {
		var err error
		if c.Savepoint, err = c.rest().LastCheckpoint(ctx, name); err != nil {
			return nil, err
		}
	}
	if c.Runner == "spark" && pipelines.IsUnbounded(p) {
		return nil, fmt.Errorf("--runner spark: %w; run it with --bounded, or on Flink", runners.ErrStreamingOnSpark)
	}
	pipeline, err := build(ctx, p)
	if err != nil {
		return nil, err
	}
	if c.Runner == "spark" {
		return runners.Spark{JobServer: cmp.Or(c.JobServer, runners.DefaultSparkServer)}.Submit(ctx, name, pipeline, c.Workers, c.Option)
	}
	return runners.Flink{JobServer: cmp.Or(c.JobServer, runners.DefaultFlinkServer), REST: c.rest()}.Submit(
		ctx, name, pipeline, pipelines.IsUnbounded(p), c.Workers, c.FlinkOptions)
}

func (c *pipelineRunCmd) onPrism(ctx context.Context, log *slog.Logger, io stdio, name string, p pipelines.Pipeline,
	started func(*runners.Job),
) error {
	prism, err := runners.StartPrism(ctx)
	if err != nil {
		return err
	}
	if streaming, ok := p.(pipelines.Streaming); ok && streaming.Unbounded() {
		return stream(ctx, prism, name, streaming, c.MaxHeap, log, func(job *runners.Job) {
			started(job)
			fmt.Fprintf(io.out, "running %s\n", name)
		})
	}
	pipeline, err := build(ctx, p)
	if err != nil {
		return err
	}
	job, err := prism.Submit(ctx, name, pipeline)
	if err != nil {
		return err
	}
	started(job)
	if err := job.Wait(ctx); err != nil {
		if ctx.Err() != nil {
			return job.Cancel(ctx)
		}
		return err
	}
	printDone(io, name, p)
	return nil
}

// build makes the pipeline, from where it is safe to begin again.
func build(ctx context.Context, p pipelines.Pipeline) (*beam.Pipeline, error) {
	if streaming, ok := p.(pipelines.Streaming); ok {
		if err := streaming.Resume(ctx); err != nil {
			return nil, err
		}
	}
	pipeline, scope := beam.NewPipelineWithRoot()
	p.Build(scope)
	return pipeline, nil
}

// stream keeps a streaming pipeline running on Prism until ctx ends.
func stream(ctx context.Context, prism *runners.Prism, name string, p pipelines.Streaming, maxHeap uint64,
	log *slog.Logger, started func(*runners.Job),
) error {
	return prism.Stream(ctx, runners.Streaming{
		Name:    name,
		Build:   func(ctx context.Context) (*beam.Pipeline, error) { return build(ctx, p) },
		Drain:   p.Drain,
		MaxHeap: maxHeap,
		Started: started,
	}, log)
}

// flinkFlags say where Flink's JobManager is.
type flinkFlags struct {
	Flink string `help:"REST address of Flink's JobManager." default:"http://127.0.0.1:8082" placeholder:"URL"`
}

// Validate checks the flag. Its error names it.
func (f flinkFlags) Validate() error {
	if u, err := url.Parse(f.Flink); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("--flink %q: must be a URL such as http://127.0.0.1:8082", f.Flink)
	}
	return nil
}

func (f flinkFlags) rest() runners.FlinkREST { return runners.FlinkREST{URL: f.Flink} }

// jobFlags name a job on Flink.
type jobFlags struct {
	Name string `arg:"" help:"Name of the pipeline, and so of its job; that of a bounded run of a stream ends in -bounded."`
	flinkFlags
}

type pipelineStatusCmd struct{ flinkFlags }

// Run prints a line a job, the newest first.
func (c *pipelineStatusCmd) Run(ctx context.Context, io stdio) error {
	jobs, err := c.rest().Jobs(ctx)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(io.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tSTATE\tFOR\tCHECKPOINTS\tFAILED\tLAST\tID")
	for _, j := range jobs {
		checkpoints, err := c.rest().Checkpoints(ctx, j)
		if err != nil {
			return err
		}
		last := "-"
		if newest := checkpoints.Newest(); newest != nil {
			last = time.UnixMilli(newest.Completed).UTC().Format(time.RFC3339)
		}
		fmt.Fprintf(w, "%s\t%s\t%v\t%d\t%d\t%s\t%s\n", j.Name, j.State,
			(time.Duration(j.Duration) * time.Millisecond).Truncate(time.Second),
			checkpoints.Counts.Completed, checkpoints.Counts.Failed, last, j.ID)
	}
	return w.Flush()
}

type pipelineCancelCmd struct{ jobFlags }

// Run cancels the job.
func (c *pipelineCancelCmd) Run(ctx context.Context, io stdio) error {
	if err := c.rest().Cancel(ctx, c.Name); err != nil {
		return err
	}
	fmt.Fprintf(io.out, "cancelled %s\n", c.Name)
	return nil
}

type pipelineSavepointCmd struct {
	jobFlags
	To string `help:"Folder for it, as a URL; Flink's own if empty." placeholder:"URL"`
}

// Run makes the savepoint.
func (c *pipelineSavepointCmd) Run(ctx context.Context, io stdio) error {
	path, err := c.rest().Savepoint(ctx, c.Name, c.To)
	if err != nil {
		return err
	}
	fmt.Fprintln(io.out, path)
	return nil
}

type pipelineDrainCmd struct {
	pipelines.Streams
	flinkFlags
}

// Run makes the pipeline's readers end, and waits for the job.
func (c *pipelineDrainCmd) Run(ctx context.Context, io stdio, selected *kong.Context) error {
	name, p, err := selectedPipeline[pipelines.Streaming](selected)
	if err != nil {
		return err
	}
	if err := c.rest().Drain(ctx, name, p.Drain); err != nil {
		return err
	}
	fmt.Fprintf(io.out, "drained %s\n", name)
	return nil
}

// workerCmd serves a worker pool, or is one of its workers.
type workerCmd struct {
	Serve workerServeCmd `cmd:"" default:"withargs" help:"Serve a pool of workers, for jobs on Flink and Spark."`
	Run   workerRunCmd   `cmd:"" hidden:"" help:"Be one worker; the pool starts this."`
}

type workerServeCmd struct {
	Listen string        `help:"Address to serve on; port 0 picks a free one. Every TaskManager or executor needs a pool at the address that the job names." default:"127.0.0.1:50000" placeholder:"ADDR"`
	Drain  time.Duration `help:"How long a pool that ends waits for the jobs of its workers." default:"30s"`
}

// Run serves until ctx ends.
func (c *workerServeCmd) Run(ctx context.Context, log *slog.Logger, out stdio) error {
	build, err := runners.Build()
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	listener, err := listen(ctx, "--listen", c.Listen)
	if err != nil {
		return err
	}
	defer listener.Close()
	fmt.Fprintf(out.out, "ready worker=%s build=%s\n", listener.Addr(), build)
	return newPool(ctx, self, out.err, c.Drain, log).Serve(ctx, listener)
}

// newPool returns a pool of workers that are this program.
func newPool(ctx context.Context, self string, stderr io.Writer, drain time.Duration, log *slog.Logger) *runners.Pool {
	return &runners.Pool{Drain: drain, Log: log, Command: func(w runners.Worker) *exec.Cmd {
		// Not with ctx: the pool drains before it ends its workers.
		cmd := exec.CommandContext(context.WithoutCancel(ctx), self, "worker", "run", "--id", w.ID,
			"--control", w.Control, "--logging", w.Logging, "--provision", w.Provision)
		cmd.Stderr = stderr
		return cmd
	}}
}

type workerRunCmd struct{ runners.Worker }

// Run works until the runner ends the worker.
func (c *workerRunCmd) Run(ctx context.Context) error { return c.Worker.Run(ctx) }
