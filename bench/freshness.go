package main

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// freshnessBench measures the time from an upload's acknowledgement until the summary counts it.
type freshnessBench struct {
	Rate    int `help:"Uploads a second." default:"20"`
	Uploads int `help:"Uploads in all." default:"600"`
	Size    int `help:"Bytes an upload." default:"200000"`

	Real bool `help:"On the real parts: Kafka, Flink, Cassandra, Debezium, PostgreSQL."`
}

const askEvery = 5 * time.Millisecond

// Run measures. The n-th image to be counted is taken to be the n-th that was acknowledged, so the mean is exact and
// the percentiles are of that order.
func (b *freshnessBench) Run(ctx context.Context, c *cli) error {
	start := startReal
	if !b.Real {
		start = func(ctx context.Context, binary string) (*up, error) { return startUp(ctx, "", binary) }
	}
	u, err := start(ctx, c.Binary)
	if err != nil {
		return err
	}
	defer u.stop()
	if err := u.firstCounted(ctx); err != nil {
		return err
	}
	seconds, err := u.freshness(ctx, b.Rate, b.Uploads, b.Size)
	if err != nil {
		return err
	}
	fmt.Printf("freshness: %d uploads/s of %d bytes, %d in all: p50 %.3f s, p95 %.3f s, p99 %.3f s, max %.3f s\n",
		b.Rate, b.Size, b.Uploads, median(seconds), percentile(seconds, 0.95), percentile(seconds, 0.99), percentile(seconds, 1))
	return nil
}

// freshness are the seconds from the acknowledgement of each of n uploads until the summary counts as many.
func (u *up) freshness(ctx context.Context, rate, n, size int) ([]float64, error) {
	before, err := u.images(ctx)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	var acked []time.Time
	loaded := make(chan error, 1)
	go func() {
		loaded <- u.load(ctx, rate, n, size, func(_ int, at time.Time) {
			mu.Lock()
			defer mu.Unlock()
			acked = append(acked, at)
		})
	}()
	seen := make([]time.Time, 0, n)
	for deadline := time.Now().Add(time.Duration(n/rate)*time.Second + time.Minute); len(seen) < n; {
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("the summary counts %d of %d images", len(seen), n)
		}
		counted, err := u.images(ctx)
		if err != nil {
			return nil, err
		}
		for now := time.Now(); len(seen) < min(n, counted-before); {
			seen = append(seen, now)
		}
		time.Sleep(askEvery)
	}
	if err := <-loaded; err != nil {
		return nil, err
	}
	seconds := make([]float64, n)
	for i := range seen {
		seconds[i] = max(0, seen[i].Sub(acked[i]).Seconds())
	}
	return seconds, nil
}
