package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"darkroom/ingest"
	"darkroom/internal/blob"
	"darkroom/internal/pixels/engine"
	"darkroom/internal/service"
	"darkroom/internal/table"
	"darkroom/internal/table/embedded"
	"darkroom/internal/table/open"
	"darkroom/statsapi"
)

// ingestCmd runs the upload service.
type ingestCmd struct {
	IngestListen string        `help:"Address to serve on; port 0 picks a free one." default:"127.0.0.1:8080" placeholder:"ADDR"`
	Kafka        []string      `help:"Kafka brokers, as host:port." default:"127.0.0.1:9092" placeholder:"ADDR"`
	S3           blob.Config   `embed:"" prefix:"s3-"`
	Table        string        `help:"Table store with the facts that GET gives, as tcp://host:port or cassandra://host/keyspace; none if empty." placeholder:"DSN"`
	MaxBytes     int64         `help:"Largest image, in bytes." default:"67108864"`
	SweepAfter   time.Duration `help:"Age at which the sweeper publishes an upload that could not be." default:"30s"`
	engine.Choice
	contentFlags
}

// Run serves until ctx ends.
func (c *ingestCmd) Run(ctx context.Context, log *slog.Logger, io stdio) error {
	listener, err := listen(ctx, "--ingest-listen", c.IngestListen)
	if err != nil {
		return err
	}
	defer listener.Close()
	var tables table.Store
	if c.Table != "" {
		if tables, err = open.Open(ctx, c.Table); err != nil {
			return fmt.Errorf("open table store: %w", err)
		}
		defer tables.Close()
	}
	svc, err := newIngest(ctx, c, tables, log, service.NewRegistry())
	if err != nil {
		return err
	}
	fmt.Fprintf(io.out, "ready ingest=http://%s\n", listener.Addr())
	return errors.Join(serve(ctx, listener, svc), svc.Close())
}

func newIngest(
	ctx context.Context, c *ingestCmd, tables table.Store, log *slog.Logger, registry *prometheus.Registry,
) (*ingest.Service, error) {
	cfg := ingest.DefaultConfig()
	cfg.Brokers, cfg.MaxBytes, cfg.SweepAfter = c.Kafka, c.MaxBytes, c.SweepAfter
	if err := c.config(&cfg, c.Choice); err != nil {
		return nil, err
	}
	if err := c.Check(ctx); err != nil {
		return nil, err
	}
	blobs, err := blob.Open(ctx, c.S3)
	if err != nil {
		return nil, fmt.Errorf("open blob store: %w", err)
	}
	if err := blobs.EnsureBucket(ctx); err != nil {
		return nil, fmt.Errorf("ensure bucket %s: %w", c.S3.Bucket, err)
	}
	return ingest.New(cfg, blobs, tables, log, registry)
}

// statsapiCmd runs the statistics service.
type statsapiCmd struct {
	Serve   statsServeCmd   `cmd:"" default:"withargs" help:"Serve queries and follow the changes of the tables."`
	Rebuild statsRebuildCmd `cmd:"" help:"Drop the copy and build it again from the topics, beside instances that serve and consume, then end."`
}

type statsFlags struct {
	Kafka    []string `help:"Kafka brokers, as host:port." default:"127.0.0.1:9092" placeholder:"ADDR"`
	Postgres string   `help:"PostgreSQL database, as a URL." default:"postgres://127.0.0.1:5432/darkroom" placeholder:"URL"`
}

func (f statsFlags) config() statsapi.Config {
	cfg := statsapi.DefaultConfig()
	cfg.Brokers, cfg.PostgresDSN = f.Kafka, f.Postgres
	return cfg
}

type statsServeCmd struct {
	statsFlags
	StatsListen string `help:"Address to serve on; port 0 picks a free one." default:"127.0.0.1:8081" placeholder:"ADDR"`
}

// Run serves until ctx ends.
func (c *statsServeCmd) Run(ctx context.Context, log *slog.Logger, io stdio) error {
	listener, err := listen(ctx, "--stats-listen", c.StatsListen)
	if err != nil {
		return err
	}
	defer listener.Close()
	svc, err := statsapi.New(ctx, c.config(), log, service.NewRegistry())
	if err != nil {
		return err
	}
	defer svc.Close()
	fmt.Fprintf(io.out, "ready stats=http://%s\n", listener.Addr())
	return serve(ctx, listener, svc)
}

type statsRebuildCmd struct {
	statsFlags
	AcceptLoss bool `help:"Rebuild even if the topics no longer hold everything that the copy was made of; what they lack is lost."`
}

// Run rebuilds the copy.
func (c *statsRebuildCmd) Run(ctx context.Context, log *slog.Logger, io stdio) error {
	cfg := c.config()
	cfg.RebuildIncomplete = c.AcceptLoss
	svc, err := statsapi.New(ctx, cfg, log, service.NewRegistry())
	if err != nil {
		return err
	}
	defer svc.Close()
	bar := newBar(io.err, "rebuild", 0)
	err = svc.Rebuild(ctx, func(done, total int64) {
		bar.ChangeMax64(total)
		_ = bar.Set64(done) // a bar that cannot be drawn harms nothing
	})
	if errors.Is(err, statsapi.ErrIncomplete) {
		return fmt.Errorf("%w (--accept-loss rebuilds all the same)", err)
	}
	if err != nil {
		return err
	}
	_ = bar.Finish()
	fmt.Fprintln(io.out, "rebuilt")
	return nil
}

// tableCmd runs the embedded table store for processes that run alone.
type tableCmd struct {
	TableListen string   `help:"Address to serve on; port 0 picks a free one." default:"127.0.0.1:9041" placeholder:"ADDR"`
	Dir         string   `help:"Folder of the store." default:"./.darkroom/table" type:"path"`
	Kafka       []string `help:"Kafka brokers that the changes are published to." default:"127.0.0.1:9092" placeholder:"ADDR"`
}

// Run serves until ctx ends.
func (c *tableCmd) Run(ctx context.Context, io stdio) error {
	listener, err := listen(ctx, "--table-listen", c.TableListen)
	if err != nil {
		return err
	}
	defer listener.Close()
	store, err := embedded.Open(ctx, c.Dir, embedded.Options{Brokers: c.Kafka})
	if err != nil {
		return err
	}
	fmt.Fprintf(io.out, "ready table=tcp://%s\n", listener.Addr())
	return errors.Join(embedded.Serve(ctx, listener, store), store.Close())
}

// httpService is what ingest and statsapi have in common.
type httpService interface {
	Handler() http.Handler
	Run(ctx context.Context) error
}

// serve runs a service and its handler until ctx or one of them ends.
func serve(ctx context.Context, l net.Listener, svc httpService) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return service.Serve(ctx, l, svc.Handler()) })
	group.Go(func() error { return svc.Run(ctx) })
	return group.Wait()
}

// listen binds an address; its error names the flag.
func listen(ctx context.Context, flag, addr string) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%s: listen on %s: %s", flag, addr, reason(err))
	}
	return l, nil
}

// reason is the last part of an error of the net package, which alone says something to a person.
func reason(err error) string {
	text := err.Error()
	return strings.TrimPrefix(text[strings.LastIndex(text, ": ")+1:], " ")
}
