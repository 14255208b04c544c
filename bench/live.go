package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/twmb/franz-go/pkg/kgo"

	"darkroom/internal/blob"
	"darkroom/internal/event"
	"darkroom/internal/local"
	"darkroom/internal/pixels"
	"darkroom/internal/table"
	"darkroom/internal/table/embedded"
	"darkroom/pipelines"
	"darkroom/runners"
)

// liveBench runs the live pipeline over a topic that is full already. Kafka, S3, the table store, Prism and the workers
// share this process, so the CPU figure holds them all.
type liveBench struct {
	Events int `help:"Events in the topic." default:"20000"`
	Blobs  int `help:"Different images." default:"200"`
	Size   int `help:"Bytes of an image." default:"20000"`
	Rounds int `help:"Rounds of each." default:"3"`
}

// parts is what the pipeline works with.
type parts struct {
	brokers []string
	bucket  blob.Config
	blobs   *blob.Store
	prism   *runners.Prism
}

// Run measures, in turn: a bare client that does the same work on one image after another, the pipeline that looks at
// every image, and the pipeline that knows every image already, as after a restart.
func (b *liveBench) Run(ctx context.Context, _ *cli) error {
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})))
	dir, err := os.MkdirTemp("", "darkroom-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	p, stop, err := b.start(ctx, dir)
	if err != nil {
		return err
	}
	defer stop()
	fmt.Printf("live: %d events of %d images of %d bytes, %d rounds; min / median / max\n", b.Events, b.Blobs, b.Size, b.Rounds)
	var bare, fresh, known, bareCPU, freshCPU, knownCPU, ratio []float64
	for i := range b.Rounds {
		rate, cpu, err := b.measure(func() error { return b.bare(ctx, p) })
		if err != nil {
			return err
		}
		bare, bareCPU = append(bare, rate), append(bareCPU, cpu)
		err = b.withStore(ctx, filepath.Join(dir, fmt.Sprint("table", i)), func(store *embedded.Store, dsn string) error {
			if rate, cpu, err = b.measure(func() error { return b.live(ctx, p, store, dsn) }); err != nil {
				return err
			}
			fresh, freshCPU, ratio = append(fresh, rate), append(freshCPU, cpu), append(ratio, rate/bare[i])
			rate, cpu, err = b.measure(func() error { return b.live(ctx, p, store, dsn) })
			known, knownCPU = append(known, rate), append(knownCPU, cpu)
			return err
		})
		if err != nil {
			return err
		}
	}
	for _, row := range []struct {
		name      string
		rate, cpu []float64
	}{{"bare franz-go client", bare, bareCPU}, {"live, every image read", fresh, freshCPU}, {"live, every image known", known, knownCPU}} {
		fmt.Printf("  %-24s %s events/s, %s CPU seconds per million\n", row.name, spread(row.rate, "%.0f"), spread(row.cpu, "%.0f"))
	}
	fmt.Printf("  live, every image read, against the bare client: ratio %s\n", spread(ratio, "%.2f"))
	return nil
}

// measure returns events a second and CPU seconds per million events.
func (b *liveBench) measure(work func() error) (rate, cpu float64, err error) {
	before, begun := cpuSeconds(), time.Now()
	err = work()
	return float64(b.Events) / time.Since(begun).Seconds(), (cpuSeconds() - before) * 1e6 / float64(b.Events), err
}

func cpuSeconds() float64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // fails for a wrong argument only
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

func (b *liveBench) start(ctx context.Context, dir string) (*parts, func(), error) {
	kafka, err := local.StartKafka(local.KafkaOptions{Dir: filepath.Join(dir, "kafka"), Topics: map[string]int32{event.TopicImages: 4, event.TopicRejected: 1}})
	if err != nil {
		return nil, nil, err
	}
	s3, err := local.StartS3(ctx, local.S3Options{Dir: filepath.Join(dir, "s3")})
	if err != nil {
		return nil, nil, err
	}
	p := &parts{brokers: []string{kafka.Addr()}, bucket: s3.Config("bench")}
	stop := func() { _ = errors.Join(s3.Close(), kafka.Close()) } // the measurement is over
	if p.prism, err = runners.StartPrism(ctx); err != nil {
		return nil, nil, err
	}
	if p.blobs, err = blob.Open(ctx, p.bucket); err != nil {
		return nil, nil, err
	}
	if err := p.blobs.EnsureBucket(ctx); err != nil {
		return nil, nil, err
	}
	return p, stop, b.fill(ctx, p)
}

// fill puts the images into the bucket and the events into the topic.
func (b *liveBench) fill(ctx context.Context, p *parts) error {
	body, err := photo(b.Size)
	if err != nil {
		return err
	}
	images := make([]event.Image, b.Blobs)
	for i := range images {
		data := numbered(body, i)
		sum := sha256.Sum256(data)
		images[i] = event.Image{Tenant: "default", SHA256: hex.EncodeToString(sum[:]), Bytes: int64(len(data))}
		if _, err := p.blobs.Put(ctx, images[i].BlobKey(), bytes.Clone(data), blob.PutOptions{}); err != nil {
			return err
		}
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(p.brokers...), kgo.DefaultProduceTopic(event.TopicImages))
	if err != nil {
		return err
	}
	defer cl.Close()
	promise := kgo.AbortingFirstErrPromise(cl)
	for i, begin := 0, time.Now().Add(-time.Hour); i < b.Events; i++ {
		image := images[i%b.Blobs]
		image.ImageID, image.UploadedAt = fmt.Sprintf("image%08d", i), begin.Add(time.Duration(i)*time.Millisecond)
		e := event.NewUploaded(image)
		key, value, err := e.Encode()
		if err != nil {
			return err
		}
		cl.Produce(ctx, &kgo.Record{Key: key, Value: value, Timestamp: e.Time}, promise.Promise())
	}
	return promise.Err()
}

func (b *liveBench) withStore(ctx context.Context, dir string, f func(*embedded.Store, string) error) error {
	store, err := embedded.Open(ctx, dir, embedded.Options{})
	if err != nil {
		return err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	serving, cancel := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- embedded.Serve(serving, l, store) }()
	err = f(store, "tcp://"+l.Addr().String())
	cancel()
	return errors.Join(err, <-served, store.Close())
}

// live runs the pipeline over what the topic holds, in its bounded form, which has an end to measure, and checks that
// every image was written.
func (b *liveBench) live(ctx context.Context, p *parts, store *embedded.Store, dsn string) error {
	l := &pipelines.Live{Ends: pipelines.Ends{Kafka: p.brokers, S3: p.bucket, Table: dsn}, Bounded: true}
	if err := kong.ApplyDefaults(l); err != nil {
		return err
	}
	pipeline, s := beam.NewPipelineWithRoot()
	l.Build(s)
	job, err := p.prism.Submit(ctx, pipelines.LiveName, pipeline)
	if err != nil {
		return err
	}
	if err := job.Wait(ctx); err != nil {
		return err
	}
	n := 0
	for _, err := range store.Scan(ctx, table.Query{Table: table.Images.Table().Name}) {
		if err != nil {
			return err
		}
		n++
	}
	if n != b.Events {
		return fmt.Errorf("%d of %d images were written", n, b.Events)
	}
	return nil
}

// bare reads the topic, reads and looks at each image, and counts.
func (b *liveBench) bare(ctx context.Context, p *parts) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(p.brokers...), kgo.ConsumeTopics(event.TopicImages), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return err
	}
	defer cl.Close()
	counts := map[int64]int{}
	for n := 0; n < b.Events; {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return err
		}
		for _, r := range fetches.Records() {
			e, err := event.Decode(r.Value)
			if err != nil {
				return err
			}
			object, err := p.blobs.Open(ctx, e.Image.BlobKey(), "")
			if err != nil {
				return err
			}
			hash := sha256.New()
			facts, err := pixels.Probe(io.TeeReader(object.Body, hash), pixels.DefaultLimits)
			object.Body.Close()
			if err != nil {
				return err
			}
			counts[r.Timestamp.Unix()/60] += int(facts.Width)
			n++
		}
	}
	return nil
}
