package ingest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/twmb/franz-go/pkg/kfake"

	"darkroom/ingest"
	"darkroom/internal/blob"
	"darkroom/internal/event"
	"darkroom/internal/service"
)

// An upload service before an S3 gateway and a broker, and an upload to it.
func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	kafka, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, event.TopicImages))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer kafka.Close()
	blobs, err := blob.Open(ctx, gateway().Config("example"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer blobs.Close()
	if err := blobs.EnsureBucket(ctx); err != nil {
		fmt.Println(err)
		return
	}

	cfg := ingest.DefaultConfig()
	cfg.Brokers = kafka.ListenAddrs()
	svc, err := ingest.New(cfg, blobs, nil, slog.New(slog.DiscardHandler), service.NewRegistry())
	if err != nil {
		fmt.Println(err)
		return
	}
	ran := make(chan error, 1)
	go func() { ran <- svc.Run(ctx) }()
	server := httptest.NewServer(svc.Handler())

	res, err := http.Post(server.URL+"/v1/images", "image/gif", strings.NewReader("GIF89a, and so on"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer res.Body.Close()
	var answer ingest.Upload
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(res.Status, res.Header.Get("Location"))
	fmt.Println(answer.State, answer.Bytes, answer.Sha256[:8])

	server.Close()
	cancel()
	fmt.Println(<-ran, svc.Close())
	// Output:
	// 201 Created /v1/images/51ffa0715739460e6b6fe63684005020
	// stored 17 e2aefe5b
	// <nil> <nil>
}
