package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image/jpeg"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"golang.org/x/sync/errgroup"

	"darkroom/internal/blob"
	"darkroom/internal/pixels"
	engines "darkroom/internal/pixels/engine"
	"darkroom/internal/pixels/pool"
	"darkroom/internal/recipe"
	"darkroom/internal/table"
	"darkroom/internal/table/open"
	"darkroom/internal/variant"
)

// deriveBench measures how many images the derive pipeline derives in a second of CPU time, against a plain pool of
// goroutines that does the same for each image by the same code.
type deriveBench struct {
	Photos   string `help:"Folder of the photographs that are uploaded, again and again in turn." default:"testdata/photos" type:"existingdir"`
	Composed bool   `help:"Compose the photographs to images of 6 megapixels first."`
	Images   int    `help:"Uploads." default:"300"`
	Recipe   string `help:"What is made of each." default:"recipes/sizes.yaml" type:"existingfile"`
	Rounds   int    `help:"Interleaved rounds." default:"3"`
	engines.Choice
}

// derivation is one run of a contender, with its children.
type derivation struct {
	made, bytes          int // variants, and their bytes
	cpu, seconds, peakMB float64
}

// The contenders.
const (
	contenderBeam = "derive on Prism"
	contenderPool = "plain pool"
)

// Run measures.
func (b *deriveBench) Run(ctx context.Context, c *cli) error {
	dir, err := os.MkdirTemp("", "darkroom-bench-*")
	if err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	defer os.RemoveAll(dir)
	program, err := compile(ctx, dir, "measure")
	if err != nil {
		return err
	}
	commands, err := deriveCommands(c.Binary)
	if err != nil {
		return err
	}
	photos, err := b.photographs()
	if err != nil {
		return err
	}
	u, err := startUp(ctx, "", c.Binary)
	if err != nil {
		return err
	}
	defer u.stop()
	if err := errors.Join(u.fill(ctx, b.Images, photos...), u.counted(ctx, b.Images)); err != nil {
		return err
	}
	all := map[string][]derivation{}
	for round := range b.Rounds {
		names := []string{contenderBeam, contenderPool}
		if round%2 == 1 { // neither is always the one that finds more there
			names[0], names[1] = names[1], names[0]
		}
		for _, name := range names {
			recipeName := fmt.Sprintf("round%d-%s", round, strings.Fields(name)[0])
			d, err := b.derive(ctx, u, meter{dir, program}, recipeName, commands[name])
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			all[name] = append(all[name], d)
		}
		beam, plain := all[contenderBeam][round], all[contenderPool][round]
		if beam.made != plain.made || beam.bytes != plain.bytes {
			return fmt.Errorf("%s made %d variants of %d bytes, %s %d of %d",
				contenderBeam, beam.made, beam.bytes, contenderPool, plain.made, plain.bytes)
		}
	}
	return b.report(all)
}

// deriveCommands are the programs of the contenders; both take the same flags.
func deriveCommands(binary string) (map[string][]string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	return map[string][]string{
		contenderBeam: {binary, "pipeline", "run", "derive", "--max-share", "1"},
		contenderPool: {self, "derive-pool"},
	}, nil
}

// photographs are those of the folder, or one that is composed of them.
func (b *deriveBench) photographs() (photos [][]byte, err error) {
	if b.Composed {
		composed, err := composed(b.Photos)
		return [][]byte{composed}, err
	}
	entries, err := os.ReadDir(b.Photos)
	if err != nil {
		return nil, fmt.Errorf("read photographs: %w", err)
	}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(b.Photos, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("read photographs: %w", err)
		}
		if _, ok := pixels.Sniff(data); ok {
			photos = append(photos, data)
		}
	}
	if len(photos) == 0 {
		return nil, fmt.Errorf("read photographs: %s has none", b.Photos)
	}
	return photos, nil
}

// composed is a JPEG of 6 megapixels of the photographs of a folder.
func composed(photos string) ([]byte, error) {
	tiles, err := (&pixelsInputsCmd{Photos: photos}).tiles()
	if err != nil {
		return nil, err
	}
	var data bytes.Buffer
	err = jpeg.Encode(&data, mosaic(tiles, 3000, 2000), &jpeg.Options{Quality: 85})
	return data.Bytes(), err
}

// fill uploads so many images, of the photographs in turn.
func (u *up) fill(ctx context.Context, images int, photos ...[]byte) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for i := range images {
		group.Go(func() error {
			data := append(bytes.Clone(photos[i%len(photos)]), make([]byte, 20)...) // for the number
			return post(ctx, u.addresses["ingest"]+"/v1/images", "application/octet-stream", numbered(data, i))
		})
	}
	return group.Wait()
}

// stores are the flags that say where images and variants are.
func (u *up) stores() ([]string, error) {
	secret, err := os.ReadFile(filepath.Join(u.dir, "s3", "secret"))
	if err != nil {
		return nil, fmt.Errorf("read secret: %w", err)
	}
	return []string{
		"--kafka", u.addresses["kafka"], "--table", u.addresses["table"], "--s3-endpoint", u.addresses["s3"],
		"--s3-access-key", "darkroom", "--s3-secret-key", strings.TrimSpace(string(secret)),
	}, nil
}

// derive runs a contender by a recipe of another name than all before, so that nothing is there yet.
func (b *deriveBench) derive(ctx context.Context, u *up, m meter, name string, command []string) (derivation, error) {
	text, err := os.ReadFile(b.Recipe)
	if err != nil {
		return derivation{}, fmt.Errorf("read recipe: %w", err)
	}
	r, err := recipe.Parse(text)
	if err != nil {
		return derivation{}, fmt.Errorf("read recipe %s: %w", b.Recipe, err)
	}
	file := filepath.Join(m.dir, "recipe.yaml")
	text = bytes.Replace(text, []byte("name: "+r.Name), []byte("name: "+strings.ToLower(name)), 1)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return derivation{}, fmt.Errorf("write recipe: %w", err)
	}
	stores, err := u.stores()
	if err != nil {
		return derivation{}, err
	}
	flags := append([]string{"--recipe", file, "--engine", b.Engine, "--libvips", b.Libvips}, stores...)
	began := time.Now()
	out, ms, mb, err := m.run(ctx, append(command, flags...)...)
	if err != nil {
		return derivation{}, err
	}
	d := derivation{cpu: ms / 1000, seconds: time.Since(began).Seconds(), peakMB: mb}
	d.made, d.bytes = reported(out, "variants made"), reported(out, "bytes out")
	if least := b.Images * len(r.Outputs); d.made < least {
		return derivation{}, fmt.Errorf("%d of %d variants were made", d.made, least)
	}
	return d, nil
}

// reported is the figure of a row of the pipeline's report, 0 if there is none.
func reported(out, row string) int {
	for line := range strings.Lines(out) {
		if rest, ok := strings.CutPrefix(line, row); ok {
			n, _ := strconv.Atoi(strings.TrimSpace(rest)) // no figure: 0 as well
			return n
		}
	}
	return 0
}

func (b *deriveBench) report(all map[string][]derivation) error {
	what := filepath.Base(b.Photos)
	if b.Composed {
		what += ", composed to 6 megapixels"
	}
	first := all[contenderBeam][0]
	fmt.Printf("derive: %d uploads (%s), %s, engine %s: %d variants, %.1f MB; min / median / max of %d interleaved rounds\n",
		b.Images, what, filepath.Base(b.Recipe), b.Engine, first.made, float64(first.bytes)/1e6, b.Rounds)
	var ratios []float64
	for i, beam := range all[contenderBeam] {
		ratios = append(ratios, all[contenderPool][i].cpu/beam.cpu)
	}
	images := float64(b.Images)
	for _, name := range []string{contenderBeam, contenderPool} {
		var perCPU, perSecond, cpu, peak []float64
		for _, d := range all[name] {
			perCPU, perSecond = append(perCPU, images/d.cpu), append(perSecond, images/d.seconds)
			cpu, peak = append(cpu, d.cpu), append(peak, d.peakMB)
		}
		fmt.Printf("  %-16s images per CPU second %s, CPU seconds %s, images a second %s; largest process %.0f MB\n",
			name, spread(perCPU, "%.2f"), spread(cpu, "%.2f"), spread(perSecond, "%.2f"), median(peak))
	}
	fmt.Printf("  images per CPU second, %s against %s: ratio %s\n", contenderBeam, contenderPool, spread(ratios, "%.3f"))
	return nil
}

// waiting is how many images of the plain pool are under way beside those that are being derived, as in the pipeline.
const waiting = 8

// derivePoolCmd is the plain pool, in a process of its own. It has the pipeline's flags and prints its report.
type derivePoolCmd struct {
	Recipe string      `help:"As of the pipeline, and so are all others."`
	Kafka  string      `help:"Not used: nothing is refused."`
	S3     blob.Config `embed:"" prefix:"s3-"`
	Table  string
	engines.Choice
}

// plainPool is what deriving an image takes.
type plainPool struct {
	recipe recipe.Recipe
	blobs  *blob.Store
	tables table.Store
	lab    *variant.Lab

	made, bytes atomic.Int64
}

// Run derives all images that were analysed and that the recipe selects.
func (c *derivePoolCmd) Run(ctx context.Context) (err error) {
	var p plainPool
	if p.recipe, err = recipe.Read(c.Recipe); err != nil {
		return err
	}
	if p.blobs, err = blob.Open(ctx, c.S3); err != nil {
		return err
	}
	defer p.blobs.Close()
	if p.tables, err = open.Open(ctx, c.Table); err != nil {
		return err
	}
	defer p.tables.Close()
	lab := variant.LabConfig{Choice: c.Choice, Priority: pool.Idle}
	lab.Size, lab.Duty = variant.Share(1)
	if p.lab, err = variant.Enter(lab); err != nil {
		return err
	}
	defer p.lab.Leave()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(lab.Size + waiting)
	for image, err := range table.Images.Scan(ctx, p.tables, table.Query{}) {
		if err != nil {
			return err
		}
		if image.State == table.StateAnalysed && p.recipe.Select.Selects(variant.Seen(image)) {
			group.Go(func() error { return p.derive(ctx, image) })
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "variants made\t%d\nbytes out\t%d\n", p.made.Load(), p.bytes.Load())
	return w.Flush()
}

// derive makes what an image misses.
func (p *plainPool) derive(ctx context.Context, image table.Image) error {
	job := variant.Job{Image: image, Recipe: p.recipe, Version: time.Now().UnixMicro()}
	rows, err := variant.Rows(ctx, p.tables, image.ImageID)
	if err != nil {
		return err
	}
	missing := job.Outdated(rows)
	outputs, err := variant.Pixels(missing)
	if err != nil || len(missing) == 0 {
		return err
	}
	data, release, err := job.Load(ctx, p.lab, p.blobs, image.Bytes)
	if err != nil {
		return err
	}
	defer release()
	made, _, err := p.lab.Derive(ctx, data, pixels.DefaultLimits, outputs)
	if err != nil {
		return err
	}
	engine, err := p.lab.Engine(ctx)
	if err != nil {
		return err
	}
	if rows, err = job.Put(ctx, p.blobs, missing, made, engine); err != nil {
		return err
	}
	for _, row := range rows {
		p.bytes.Add(row.Bytes)
	}
	p.made.Add(int64(len(rows)))
	return variant.Write(ctx, p.tables, rows)
}

// pixelsChildCmd is a process of the plain pool's pool.
type pixelsChildCmd struct{}

// Run serves until the pool ends it.
func (*pixelsChildCmd) Run() error { return pool.Serve(engines.Open) }
