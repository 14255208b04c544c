package kafkaio

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// How often a reader looks whether its job is to be drained, and how long it waits for the answer.
	drainCheckEvery = 500 * time.Millisecond
	drainCheckWait  = time.Second
)

// Drain asks the readers of a job to say that nothing is left to read, so that the job ends with all that it has read
// processed and every window fired. It is for every runner: the wish is kept in Kafka, as the offset of a consumer
// group that nobody is a member of, and is the time at which it was made. Jobs that were built after it do not heed it.
func Drain(ctx context.Context, brokers []string, topic, job string) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		return fmt.Errorf("open kafka client: %w", err)
	}
	defer cl.Close()
	wish := kadm.Offsets{}
	wish.Add(kadm.Offset{Topic: topic, Partition: 0, At: time.Now().UnixMilli(), LeaderEpoch: -1})
	if err := kadm.NewClient(cl).CommitAllOffsets(ctx, drainGroup(job), wish); err != nil {
		return fmt.Errorf("ask job %s to drain: %w", job, err)
	}
	return nil
}

func drainGroup(job string) string { return "darkroom-drain-" + job }

// draining reports whether the reader's job is to be drained. It asks Kafka now and then only.
func (r *reader) draining(ctx context.Context, src Source) bool {
	now := time.Now()
	if src.Job == "" || now.Sub(r.drainAsked) < drainCheckEvery {
		return false
	}
	r.drainAsked = now
	ctx, cancel := context.WithTimeout(ctx, drainCheckWait)
	defer cancel()
	offsets, err := kadm.NewClient(r.cl).FetchOffsets(ctx, drainGroup(src.Job))
	if err != nil {
		slog.DebugContext(ctx, "look whether the job is to be drained", "job", src.Job, "error", err)
		return false
	}
	wish, ok := offsets.Lookup(src.Topic, 0)
	return ok && wish.Err == nil && wish.At > src.Built
}
