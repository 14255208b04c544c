package main

import (
	"context"
	"fmt"
	"time"
)

// memoryBench watches the memory of up under steady uploads.
type memoryBench struct {
	Rate    int           `help:"Uploads a second." default:"20"`
	Minutes int           `help:"Minutes." default:"10"`
	Size    int           `help:"Bytes an upload." default:"200000"`
	Every   time.Duration `help:"Time between two lines." default:"1m"`
}

// Run prints the resident size of up and of its PostgreSQL.
func (b *memoryBench) Run(ctx context.Context, c *cli) error {
	u, err := startUp(ctx, "", c.Binary)
	if err != nil {
		return err
	}
	defer u.stop()
	n := b.Rate * 60 * b.Minutes
	fmt.Printf("memory: %d uploads/s of %d bytes for %d minutes\n", b.Rate, b.Size, b.Minutes)
	loaded := make(chan error, 1)
	go func() { loaded <- u.load(ctx, b.Rate, n, b.Size, func(int, time.Time) {}) }()
	begun := time.Now()
	tick := time.NewTicker(b.Every)
	defer tick.Stop()
	for {
		select {
		case err := <-loaded:
			u.report(ctx, begun)
			return err
		case <-tick.C:
			u.report(ctx, begun)
		}
	}
}

func (u *up) report(ctx context.Context, begun time.Time) {
	self, children := u.rss()
	images, err := u.images(ctx)
	if err != nil {
		fmt.Println("  summary:", err)
	}
	fmt.Printf("  %6s  darkroom %4.0f MB, postgres's main process %3.0f MB, images %d\n",
		time.Since(begun).Round(time.Second), self, children, images)
}
