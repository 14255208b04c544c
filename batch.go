package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/schollz/progressbar/v3"

	"darkroom/pipelines"
	"darkroom/runners"
)

// countEvery is how often the counters of a batch are asked for.
const countEvery = 500 * time.Millisecond

// runBatch runs a batch, shows its progress meanwhile, and prints its report.
func runBatch(ctx context.Context, io stdio, name string, p pipelines.Batch,
	run func(ctx context.Context, started func(*runners.Job)) error,
) error {
	began := time.Now()
	progress := batchProgress{w: io.err, name: name, batch: p, ended: make(chan struct{}), shown: make(chan struct{})}
	go progress.show(ctx)
	err := run(ctx, progress.job.Store)
	close(progress.ended)
	<-progress.shown
	if ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
		return fmt.Errorf("%w: the next run goes on from here", errInterrupted)
	}
	job := progress.job.Load()
	if err != nil || job == nil {
		return err
	}
	counters, err := job.Counters(ctx)
	if err != nil {
		return err
	}
	return p.Report(io.out, counters, time.Since(began))
}

// batchProgress draws a bar, with rate and time left, once it is known how much there is to do.
type batchProgress struct {
	w     io.Writer
	name  string
	batch pipelines.Batch
	job   atomic.Pointer[runners.Job]

	ended, shown chan struct{}
	bar          *progressbar.ProgressBar
}

func (b *batchProgress) show(ctx context.Context) {
	defer close(b.shown)
	for tick := time.NewTicker(countEvery); ; {
		select {
		case <-tick.C:
			b.draw(ctx)
		case <-b.ended:
			tick.Stop()
			b.draw(ctx)
			if b.bar != nil && !b.bar.IsFinished() {
				fmt.Fprintln(b.w)
			}
			return
		}
	}
}

// draw leaves the bar as it is when the counters are not known: they are asked for again, and at the end for the report.
func (b *batchProgress) draw(ctx context.Context) {
	job := b.job.Load()
	if job == nil {
		return
	}
	counters, err := job.Counters(ctx)
	if err != nil {
		return
	}
	done, total := b.batch.Progress(counters)
	if total == 0 {
		return
	}
	if b.bar == nil {
		b.bar = newBar(b.w, b.name, total, progressbar.OptionShowIts(), progressbar.OptionSetItsString("images"))
	}
	b.bar.ChangeMax64(total)
	_ = b.bar.Set64(done) // a bar that cannot be drawn harms nothing
}
