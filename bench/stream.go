package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"darkroom/bench/sums"
	"darkroom/internal/local/stack"
)

// streamBench runs one job on several engines: the sums of bench/sums. All of them read the same topic of the same
// broker, each in a process of its own that starts cold, one after another, and all must give the same results.
type streamBench struct {
	Events      int           `help:"Events in the topic." default:"2000000"`
	Keys        []int         `help:"Numbers of keys to measure with." default:"100,1000000"`
	Rounds      int           `help:"Rounds of each." default:"5"`
	Parallelism int           `help:"Threads, tasks or workers of each." default:"2"`
	Checkpoint  time.Duration `help:"Time between Flink's checkpoints." default:"2s"`
	Only        []string      `help:"Engines to run." default:"client,kafka-streams,flink,beam-flink,beam-prism"`
	Stack       string        `help:"Folder of a stack to use and to leave running; a new one, which is taken down, if empty." placeholder:"DIR"`
	Profile     string        `help:"Folder for the CPU profiles of the pipelines; none if empty." placeholder:"DIR"`
}

// streamResult is what a run prints.
type streamResult struct {
	sums.Total
	Seconds float64 `json:"seconds"` // from the first record to the last result
	CPU     float64 `json:"cpu"`     // seconds, in the same time, of all processes of the engine
	PeakKB  int64   `json:"peak_kb"` // resident, of all processes of the engine, each at its own peak
}

// streamRun is one benchmark with its stack.
type streamRun struct {
	*streamBench
	binary string
	dir    string
	stack  *stack.Stack
	peers  *peers
}

// engine runs the job once over a topic.
type engine struct {
	name string
	run  func(ctx context.Context, topic, name string) (streamResult, error)
}

// Run measures.
func (b *streamBench) Run(ctx context.Context, c *cli) (err error) {
	r, stop, err := b.start(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	engines := slices.DeleteFunc([]engine{
		{"client", r.client}, {"kafka-streams", r.kafkaStreams}, {"flink", r.nativeFlink},
		{"beam-flink", r.beamFlink}, {"beam-prism", r.beamPrism},
	}, func(e engine) bool { return !slices.Contains(b.Only, e.name) })
	for _, keys := range b.Keys {
		in := sums.Input{Events: b.Events, Keys: keys}
		topic := fmt.Sprintf("sums-%d-%d-%d", b.Events, keys, time.Now().UnixMilli())
		if err := in.Fill(ctx, []string{r.stack.Addr("kafka")}, topic); err != nil {
			return err
		}
		if err := r.measure(ctx, engines, keys, topic, in.Expected()); err != nil {
			return err
		}
	}
	return nil
}

func (b *streamBench) start(ctx context.Context, c *cli) (*streamRun, func() error, error) {
	binary, err := filepath.Abs(c.Binary)
	if err != nil {
		return nil, nil, err
	}
	r := &streamRun{streamBench: b, binary: binary}
	if r.dir, err = os.MkdirTemp("", "darkroom-bench"); err != nil {
		return nil, nil, err
	}
	folder := b.Stack
	if folder == "" {
		folder = filepath.Join(r.dir, "stack")
	}
	if folder, err = filepath.Abs(folder); err != nil {
		return nil, nil, err
	}
	if r.stack, err = stack.Open(stack.Options{Dir: folder, Binary: binary, FreePorts: true}); err != nil {
		return nil, nil, err
	}
	stop := func() (err error) {
		if b.Stack == "" {
			err = r.stack.Down(context.WithoutCancel(ctx), func(stack.Event) {})
		}
		return errors.Join(err, os.RemoveAll(r.dir))
	}
	fmt.Fprintln(os.Stderr, "starting Kafka and Flink")
	err = r.stack.Up(ctx, func(stack.Event) {}, "kafka", "flink-jobserver", "flink-taskmanager")
	if err == nil {
		fmt.Fprintln(os.Stderr, "building the peers")
		r.peers, err = buildPeers(ctx, r.dir)
	}
	if err != nil {
		return nil, nil, errors.Join(err, stop())
	}
	return r, stop, nil
}

// measure runs the engines in turn and prints what they took.
func (r *streamRun) measure(ctx context.Context, engines []engine, keys int, topic string, want sums.Total) error {
	fmt.Printf("stream: %d events, %d keys, %d windowed sums, parallelism %d, %d rounds; min / median / max\n",
		r.Events, keys, want.Results, r.Parallelism, r.Rounds)
	all := map[string][]streamResult{}
	for round := range r.Rounds {
		for _, e := range engines {
			name := fmt.Sprintf("sums-%s-%d-%d-%d", e.name, keys, round, time.Now().UnixMilli())
			got, err := e.run(ctx, topic, name)
			if err != nil {
				return fmt.Errorf("run %s: %w", e.name, err)
			}
			if got.Total != want {
				return fmt.Errorf("run %s: it gave %+v instead of %+v", e.name, got.Total, want)
			}
			fmt.Fprintf(os.Stderr, "  round %d %-14s %8.0f events/s  %.2f CPU s  %d MB\n", round+1, e.name,
				float64(r.Events)/got.Seconds, got.CPU, got.PeakKB>>10)
			all[e.name] = append(all[e.name], got)
		}
	}
	for _, e := range engines {
		r.print(e.name, all)
	}
	return nil
}

// print prints the line of an engine, with its ratios to the peers of the same rounds.
func (r *streamRun) print(name string, all map[string][]streamResult) {
	rate := func(s streamResult) float64 { return float64(r.Events) / s.Seconds }
	column := func(f func(streamResult) float64, format string) string {
		var values []float64
		for _, s := range all[name] {
			values = append(values, f(s))
		}
		return spread(values, format)
	}
	fmt.Printf("  %-14s %s events/s; %s CPU seconds per million; %s MB\n", name, column(rate, "%.0f"),
		column(func(s streamResult) float64 { return s.CPU * 1e6 / float64(r.Events) }, "%.2f"),
		column(func(s streamResult) float64 { return float64(s.PeakKB >> 10) }, "%.0f"))
	if !strings.HasPrefix(name, "beam-") {
		return
	}
	for _, peer := range []string{"kafka-streams", "flink", "client"} {
		if len(all[peer]) == 0 {
			continue
		}
		var speed, cpu []float64
		for i, s := range all[name] {
			speed = append(speed, rate(s)/rate(all[peer][i]))
			cpu = append(cpu, s.CPU/all[peer][i].CPU)
		}
		fmt.Printf("    against %-14s %s of its events/s; %s of its CPU seconds\n", peer, spread(speed, "%.2f"), spread(cpu, "%.2f"))
	}
}

// child runs a program that prints a result, and shows what else it says if it fails.
func child(ctx context.Context, argv ...string) (result streamResult, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); err != nil {
		return result, fmt.Errorf("%w\n%s", err, tail(log.Bytes(), 4000))
	}
	if err := json.NewDecoder(&out).Decode(&result); err != nil && !errors.Is(err, io.EOF) {
		return result, fmt.Errorf("read result: %w", err)
	}
	return result, nil
}

func tail(b []byte, n int) []byte { return b[max(0, len(b)-n):] }

func (r *streamRun) kafkaStreams(ctx context.Context, topic, name string) (streamResult, error) {
	return r.java(ctx, "kafkastreams", topic, name, fmt.Sprint("-Dcommit=", r.Checkpoint.Milliseconds()))
}

func (r *streamRun) nativeFlink(ctx context.Context, topic, name string) (streamResult, error) {
	return r.java(ctx, "flink", topic, name, "-Dcheckpoint="+r.Checkpoint.String())
}

func (r *streamRun) java(ctx context.Context, peer, topic, name string, options ...string) (streamResult, error) {
	state, err := os.MkdirTemp(r.dir, peer)
	if err != nil {
		return streamResult{}, err
	}
	defer os.RemoveAll(state)
	return child(ctx, r.peers.command(peer, append(options,
		"-Dbrokers="+r.stack.Addr("kafka"), "-Dtopic="+topic, "-Dname="+name, "-Dstate="+state,
		fmt.Sprint("-Devents=", r.Events), fmt.Sprint("-Dparallelism=", r.Parallelism))...)...)
}

func (r *streamRun) client(ctx context.Context, topic, name string) (streamResult, error) {
	return r.self(ctx, "client", topic, name)
}

func (r *streamRun) beamPrism(ctx context.Context, topic, name string) (streamResult, error) {
	return r.self(ctx, "prism", topic, name)
}

// beamFlink starts the TaskManager anew, so that its JVM is as cold as the peers'.
func (r *streamRun) beamFlink(ctx context.Context, topic, name string) (streamResult, error) {
	if err := r.stack.Down(ctx, func(stack.Event) {}, "flink-taskmanager"); err != nil {
		return streamResult{}, err
	}
	if err := r.stack.Up(ctx, func(stack.Event) {}, "flink-taskmanager"); err != nil {
		return streamResult{}, err
	}
	status, err := r.stack.Status(ctx)
	if err != nil {
		return streamResult{}, err
	}
	args := []string{
		"--job-server", r.stack.Addr("flink-jobserver"), "--flink", "http://" + r.stack.Addr("flink-jobmanager"),
		"--checkpoint-interval", r.Checkpoint.String(), "--parallelism", strconv.Itoa(r.Parallelism),
	}
	for _, part := range status {
		if strings.HasPrefix(part.Name, "flink-") {
			args = append(args, "--pid", strconv.Itoa(part.PID))
		}
	}
	return r.self(ctx, "flink", topic, name, args...)
}

func (r *streamRun) self(ctx context.Context, engine, topic, name string, args ...string) (streamResult, error) {
	self, err := os.Executable()
	if err != nil {
		return streamResult{}, err
	}
	if r.Profile != "" {
		args = append(args, "--profile", filepath.Join(r.Profile, name))
	}
	return child(ctx, append([]string{self, "stream-run", engine, "--binary", r.binary, "--brokers", r.stack.Addr("kafka"), "--topic", topic,
		"--name", name, "--events", strconv.Itoa(r.Events)}, args...)...)
}
