package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strconv"
	"strings"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/mtime"
	"github.com/twmb/franz-go/pkg/kgo"

	"darkroom/bench/sums"
	"darkroom/runners"
)

// streamRunCmd is one run of one of our own contenders, in a process of its own.
type streamRunCmd struct {
	Client clientRun `cmd:"" help:"A bare client that sums as it reads."`
	Prism  prismRun  `cmd:"" help:"The pipeline on Prism, in this process."`
	Flink  flinkRun  `cmd:"" help:"The pipeline on Flink, with its workers in this process."`
}

type runFlags struct {
	Brokers []string
	Topic   string
	Name    string
	Events  int64
	Profile string
	PID     []int `name:"pid" help:"Processes whose time and memory count too."`

	before float64
}

// collect readies the results, and the meter at the first record.
func (f *runFlags) collect() *sums.Results {
	for _, pid := range f.PID {
		// What follows is the peak from here on (proc_pid_clear_refs(5)).
		_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
	}
	return sums.Collect(f.Name, f.Events, func() { f.before = f.cpu() })
}

// cpu is the processor time of all processes, in seconds.
func (f *runFlags) cpu() float64 {
	total := cpuSeconds()
	for _, pid := range f.PID {
		total += processSeconds(pid)
	}
	return total
}

// processSeconds reads the processor time of another process, which Linux counts in hundredths (proc_pid_stat(5)).
func processSeconds(pid int) float64 {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / 100
}

func peakKilobytes(pid string) (kb int64) {
	status, _ := os.ReadFile(filepath.Join("/proc", pid, "status"))
	if _, rest, ok := strings.Cut(string(status), "VmHWM:"); ok {
		_, _ = fmt.Sscan(rest, &kb)
	}
	return kb
}

// report prints the result when all is there.
func (f *runFlags) report(ctx context.Context, r *sums.Results, failed <-chan error) error {
	select {
	case <-r.Done:
	case <-ctx.Done():
		return ctx.Err()
	case err := <-failed:
		return errors.Join(errors.New("the job ended before its results were there"), err)
	}
	result := streamResult{Total: r.Total(), Seconds: r.Took.Seconds(), CPU: f.cpu() - f.before, PeakKB: peakKilobytes("self")}
	for _, pid := range f.PID {
		result.PeakKB += peakKilobytes(strconv.Itoa(pid))
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}

// profile writes a CPU profile if one is wanted.
func (f *runFlags) profile() (stop func(), err error) {
	if f.Profile == "" {
		return func() {}, nil
	}
	file, err := os.Create(f.Profile)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		return nil, err
	}
	return func() {
		pprof.StopCPUProfile()
		_ = file.Close()
	}, nil
}

func (f *runFlags) pipeline() *beam.Pipeline {
	p, s := beam.NewPipelineWithRoot()
	sums.Job{Name: f.Name, Brokers: f.Brokers, Topic: f.Topic, Buckets: 16}.Build(s)
	return p
}

func quiet() {
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
}

type clientRun struct{ runFlags }

// Run sums in the client's own loop.
func (c *clientRun) Run(ctx context.Context) error {
	stop, err := c.profile()
	if err != nil {
		return err
	}
	defer stop()
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers...), kgo.ConsumeTopics(c.Topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return err
	}
	defer cl.Close()
	results, table := c.collect(), sums.NewTable()
	for n := int64(0); n < c.Events+sums.Partitions; {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return err
		}
		results.Begin()
		for iter := fetches.RecordIter(); !iter.Done(); n++ {
			r := iter.Next()
			if err := table.Add(mtime.FromTime(r.Timestamp), r.Key, r.Value); err != nil {
				return err
			}
		}
	}
	table.Give(results)
	return c.report(ctx, results, nil)
}

type prismRun struct{ runFlags }

// Run runs the job until its results are there.
func (c *prismRun) Run(ctx context.Context) error {
	quiet()
	stop, err := c.profile()
	if err != nil {
		return err
	}
	defer stop()
	prism, err := runners.StartPrism(ctx)
	if err != nil {
		return err
	}
	results := c.collect()
	job, err := prism.Submit(ctx, c.Name, c.pipeline())
	if err != nil {
		return err
	}
	return c.report(ctx, results, await(ctx, job))
}

type flinkRun struct {
	runFlags
	JobServer string
	Flink     string
	runners.FlinkOptions
}

// Run runs the job until its results are there, and cancels it.
func (c *flinkRun) Run(ctx context.Context) error {
	quiet()
	stop, err := c.profile()
	if err != nil {
		return err
	}
	defer stop()
	results := c.collect()
	job, err := runners.Flink{JobServer: c.JobServer, REST: runners.FlinkREST{URL: c.Flink}}.Submit(
		ctx, c.Name, c.pipeline(), true, "", c.FlinkOptions)
	if err != nil {
		return err
	}
	err = c.report(ctx, results, await(ctx, job))
	return errors.Join(err, job.Cancel(ctx))
}

func await(ctx context.Context, job *runners.Job) <-chan error {
	ended := make(chan error, 1)
	go func() { ended <- job.Wait(ctx) }()
	return ended
}
