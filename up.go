package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/alecthomas/kong"
	"golang.org/x/sync/errgroup"

	"darkroom/ingest"
	"darkroom/internal/event"
	"darkroom/internal/local"
	"darkroom/internal/service"
	"darkroom/internal/table"
	"darkroom/internal/table/embedded"
	"darkroom/pipelines"
	"darkroom/runners"
	"darkroom/statsapi"
)

// imagePartitions is how many partitions the topic of uploads has, and so how many readers work side by side.
const imagePartitions = 4

// upCmd runs everything in one process.
type upCmd struct {
	Data         string      `help:"Folder of all data." default:"./.darkroom" type:"path" placeholder:"DIR"`
	IngestListen string      `help:"Address of the upload service; port 0 picks a free one." default:"127.0.0.1:8080" placeholder:"ADDR"`
	StatsListen  string      `help:"Address of the statistics service; port 0 picks a free one." default:"127.0.0.1:8081" placeholder:"ADDR"`
	Demo         optionalDir `help:"Upload every image of a folder, then print what is known of them; without a value the folder testdata/photos." placeholder:"DIR"`
	MaxBytes     int64       `help:"Largest image, in bytes." default:"67108864"`
	MaxPixels    int64       `help:"Reject images of more pixels, over all frames." default:"100000000"`
	Real         bool        `help:"Run on the real parts (darkroom stack): Kafka, Cassandra with Debezium, Flink, PostgreSQL. They go on when this ends."`
	Eager        []string    `help:"Recipe (YAML) of what is derived of each image as it arrives; once for each recipe." type:"path" sep:"none" placeholder:"FILE"`
	pipelines.Deriving
	watchFlags
	contentFlags
	PostgresBin string `help:"Folder of PostgreSQL's initdb and postgres; empty to look for them, and else to fetch them." placeholder:"DIR"`
}

// Validate checks those flags of which the pipeline would take 0 for not given.
func (c *upCmd) Validate() error {
	if c.MaxPixels < 1 {
		return errors.New("--max-pixels: must be positive")
	}
	if c.MaxShare == 0 {
		return errors.New("--max-share: must be more than 0 and at most 1")
	}
	return c.watchFlags.Validate()
}

// Run runs until ctx ends or a part fails.
func (c *upCmd) Run(ctx context.Context, log *slog.Logger, out stdio) (err error) {
	demo, err := filepath.Abs(string(c.Demo)) // before the S3 gateway changes the working directory
	if err != nil {
		return fmt.Errorf("find folder %s: %w", c.Demo, err)
	}
	if _, err := os.ReadDir(demo); c.Demo != "" && err != nil {
		return fmt.Errorf("--demo: read folder: %w (give another as --demo=DIR)", err)
	}
	if err := anchor(&c.PostgresBin, &c.Libvips); err != nil {
		return err
	}
	s, err := c.deploy(ctx, log, out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()

	group, ctx := errgroup.WithContext(ctx)
	running := make(chan struct{})
	s.run(ctx, group, log, sync.OnceFunc(func() { close(running) }))
	group.Go(func() error {
		select {
		case <-ctx.Done():
			return nil
		case <-running:
		}
		if err := s.ready(ctx); err != nil {
			return err
		}
		fmt.Fprintln(out.out, s.readyLine())
		if c.Demo == "" {
			return nil
		}
		ingestURL, statsURL := s.urls()
		return runDemo(ctx, out, demo, ingestURL, statsURL)
	})
	return group.Wait()
}

// anchor makes paths absolute before the S3 gateway changes the working directory. What is not there is left as it is, for
// an error to show what was given, and so is a library's bare name, which is for the system's loader alone.
func anchor(paths ...*string) error {
	for _, p := range paths {
		info, err := os.Stat(*p)
		if err != nil || !info.IsDir() && !strings.ContainsRune(*p, filepath.Separator) {
			continue
		}
		abs, err := filepath.Abs(*p)
		if err != nil {
			return fmt.Errorf("find %s: %w", *p, err)
		}
		*p = abs
	}
	return nil
}

// deployment is all of Darkroom, started.
type deployment interface {
	// run runs it until ctx ends, and calls started when the pipeline runs.
	run(ctx context.Context, group *errgroup.Group, log *slog.Logger, started func())
	// ready waits until both services say that all they need is there.
	ready(ctx context.Context) error
	readyLine() string
	urls() (ingest, stats string)
	close() error
}

func (c *upCmd) deploy(ctx context.Context, log *slog.Logger, out stdio) (deployment, error) {
	if c.Real {
		return c.startReal(ctx, log, out)
	}
	return c.start(ctx, log)
}

// services are Darkroom's own two and the pipeline, which both deployments have.
type services struct {
	closers
	ingestAddr, statsAddr net.Listener
	ingest                *ingest.Service
	stats                 *statsapi.Service
	live                  *pipelines.Live
	watch                 *watch
}

// listen binds the addresses of both, and a free port for a third server of this process.
func (s *services) listen(ctx context.Context, c *upCmd, third *net.Listener, name string) (err error) {
	for _, l := range []struct {
		to         *net.Listener
		flag, addr string
	}{
		{&s.ingestAddr, "--ingest-listen", c.IngestListen},
		{&s.statsAddr, "--stats-listen", c.StatsListen},
		{third, name, "127.0.0.1:0"},
	} {
		if *l.to, err = listen(ctx, l.flag, l.addr); err != nil {
			return err
		}
		s.closers = append(s.closers, closeListener(*l.to))
	}
	return nil
}

// connect connects the services to the parts that live names and to their stores, and readies the pipeline.
func (s *services) connect(
	ctx context.Context, c *upCmd, live *pipelines.Live, postgres string, tables table.Store, log *slog.Logger,
) (err error) {
	s.stats, err = statsapi.New(ctx, statsFlags{Kafka: live.Kafka, Postgres: postgres}.config(), log, service.NewRegistry())
	if err != nil {
		return err
	}
	s.closers = append(s.closers, func() error { s.stats.Close(); return nil })
	registry := service.NewRegistry()
	s.ingest, err = newIngest(ctx, &ingestCmd{
		Kafka: live.Kafka, S3: live.S3, MaxBytes: c.MaxBytes, SweepAfter: ingest.DefaultConfig().SweepAfter,
		Choice: c.Choice, contentFlags: c.contentFlags,
	}, tables, log, registry)
	if err != nil {
		return err
	}
	s.closers = append(s.closers, s.ingest.Close)
	live.MaxPixels, live.MaxBytes, live.Eager, live.Deriving = c.MaxPixels, c.MaxBytes, c.Eager, c.Deriving
	if err := kong.ApplyDefaults(live); err != nil { // it validates as well
		return fmt.Errorf("configure pipeline: %w", err)
	}
	s.live = live
	if s.watch, err = c.watch(pipelines.LiveName, live, tables, log); err != nil {
		return err
	}
	s.closers = append(s.closers, func() error { s.watch.Close(); return nil })
	registry.MustRegister(s.watch) // one process, one place: ingest's
	return nil
}

func (s *services) urls() (ingest, stats string) {
	return "http://" + s.ingestAddr.Addr().String(), "http://" + s.statsAddr.Addr().String()
}

func (s *services) run(ctx context.Context, group *errgroup.Group) {
	group.Go(func() error { return serve(ctx, s.ingestAddr, s.ingest) })
	group.Go(func() error { return serve(ctx, s.statsAddr, s.stats) })
	group.Go(func() error { return s.watch.Run(ctx) })
}

// started is what to call with each job: it tells the monitor, and then whom it is given.
func (s *services) started(also func()) func(*runners.Job) {
	return func(job *runners.Job) {
		s.watch.job.Store(job)
		also()
	}
}

// ready implements deployment.
func (s *services) ready(ctx context.Context) error {
	for _, l := range []net.Listener{s.ingestAddr, s.statsAddr} {
		if err := waitReady(ctx, "http://"+l.Addr().String()+"/readyz"); err != nil {
			return err
		}
	}
	return nil
}

// roomToStart is what the parts write before they answer, in bytes: most of it a segment of PostgreSQL's log.
const roomToStart = 32e6

// lock makes the folder of all data and takes it for this process.
func (c *upCmd) lock() (io.Closer, error) {
	if err := os.MkdirAll(c.Data, 0o755); err != nil {
		return nil, fmt.Errorf("--data: make folder %s: %s", c.Data, reason(err))
	}
	if err := local.CheckRoom(c.Data, roomToStart); err != nil {
		return nil, fmt.Errorf("--data: %w", err)
	}
	lock, err := local.Lock(c.Data)
	if err != nil {
		return nil, fmt.Errorf("--data: %w", err)
	}
	return lock, nil
}

// closers end what was started, in the reverse order of the start.
type closers []func() error

func (c closers) close() error {
	var errs []error
	for i := len(c) - 1; i >= 0; i-- {
		errs = append(errs, c[i]())
	}
	return errors.Join(errs...)
}

// stack is everything that up runs in this process.
type stack struct {
	services

	tableAddr net.Listener

	kafka    *local.Kafka
	s3       *local.S3
	postgres *local.Postgres
	tables   *embedded.Store
	prism    *runners.Prism
	maxHeap  uint64
}

// start starts the parts, those that need no other side by side.
func (c *upCmd) start(ctx context.Context, log *slog.Logger) (_ *stack, err error) {
	s := &stack{maxHeap: c.MaxHeap}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	lock, err := c.lock()
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, lock.Close)
	if err := s.listen(ctx, c, &s.tableAddr, "table store"); err != nil {
		return nil, err
	}
	if err := s.startParts(ctx, c, log); err != nil {
		return nil, err
	}
	live := &pipelines.Live{Ends: pipelines.Ends{Kafka: []string{s.kafka.Addr()}, S3: s.s3.Config("darkroom"), Table: s.tableDSN()}}
	return s, s.connect(ctx, c, live, s.postgres.DSN(), s.tables, log)
}

// closeListener closes a listener that its server may have closed before.
func closeListener(l net.Listener) func() error {
	return func() error {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	}
}

// startParts starts what stands in for the parts of a cluster.
func (s *stack) startParts(ctx context.Context, c *upCmd, log *slog.Logger) error {
	data := c.Data
	var mu sync.Mutex
	started := func(closer func() error) {
		mu.Lock()
		defer mu.Unlock()
		s.closers = append(s.closers, closer)
	}
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		topics := map[string]int32{event.TopicImages: imagePartitions, event.TopicRejected: 1}
		for _, t := range table.ChangeTopics() {
			topics[t] = 1
		}
		s.kafka, err = local.StartKafka(local.KafkaOptions{Dir: filepath.Join(data, "kafka"), Topics: topics})
		if err != nil {
			return err
		}
		started(s.kafka.Close)
		s.tables, err = embedded.Open(gctx, filepath.Join(data, "table"), embedded.Options{Brokers: []string{s.kafka.Addr()}})
		if err != nil {
			return err
		}
		started(s.tables.Close)
		return nil
	})
	group.Go(func() (err error) {
		s.s3, err = local.StartS3(gctx, local.S3Options{Dir: filepath.Join(data, "s3")})
		if err != nil {
			return err
		}
		started(s.s3.Close)
		return nil
	})
	group.Go(func() (err error) {
		s.postgres, err = local.StartPostgres(gctx, local.PostgresOptions{
			Dir: filepath.Join(data, "postgres"), Bin: c.PostgresBin, Log: log,
		})
		if err != nil {
			return err
		}
		started(s.postgres.Close)
		return nil
	})
	group.Go(func() (err error) {
		s.prism, err = runners.StartPrism(ctx)
		return err
	})
	return group.Wait()
}

func (s *stack) tableDSN() string { return "tcp://" + s.tableAddr.Addr().String() }

// run runs everything until ctx ends. It calls started when the pipeline runs.
func (s *stack) run(ctx context.Context, group *errgroup.Group, log *slog.Logger, started func()) {
	group.Go(func() error { return embedded.Serve(ctx, s.tableAddr, s.tables) })
	s.services.run(ctx, group)
	group.Go(func() error {
		return stream(ctx, s.prism, pipelines.LiveName, s.live, s.maxHeap, log, s.started(started))
	})
}

func (s *stack) readyLine() string {
	return fmt.Sprintf("ready ingest=http://%s stats=http://%s kafka=%s s3=%s postgres=%s table=%s",
		s.ingestAddr.Addr(), s.statsAddr.Addr(), s.kafka.Addr(), s.s3.Config("").Endpoint, s.postgres.DSN(), s.tableDSN())
}
