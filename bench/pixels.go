package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/draw"
	"image/jpeg"
	"image/png"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/disintegration/imaging"
	_ "golang.org/x/image/webp" // a photograph of the mosaic is one
	"golang.org/x/sync/errgroup"

	"darkroom/internal/pixels"
	engines "darkroom/internal/pixels/engine"
	"darkroom/internal/pixels/pixelstest"
	"darkroom/internal/pixels/pool"
)

// widths are those of the derivatives.
var widths = []int{1600, 800, 400, 200, 100}

// formats are those of 15 files, and qualities their qualities.
var (
	formats   = []pixels.Format{pixels.JPEG, pixels.WebP, pixels.AVIF}
	qualities = map[pixels.Format]int{pixels.JPEG: 80, pixels.WebP: 80, pixels.AVIF: 50}
)

// equalAVIF is the quality by which our engines, which take the least effort for AVIF, come to the PSNR of peers that take
// their own default and a quality of 50.
const equalAVIF = 63

// pixelsBench measures what deriving takes, against vipsthumbnail, sharp, a pyramid in C over the same libvips, and
// disintegration/imaging.
type pixelsBench struct {
	Photos  string `help:"Folder of photographs of which the inputs are composed." default:"testdata/photos" type:"existingdir"`
	Rounds  int    `help:"Interleaved runs of each." default:"5"`
	Libvips string `help:"The libvips to use, by engine and pyramid; the usual places if empty." placeholder:"PATH"`
	Repeat  int    `help:"Times that an engine derives an image in each run; its median counts." default:"5"`

	Parts []string `help:"What to measure: five files of an image, fifteen, their quality, two workers." default:"five,fifteen,quality,workers" enum:"five,fifteen,quality,workers"`
}

// work is what is made of a file: each width in each format.
type work struct {
	formats []pixels.Format
	effort  pixels.Effort
	own     bool // peers take the effort that is their default, and ours the quality that then gives equal PSNR
}

// jpegs is a JPEG of each width.
var jpegs = work{[]pixels.Format{pixels.JPEG}, pixels.Normal, false}

// options are those of libvips's savers, whose names sharp has for them too but for Q.
func (w work) options(f pixels.Format, quality string) map[string]int {
	o := map[string]int{quality: qualities[f]}
	switch {
	case w.own || f == pixels.JPEG:
	case f == pixels.AVIF:
		o["effort"] = 0
	case w.effort == pixels.Low:
		o["effort"] = 2
	default:
		o["effort"] = 4
	}
	return o
}

// suffix says to libvips what to write.
func (w work) suffix(f pixels.Format) string {
	s := map[pixels.Format]string{pixels.JPEG: ".jpg", pixels.WebP: ".webp", pixels.AVIF: ".avif"}[f] + "[strip"
	for name, value := range w.options(f, "Q") {
		s += fmt.Sprintf(",%s=%d", name, value)
	}
	return s + "]"
}

func (w work) suffixes() []string {
	all := make([]string, len(w.formats))
	for i, f := range w.formats {
		all[i] = w.suffix(f)
	}
	return all
}

// json says to sharp what to write.
func (w work) json() string {
	all := map[pixels.Format]map[string]int{}
	for _, f := range w.formats {
		all[f] = w.options(f, "quality")
	}
	b, _ := json.Marshal(all) // of strings and numbers
	return string(b)
}

func (w work) String() string {
	whose := "equal efforts"
	if w.own {
		whose = "equal PSNR, peers with the efforts that are their defaults"
	}
	return fmt.Sprintf("%d files (%v of widths %v, effort %s, %s)", len(w.formats)*len(widths), w.formats, widths, w.effort, whose)
}

// contestant is who makes derivatives of a file. It returns the CPU milliseconds of one image, and the peak of the
// resident memory in MB.
type contestant struct {
	name string
	run  func(ctx context.Context, file string, w work) (ms, mb float64, err error)
}

// errNotHere is why a contestant does not take part.
var errNotHere = errors.New("not here")

// Run measures.
func (b *pixelsBench) Run(ctx context.Context, c *cli) error {
	dir, err := os.MkdirTemp("", "darkroom-bench-*")
	if err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	defer os.RemoveAll(dir)
	// In a process of its own: Linux counts what this one holds to the peak of those that it starts.
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	if out, err := exec.CommandContext(ctx, self, "pixels-inputs", b.Photos, dir).CombinedOutput(); err != nil {
		return fmt.Errorf("compose the inputs: %w\n%s", err, out)
	}
	var files []string
	for _, name := range inputNames {
		files = append(files, filepath.Join(dir, name))
	}
	measure, err := compile(ctx, dir, "measure")
	if err != nil {
		return err
	}
	if e, err := engines.Open(engines.Libvips, b.Libvips); err == nil {
		b.Libvips = e.(interface{ Path() string }).Path()
		fmt.Printf("libvips %s (%s) for the engine and the pyramid in C\n", e.Info().Version, b.Libvips)
	}
	m := meter{dir, measure}
	all, err := b.contestants(ctx, m, c.Binary)
	if err != nil {
		return err
	}
	for _, part := range b.Parts {
		if err := map[string]func() error{
			"five":    func() error { return b.five(ctx, all, files) },
			"fifteen": func() error { return b.fifteen(ctx, all, files[0]) },
			"quality": func() error { return b.quality(ctx, m, files[0]) },
			"workers": func() error { return b.workers(ctx, c.Binary, files[1]) },
		}[part](); err != nil {
			return err
		}
	}
	return nil
}

func (b *pixelsBench) five(ctx context.Context, all []contestant, files []string) error {
	for _, f := range files {
		if err := b.compare(ctx, all, f, jpegs); err != nil {
			return err
		}
	}
	return nil
}

func (b *pixelsBench) fifteen(ctx context.Context, all []contestant, file string) error {
	for _, w := range []work{{formats, pixels.Normal, true}, {formats, pixels.Normal, false}, {formats, pixels.Low, false}} {
		if err := b.compare(ctx, all, file, w); err != nil {
			return err
		}
	}
	return nil
}

// inputNames are the files that are derived: two baseline JPEGs, a progressive one, and a PNG.
var inputNames = []string{"20MP.jpg", "12MP.jpg", "20MP-progressive.jpg", "12MP.png"}

// pixelsInputsCmd composes photographs to images of a camera's size, which have a photograph's detail.
type pixelsInputsCmd struct {
	Photos string `arg:""`
	Dir    string `arg:""`
}

// Run writes the files.
func (c *pixelsInputsCmd) Run(ctx context.Context) error {
	tiles, err := c.tiles()
	if err != nil {
		return err
	}
	path := func(i int) string { return filepath.Join(c.Dir, inputNames[i]) }
	asJPEG := func(m image.Image) func(io.Writer) error {
		return func(w io.Writer) error { return jpeg.Encode(w, m, &jpeg.Options{Quality: 90}) }
	}
	large, small := mosaic(tiles, 5472, 3648), mosaic(tiles, 4000, 3000)
	if err := errors.Join(write(path(0), asJPEG(large)), write(path(1), asJPEG(small)),
		write(path(3), func(w io.Writer) error { return png.Encode(w, small) })); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, "vips", "copy", path(0), path(2)+"[interlace,Q=90]").CombinedOutput(); err != nil {
		return fmt.Errorf("make a progressive JPEG (apt-get install libvips-tools): %w\n%s", err, out)
	}
	return nil
}

func (c *pixelsInputsCmd) tiles() ([]image.Image, error) {
	entries, err := os.ReadDir(c.Photos)
	if err != nil {
		return nil, fmt.Errorf("read photographs: %w", err)
	}
	var tiles []image.Image
	for _, e := range entries {
		f, err := os.Open(filepath.Join(c.Photos, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("read photographs: %w", err)
		}
		m, _, err := image.Decode(f)
		_ = f.Close() // only read
		if err == nil {
			tiles = append(tiles, m)
		}
	}
	if len(tiles) == 0 {
		return nil, fmt.Errorf("read photographs: %s has none", c.Photos)
	}
	return tiles, nil
}

// mosaic covers an image with tiles, row by row.
func mosaic(tiles []image.Image, width, height int) image.Image {
	m := image.NewRGBA(image.Rect(0, 0, width, height))
	for y, i := 0, 0; y < height; {
		row := math.MaxInt
		for x := 0; x < width; i++ {
			t := tiles[i%len(tiles)]
			size := t.Bounds().Size()
			draw.Draw(m, image.Rectangle{Min: image.Pt(x, y), Max: image.Pt(x, y).Add(size)}, t, t.Bounds().Min, draw.Src)
			x, row = x+size.X, min(row, size.Y)
		}
		y += row
	}
	return m
}

func write(path string, encode func(io.Writer) error) error {
	var b bytes.Buffer
	if err := encode(&b); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return os.WriteFile(path, b.Bytes(), 0o600)
}

// compare runs all contestants in turn and prints what they take.
func (b *pixelsBench) compare(ctx context.Context, all []contestant, file string, w work) error {
	fmt.Printf("%s to %s: CPU milliseconds, min / median / max of %d runs; peak MB\n", filepath.Base(file), w, b.Rounds)
	ms, mb := map[string][]float64{}, map[string][]float64{}
	for range b.Rounds {
		for _, c := range all {
			cpu, peak, err := c.run(ctx, file, w)
			if errors.Is(err, errNotHere) {
				continue
			}
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			ms[c.name], mb[c.name] = append(ms[c.name], cpu), append(mb[c.name], peak)
		}
	}
	base := median(ms[nameThumbnail])
	for _, c := range all {
		if len(ms[c.name]) == 0 {
			fmt.Printf("  %-34s not here\n", c.name)
			continue
		}
		fmt.Printf("  %-34s %-26s %5.0f MB   vipsthumbnail takes %.2f×\n",
			c.name, spread(ms[c.name], "%.0f"), median(mb[c.name]), base/median(ms[c.name]))
	}
	return nil
}

const nameThumbnail = "vipsthumbnail, once a file"

func (b *pixelsBench) contestants(ctx context.Context, m meter, binary string) ([]contestant, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	repeat := strconv.Itoa(b.Repeat)
	ours := func(name string) contestant {
		return contestant{"darkroom, engine " + name, func(ctx context.Context, file string, w work) (float64, float64, error) {
			if _, err := engines.Open(name, b.Libvips); err != nil {
				return 0, 0, errNotHere
			}
			run := []string{"env", "MALLOC_ARENA_MAX=1", self, "pixels-run", name, b.Libvips, file, repeat, fmt.Sprintf("--own=%t", w.own), string(w.effort)} // as the pool does
			ms, _, err := m.images(ctx, append(run, w.names()...)...)
			if err != nil {
				return 0, 0, err
			}
			mb, err := m.derive(ctx, binary, name, file, w)
			return ms, mb, err
		}}
	}
	all := []contestant{ours(engines.Libvips), ours(engines.Go), {nameThumbnail, m.thumbnails}}
	cProgram, err := compile(ctx, m.dir, "pyramid")
	if err != nil {
		return nil, err
	}
	all = append(all, contestant{"pyramid in C over libvips", func(ctx context.Context, file string, w work) (float64, float64, error) {
		return m.images(ctx, append([]string{cProgram, file, repeat, cmp.Or(b.Libvips, "libvips.so.42")}, w.suffixes()...)...)
	}})
	script, err := installSharp(ctx, m.dir)
	if err != nil {
		return nil, err
	}
	return append(all,
		contestant{"sharp, a pyramid", func(ctx context.Context, file string, w work) (float64, float64, error) {
			return m.images(ctx, "node", script, file, repeat, w.json())
		}},
		contestant{"disintegration/imaging, a pyramid", func(ctx context.Context, file string, w work) (float64, float64, error) {
			if len(w.formats) > 1 {
				return 0, 0, errNotHere // it knows neither WebP nor AVIF
			}
			return m.images(ctx, self, "pixels-run", "imaging", "", file, repeat, string(w.effort), string(pixels.JPEG))
		}}), nil
}

func (w work) names() []string {
	all := make([]string, len(w.formats))
	for i, f := range w.formats {
		all[i] = string(f)
	}
	return all
}

// meter runs programs through a small one in C that measures them.
type meter struct{ dir, program string }

// run returns what a program prints, its CPU milliseconds and the peak of its resident memory in MB.
func (m meter) run(ctx context.Context, argv ...string) (out string, ms, mb float64, err error) {
	file := filepath.Join(m.dir, "measured")
	cmd := exec.CommandContext(ctx, m.program, append([]string{file}, argv...)...)
	cmd.Env = append(os.Environ(), "VIPS_CONCURRENCY=1")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", 0, 0, fmt.Errorf("%w\n%s", err, stderr.Bytes())
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", 0, 0, err
	}
	if _, err := fmt.Sscan(string(text), &ms, &mb); err != nil {
		return "", 0, 0, fmt.Errorf("read %q: %w", text, err)
	}
	return stdout.String(), ms, mb / 1024, nil
}

// images runs a program that prints the CPU milliseconds of each image that it derives, one a line, and returns their
// median.
func (m meter) images(ctx context.Context, argv ...string) (ms, mb float64, err error) {
	out, _, mb, err := m.run(ctx, argv...)
	if err != nil {
		return 0, 0, err
	}
	var all []float64
	for _, f := range strings.Fields(out) {
		v, err := strconv.ParseFloat(f, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("it prints %q", f)
		}
		all = append(all, v)
	}
	return median(all), mb, nil
}

// derive returns the peak of the memory of darkroom derive, that of the pixel process or of the one that starts it. Most of
// it is the program's own file, which all its processes share.
func (m meter) derive(ctx context.Context, binary, engine, file string, w work) (mb float64, err error) {
	sizes := strings.Trim(strings.ReplaceAll(fmt.Sprint(widths), " ", ","), "[]")
	_, _, mb, err = m.run(ctx, binary, "derive", file, "--sizes", sizes, "--format", strings.Join(w.names(), ","),
		"--effort", string(w.effort), "--engine", engine, "--processes", "1", "--out", filepath.Join(m.dir, "derived"))
	return mb, err
}

// thumbnails runs vipsthumbnail for each file that is made, as it makes one of each run.
func (m meter) thumbnails(ctx context.Context, file string, w work) (ms, mb float64, err error) {
	for _, f := range w.formats {
		for _, width := range widths {
			_, cpu, peak, err := m.run(ctx, "vipsthumbnail", file, "--size", fmt.Sprintf("%dx", width),
				"-o", filepath.Join(m.dir, thumbnailName(width))+w.suffix(f))
			if err != nil {
				return 0, 0, err
			}
			ms, mb = ms+cpu, max(mb, peak)
		}
	}
	return ms, mb, nil
}

func thumbnailName(width int) string { return fmt.Sprintf("thumbnail-%d", width) }

// installSharp fetches sharp from npm and returns the script that runs it; no script if there is no npm.
func installSharp(ctx context.Context, dir string) (string, error) {
	folder := filepath.Join(dir, "sharp")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", err
	}
	for _, name := range []string{"pyramid.js", "package.json"} {
		data, err := peerSources.ReadFile("peers/sharp/" + name)
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(folder, name), data, 0o600); err != nil {
			return "", err
		}
	}
	cmd := exec.CommandContext(ctx, "npm", "install", "--no-audit", "--no-fund", "--loglevel=error")
	cmd.Dir = folder
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("install sharp: %w\n%s", err, out)
	}
	return filepath.Join(folder, "pyramid.js"), nil
}

// compile builds one of the programs in C.
func compile(ctx context.Context, dir, name string) (string, error) {
	source, err := peerSources.ReadFile("peers/c/" + name + ".c")
	if err != nil {
		return "", err
	}
	program := filepath.Join(dir, name)
	if err := os.WriteFile(program+".c", source, 0o600); err != nil {
		return "", err
	}
	if out, err := exec.CommandContext(ctx, "cc", "-O2", "-o", program, program+".c", "-ldl").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", name, err, out)
	}
	return program, nil
}

// quality compares each file with what a resampler in floating point makes of all pixels.
func (b *pixelsBench) quality(ctx context.Context, m meter, file string) error {
	w := work{formats, pixels.Normal, true}
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	full, err := jpeg.Decode(bytes.NewReader(data))
	if err != nil {
		return err
	}
	if _, _, err := m.thumbnails(ctx, file, w); err != nil {
		return err
	}
	fmt.Printf("PSNR in dB against a resampler in floating point over all pixels of %s, and bytes; qualities %v, AVIF by our engines %d\n",
		filepath.Base(file), qualities, equalAVIF)
	made := map[string][]pixels.Derivative{}
	for _, name := range []string{engines.Libvips, engines.Go} {
		if e, err := engines.Open(name, b.Libvips); err == nil {
			if made[name], err = pixels.Derive(e, data, pixels.Limits{}, w.outputs()); err != nil {
				return err
			}
		}
	}
	for i, o := range w.outputs() {
		_, want := pixels.Output{Width: o.Width}.Plan(full.Bounds().Size())
		reference := pixelstest.Reference(full, full.Bounds(), want)
		show := func(name string, file []byte) error {
			m, err := m.decode(ctx, o.Format, file)
			if err != nil {
				return err
			}
			fmt.Printf("  %s %.2f (%d)", name, pixelstest.PSNR(m, reference), len(file))
			return nil
		}
		fmt.Printf("  %5d wide, %-4s:", o.Width, o.Format)
		for _, name := range []string{engines.Libvips, engines.Go} {
			if len(made[name]) > 0 {
				if err := show(name, made[name][i].Data); err != nil {
					return err
				}
			}
		}
		suffix, _, _ := strings.Cut(w.suffix(o.Format), "[")
		theirs, err := os.ReadFile(filepath.Join(m.dir, thumbnailName(o.Width)+suffix))
		if err != nil {
			return err
		}
		if err := show("vipsthumbnail", theirs); err != nil {
			return err
		}
		fmt.Println()
	}
	return nil
}

// decode decodes a file with a program that is no contestant's own.
func (m meter) decode(ctx context.Context, f pixels.Format, file []byte) (image.Image, error) {
	in, out := filepath.Join(m.dir, "decoded."+string(f)), filepath.Join(m.dir, "decoded.png")
	if err := os.WriteFile(in, file, 0o600); err != nil {
		return nil, err
	}
	if out, err := exec.CommandContext(ctx, "vips", "copy", in, out).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("decode %s: %w\n%s", f, err, out)
	}
	return imaging.Open(out)
}

// workers measures how much more two processes of the pool derive than one.
func (b *pixelsBench) workers(ctx context.Context, binary, file string) error {
	binary, err := filepath.Abs(binary)
	if err != nil {
		return fmt.Errorf("find the program to measure: %w", err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	fmt.Printf("two processes of the pool against one, %s: times as many images a second, min / median / max of %d runs (%d CPUs)\n",
		filepath.Base(file), b.Rounds, runtime.NumCPU())
	for _, c := range []struct {
		engine string
		work   work
		images int
	}{
		{engines.Libvips, jpegs, 100}, {engines.Go, jpegs, 100}, {engines.Libvips, work{formats, pixels.Normal, false}, 20},
	} {
		if _, err := engines.Open(c.engine, b.Libvips); err != nil {
			continue
		}
		var ratios []float64
		for range b.Rounds {
			var took [2]float64
			for i := range took {
				cfg := pool.Config{Engine: c.engine, Libvips: b.Libvips, Size: i + 1, Command: []string{binary, "pixels-child"}}
				if took[i], err = deriveAll(ctx, cfg, data, c.work, c.images); err != nil {
					return err
				}
			}
			ratios = append(ratios, took[0]/took[1])
		}
		fmt.Printf("  %3d images by engine %-7s to %d files  %s\n", c.images, c.engine, len(c.work.outputs()), spread(ratios, "%.2f"))
	}
	return nil
}

// deriveAll derives an image so many times with a pool, and returns the seconds that it took once each process had made one.
func deriveAll(ctx context.Context, cfg pool.Config, data []byte, w work, images int) (seconds float64, err error) {
	p, err := pool.New(cfg)
	if err != nil {
		return 0, err
	}
	defer p.Close()
	derive := func(images int) error {
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(cfg.Size)
		for range images {
			group.Go(func() error {
				_, err := p.Derive(ctx, pool.Source{Data: data}, pixels.Limits{}, w.outputs())
				return err
			})
		}
		return group.Wait()
	}
	if err := derive(cfg.Size); err != nil {
		return 0, err
	}
	began := time.Now()
	err = derive(images)
	return time.Since(began).Seconds(), err
}

// pixelsRunCmd is one contestant in a process of its own.
type pixelsRunCmd struct {
	Engine  string          `arg:""`
	Libvips string          `arg:""`
	File    string          `arg:""`
	Repeat  int             `arg:""`
	Effort  pixels.Effort   `arg:""`
	Own     bool            `help:"To equal PSNR with peers that take their own defaults."`
	Formats []pixels.Format `arg:""`
}

// Run prints the CPU milliseconds of each image but the first, which warms up.
func (c *pixelsRunCmd) Run() error {
	data, err := os.ReadFile(c.File)
	if err != nil {
		return err
	}
	derive := func() error { return imagingPyramid(data) }
	if c.Engine != "imaging" {
		e, err := engines.Open(c.Engine, c.Libvips)
		if err != nil {
			return err
		}
		wanted := work{c.Formats, c.Effort, c.Own}.outputs()
		derive = func() error {
			_, err := pixels.Derive(e, data, pixels.Limits{}, wanted)
			return err
		}
	}
	for i := range c.Repeat + 1 {
		before := cpuSeconds()
		if err := derive(); err != nil {
			return err
		}
		if i > 0 {
			fmt.Printf("%.3f\n", (cpuSeconds()-before)*1000)
		}
	}
	return nil
}

func (w work) outputs() []pixels.Output {
	var all []pixels.Output
	for _, f := range w.formats {
		quality := qualities[f]
		if f == pixels.AVIF && w.own {
			quality = equalAVIF
		}
		for _, width := range widths {
			all = append(all, pixels.Output{Width: width, Format: f, Quality: quality, Effort: w.effort})
		}
	}
	return all
}

func imagingPyramid(data []byte) error {
	m, err := imaging.Decode(bytes.NewReader(data))
	for _, w := range widths {
		if err != nil {
			return err
		}
		m = imaging.Resize(m, w, 0, imaging.Lanczos)
		err = imaging.Encode(io.Discard, m, imaging.JPEG, imaging.JPEGQuality(80))
	}
	return err
}
