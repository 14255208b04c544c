package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"darkroom/ingest"
	"darkroom/internal/blob"
	"darkroom/internal/event"
	"darkroom/internal/local"
	"darkroom/internal/service"
)

// ingestService runs the upload service over the embedded S3 and Kafka, as up does, and nothing that looks at the
// images: what is measured is the service.
type ingestService struct {
	Data string `help:"Folder of all data." required:""`
}

// Run serves until ctx ends.
func (s *ingestService) Run(ctx context.Context) error {
	kafka, err := local.StartKafka(local.KafkaOptions{Dir: filepath.Join(s.Data, "kafka"), Topics: map[string]int32{event.TopicImages: 4}})
	if err != nil {
		return err
	}
	defer kafka.Close()
	s3, err := local.StartS3(ctx, local.S3Options{Dir: filepath.Join(s.Data, "s3")})
	if err != nil {
		return err
	}
	defer s3.Close()
	blobs, err := blob.Open(ctx, s3.Config("bench"))
	if err != nil {
		return err
	}
	defer blobs.Close()
	if err := blobs.EnsureBucket(ctx); err != nil {
		return err
	}
	cfg := ingest.DefaultConfig()
	cfg.Brokers = []string{kafka.Addr()}
	svc, err := ingest.New(cfg, blobs, nil, slog.New(slog.NewTextHandler(os.Stderr, nil)), service.NewRegistry())
	if err != nil {
		return err
	}
	defer svc.Close()
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("ready ingest=http://%s\n", l.Addr())
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return service.Serve(ctx, l, svc.Handler()) })
	group.Go(func() error { return svc.Run(ctx) })
	return group.Wait()
}
