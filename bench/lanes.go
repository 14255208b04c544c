package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// lanesBench measures how fresh the figures of up are while a backfill derives on the same machine, against without.
type lanesBench struct {
	Rate    int       `help:"Uploads a second." default:"20"`
	Uploads int       `help:"Uploads in each measurement." default:"300"`
	Size    int       `help:"Bytes an upload." default:"200000"`
	Photos  string    `help:"Folder of photographs of which the backfill's are composed." default:"testdata/photos" type:"existingdir"`
	Images  int       `help:"Images of the backfill, 6 megapixels each; when all are derived it begins anew, by another recipe." default:"200"`
	Shares  []float64 `help:"Values of --max-share." default:"0.5,1"`
	Rounds  int       `help:"Interleaved rounds." default:"3"`

	recipes int // of backfills that have begun
}

// Run measures.
func (b *lanesBench) Run(ctx context.Context, c *cli) error {
	u, err := startUp(ctx, "", c.Binary)
	if err != nil {
		return err
	}
	defer u.stop()
	photo, err := composed(b.Photos)
	if err != nil {
		return err
	}
	if err := errors.Join(u.fill(ctx, b.Images, photo), u.counted(ctx, b.Images)); err != nil {
		return err
	}
	if _, err := u.freshness(ctx, b.Rate, b.Rate*5, b.Size); err != nil { // so that each counts from a quiet start
		return err
	}
	p50, p99, ratio := map[float64][]float64{}, map[float64][]float64{}, map[float64][]float64{}
	for range b.Rounds {
		for _, share := range append([]float64{0}, b.Shares...) {
			seconds, err := b.beside(ctx, c, u, share)
			if err != nil {
				return err
			}
			p50[share], p99[share] = append(p50[share], median(seconds)), append(p99[share], percentile(seconds, 0.99))
			ratio[share] = append(ratio[share], percentile(seconds, 0.99)/p99[0][len(p99[0])-1])
		}
	}
	fmt.Printf("lanes: %d uploads/s of %d bytes, %d in each of %d rounds; seconds and ratios as min / median / max\n",
		b.Rate, b.Size, b.Uploads, b.Rounds)
	for _, share := range append([]float64{0}, b.Shares...) {
		name := "without a backfill"
		if share > 0 {
			name = fmt.Sprintf("beside --max-share %v", share)
		}
		fmt.Printf("  %-22s p50 %s, p99 %s, p99 ratio %s\n", name, spread(p50[share], "%.3f"), spread(p99[share], "%.3f"), spread(ratio[share], "%.2f"))
	}
	return nil
}

// beside measures the freshness while a backfill runs, or without one if the share is 0.
func (b *lanesBench) beside(ctx context.Context, c *cli, u *up, share float64) ([]float64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if share == 0 {
		return u.freshness(ctx, b.Rate, b.Uploads, b.Size)
	}
	ended := make(chan error, 1)
	backfill, stop := context.WithCancel(ctx)
	go func() { ended <- b.backfill(backfill, c, u, share) }()
	seconds, err := u.freshness(ctx, b.Rate, b.Uploads, b.Size)
	stop()
	return seconds, errors.Join(err, <-ended)
}

// backfill derives again and again until ctx ends.
func (b *lanesBench) backfill(ctx context.Context, c *cli, u *up, share float64) error {
	recipe := filepath.Join(u.dir, "backfill.yaml")
	stores, err := u.stores()
	if err != nil {
		return err
	}
	for ; ctx.Err() == nil; b.recipes++ {
		quality := 40 + b.recipes%50 // another one is another variant
		text := fmt.Sprintf("name: backfill\nselect: {min_width: 1000}\noutputs:\n"+
			"  - {name: large, width: 1600, format: jpeg, quality: %d}\n  - {name: small, width: 400, format: jpeg, quality: %d}\n",
			quality, quality)
		if err := os.WriteFile(recipe, []byte(text), 0o600); err != nil {
			return fmt.Errorf("write recipe: %w", err)
		}
		flags := append([]string{"pipeline", "run", "derive", "--recipe", recipe, "--max-share", fmt.Sprint(share)}, stores...)
		cmd := exec.CommandContext(ctx, c.Binary, flags...)
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
		if out, err := cmd.CombinedOutput(); err != nil && ctx.Err() == nil {
			return fmt.Errorf("derive: %w\n%s", err, out)
		}
	}
	return nil
}
