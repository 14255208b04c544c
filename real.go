package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/alecthomas/kong"
	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"darkroom/internal/blob"
	"darkroom/internal/event"
	realstack "darkroom/internal/local/stack"
	"darkroom/internal/table/open"
	"darkroom/pipelines"
	"darkroom/runners"
)

// realParts are the parts that `up --real` needs; they bring those that they need themselves.
var realParts = []string{"kafka", "cassandra", "debezium", "flink-jobserver", "postgres", "s3"}

// realUp is Darkroom's own services and the live pipeline's workers in this process, on the parts of `darkroom stack`.
type realUp struct {
	services

	stack   *realstack.Stack
	known   map[string]string // what the parts tell, by variable
	workers net.Listener
	pool    *runners.Pool
	options runners.FlinkOptions
}

// startReal starts the parts unless they run, and connects to them.
func (c *upCmd) startReal(ctx context.Context, log *slog.Logger, io stdio) (_ *realUp, err error) {
	s := &realUp{}
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
	if err := s.listen(ctx, c, &s.workers, "worker pool"); err != nil {
		return nil, err
	}
	if err := s.startParts(ctx, c, io); err != nil {
		return nil, err
	}
	s.closers = append(s.closers, func() error {
		_, err := fmt.Fprintf(io.err, "the parts go on, so that the next start is quick; to stop them: darkroom stack down --dir %s\n",
			filepath.Join(c.Data, "stack"))
		return err
	})
	return s, s.startServices(ctx, c, log)
}

func (s *realUp) startParts(ctx context.Context, c *upCmd, io stdio) (err error) {
	s.stack, err = realstack.Open(realstack.Options{Dir: filepath.Join(c.Data, "stack"), FreePorts: true})
	if err != nil {
		return err
	}
	progress := newStackProgress(io.err, s.stack)
	err = s.stack.Up(ctx, progress.print, realParts...)
	progress.endBar()
	if err != nil {
		return err
	}
	status, err := s.stack.Status(ctx)
	if err != nil {
		return err
	}
	s.known = map[string]string{}
	for _, part := range status {
		for _, v := range part.Variables {
			s.known[v.Name] = v.Value
		}
	}
	return s.makeTopics(ctx)
}

// makeTopics makes the topics that Darkroom writes to. Debezium makes those of the changes.
func (s *realUp) makeTopics(ctx context.Context) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.stack.Addr("kafka")))
	if err != nil {
		return fmt.Errorf("open kafka client: %w", err)
	}
	defer cl.Close()
	for topic, partitions := range map[string]int32{event.TopicImages: imagePartitions, event.TopicRejected: 1} {
		there, err := kadm.NewClient(cl).ListTopics(ctx, topic)
		if err == nil && !there.Has(topic) {
			_, err = kadm.NewClient(cl).CreateTopic(ctx, partitions, 1, nil, topic)
		}
		if err != nil {
			return fmt.Errorf("make topic %s: %w", topic, err)
		}
	}
	return nil
}

func (s *realUp) tableDSN() string { return "cassandra://" + s.stack.Addr("cassandra") + "/darkroom" }

// startServices connects Darkroom's own services, and describes the job and its workers.
func (s *realUp) startServices(ctx context.Context, c *upCmd, log *slog.Logger) error {
	tables, err := open.Open(ctx, s.tableDSN())
	if err != nil {
		return err
	}
	s.closers = append(s.closers, tables.Close)
	live := &pipelines.Live{Ends: pipelines.Ends{Kafka: []string{s.stack.Addr("kafka")}, Table: s.tableDSN(), S3: blob.Config{
		Endpoint: s.known["DARKROOM_S3_ENDPOINT"], Bucket: "darkroom",
		AccessKey: s.known["DARKROOM_S3_ACCESS_KEY"], SecretKey: s.known["DARKROOM_S3_SECRET_KEY"],
	}}}
	if err := s.connect(ctx, c, live, s.known["DARKROOM_POSTGRES"], tables, log); err != nil {
		return err
	}
	if err := kong.ApplyDefaults(&s.options); err != nil {
		return fmt.Errorf("configure Flink: %w", err)
	}
	s.options.BundleTime = 50 * time.Millisecond // what is uploaded by hand is looked for at once
	s.options.CheckpointDir = "file://" + filepath.Join(c.Data, "stack", "checkpoints")
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	s.pool = newPool(ctx, self, os.Stderr, 0, log)
	return nil
}

// run implements deployment.
func (s *realUp) run(ctx context.Context, group *errgroup.Group, log *slog.Logger, started func()) {
	s.services.run(ctx, group)
	// The workers must outlive the job, which is cancelled when ctx ends.
	working, stop := context.WithCancel(context.WithoutCancel(ctx))
	group.Go(func() error { return s.pool.Serve(working, s.workers) })
	group.Go(func() error {
		defer stop()
		flink := runners.Flink{
			JobServer: s.stack.Addr("flink-jobserver"), REST: runners.FlinkREST{URL: "http://" + s.stack.Addr("flink-jobmanager")},
		}
		return flink.Stream(ctx, runners.Streaming{
			Name:    pipelines.LiveName,
			Build:   func(ctx context.Context) (*beam.Pipeline, error) { return build(ctx, s.live) },
			Started: s.started(started),
		}, s.workers.Addr().String(), s.options, log)
	})
}

func (s *realUp) readyLine() string {
	ingestURL, statsURL := s.urls()
	return fmt.Sprintf("ready ingest=%s stats=%s kafka=%s s3=%s postgres=%s table=%s flink=http://%s",
		ingestURL, statsURL, s.stack.Addr("kafka"), s.known["DARKROOM_S3_ENDPOINT"], s.known["DARKROOM_POSTGRES"],
		s.tableDSN(), s.stack.Addr("flink-jobmanager"))
}
