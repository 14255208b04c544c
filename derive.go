package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sync/errgroup"

	"darkroom/internal/pixels"
	"darkroom/internal/pixels/engine"
	"darkroom/internal/pixels/pool"
	"darkroom/internal/recipe"
)

// pixelFlags say what derives images, and what an image may take.
type pixelFlags struct {
	engine.Choice
	MaxPixels   int64         `help:"Refuse images of more pixels." default:"100000000"`
	ImageTime   time.Duration `help:"Longest that an image may take." default:"1m"`
	ImageMemory int64         `help:"Most bytes of memory that an image may take." default:"2147483648"`
	Processes   int           `help:"Processes that decode, and so images at a time; one for each CPU if 0." default:"0"`
}

// Validate checks the flags. Its errors name the flag.
func (f pixelFlags) Validate() error {
	switch {
	case f.MaxPixels < 1: // it would stand for the usual limit, as would no time
		return errors.New("--max-pixels: must be positive")
	case f.ImageTime <= 0:
		return errors.New("--image-time: must be positive")
	case f.Processes < 0:
		return errors.New("--processes: must not be negative")
	}
	return nil
}

// open starts the pool of processes that decode. It fails at once where none can be started.
func (f pixelFlags) open(ctx context.Context) (*pool.Pool, error) {
	p, err := pool.New(f.Pool(pool.Config{
		Size: f.Processes, Memory: f.ImageMemory, Timeout: f.ImageTime, CPU: 2 * f.ImageTime,
	}))
	if err != nil {
		return nil, fmt.Errorf("open pixel processes: %w", err)
	}
	status, err := p.Check(ctx)
	if err != nil {
		p.Close()
		return nil, fmt.Errorf("open pixel processes: %w", err)
	}
	status.Warn(ctx)
	return p, nil
}

func (f pixelFlags) limits() pixels.Limits { return pixels.Limits{MaxPixels: f.MaxPixels} }

// pixelsChildCmd is a process of a pool.
type pixelsChildCmd struct{}

// Run serves the pool that has started this process.
func (*pixelsChildCmd) Run() error { return pool.Serve(engine.Open) }

// deriveCmd makes derivatives of local files.
type deriveCmd struct {
	Files   []string        `arg:"" name:"file" help:"Images."`
	Out     string          `help:"Folder for what is made; it is made if it is not there." default:"." placeholder:"DIR"`
	Sizes   []string        `help:"Sizes: a width such as 800, or a box such as 300x200, in pixels." default:"1600,800,400,200,100"`
	Format  []pixels.Format `help:"Formats: jpeg, png, webp, avif, gif." default:"jpeg"`
	Quality int             `help:"Quality, 1 to 100; that which is usual for the format if 0." default:"0"`
	Effort  pixels.Effort   `help:"How long to look for smaller files of equal quality: low, normal or high." enum:"low,normal,high" default:"normal"`
	Fit     pixels.Fit      `help:"How an image is brought into its box: inside, cover (what is outside is cut off) or exact (it is stretched)." enum:"inside,cover,exact" default:"inside"`
	Gravity pixels.Gravity  `help:"What cover keeps: centre, entropy (where most happens) or attention (what people look at)." enum:"centre,entropy,attention" default:"centre"`
	Enlarge bool            `help:"Make small images larger too."`

	TargetBytes   int     `help:"Lower the quality until a file has at most so many bytes." placeholder:"N"`
	Background    string  `help:"What shows through a JPEG of an image with alpha." default:"#ffffff" placeholder:"#RRGGBB"`
	Sharpen       float64 `help:"Sharpen after resizing: 1 is usual." default:"0"`
	Animate       bool    `help:"Keep all frames, in webp and gif."`
	KeepCopyright bool    `help:"Keep artist and copyright of the EXIF data, in jpeg, png and webp."`
	Recipe        string  `help:"Take the outputs from a recipe instead (recipes/*.yaml)." placeholder:"FILE" type:"existingfile"`
	pixelFlags
}

// Help is the long help.
func (*deriveCmd) Help() string {
	return `Each image is decoded once, in a process of its own that is confined and bounded, and all sizes and formats are made of
that. What is made is upright, in sRGB and without metadata, and is named after the image and the size. An image that
cannot be decoded is named, with the reason; the others are made all the same, and the exit status is then 1. When it is
interrupted it says how many were made, and the exit status is 130.

  darkroom derive photo.jpg --sizes 1600,800,400 --format jpeg,webp --out derived
  darkroom derive *.jpg --sizes 300x300 --fit cover --gravity attention --format avif
  darkroom derive photo.jpg --recipe recipes/thumbnails.yaml`
}

// named is an output with the part of a file's name that tells it from others.
type named struct {
	suffix string
	output pixels.Output
}

var boxPattern = regexp.MustCompile(`^(\d{1,5})(?:x(\d{1,5}))?$`)

// outputs are what is made of each image.
func (c *deriveCmd) outputs() ([]named, error) {
	if c.Recipe != "" {
		return outputsOf(c.Recipe)
	}
	// An empty variable of a script is no reason to make nothing and call that done.
	if len(c.Sizes) == 0 {
		return nil, errors.New("--sizes: needs at least one size")
	}
	if len(c.Format) == 0 {
		return nil, errors.New("--format: needs at least one format")
	}
	background, err := recipe.Colour(c.Background)
	if err != nil {
		return nil, fmt.Errorf("--%w", err)
	}
	var all []named
	for _, size := range c.Sizes {
		box := boxPattern.FindStringSubmatch(size)
		if box == nil {
			return nil, fmt.Errorf("--sizes: %q: must be a width such as 800, or a box such as 300x200", size)
		}
		o := pixels.Output{
			Fit: c.Fit, Gravity: c.Gravity, Enlarge: c.Enlarge, Quality: c.Quality, TargetBytes: c.TargetBytes, Effort: c.Effort,
			Background: background, Sharpen: c.Sharpen, Animate: c.Animate, Copyright: c.KeepCopyright,
		}
		o.Width, _ = strconv.Atoi(box[1]) // digits, as the height
		if o.Height, _ = strconv.Atoi(box[2]); box[2] == "" && c.Fit != pixels.Inside {
			o.Height = o.Width
		}
		for _, f := range c.Format {
			o.Format = f
			if err := o.Validate(); err != nil {
				return nil, fmt.Errorf("derive %s as %s: %w", size, f, err)
			}
			all = append(all, named{"-" + size + "." + f.Extension(), o})
		}
	}
	return all, nil
}

// outputsOf are those of a recipe.
func outputsOf(file string) ([]named, error) {
	r, err := recipe.Read(file)
	if err != nil {
		return nil, err
	}
	all := make([]named, len(r.Outputs))
	for i, o := range r.Outputs {
		if all[i].output, err = o.Pixels(); err != nil {
			return nil, fmt.Errorf("read recipe %s: %w", file, err)
		}
		ext := "." + o.Format.Extension()
		all[i].suffix = "-" + strings.TrimSuffix(o.Name, ext) + ext
	}
	return all, nil
}

// Run makes the derivatives.
func (c *deriveCmd) Run(ctx context.Context, io stdio) error {
	outputs, err := c.outputs()
	if err != nil {
		return err
	}
	if err := c.distinct(outputs); err != nil {
		return err
	}
	if err := os.MkdirAll(c.Out, 0o755); err != nil {
		return fmt.Errorf("--out: make folder %s: %s", c.Out, reason(err))
	}
	began := time.Now()
	workers, err := c.open(ctx)
	if errors.Is(err, context.Canceled) {
		return interrupted(0, len(c.Files))
	}
	if err != nil {
		return err
	}
	defer workers.Close()

	results := make([]derived, len(c.Files))
	var group errgroup.Group
	group.SetLimit(2 * cmp.Or(c.Processes, pool.CPUs)) // files are written while others are decoded
	bar := newBar(io.err, "deriving", int64(len(c.Files)))
	for i, file := range c.Files {
		group.Go(func() error {
			if results[i] = c.derive(ctx, workers, file, outputs); ctx.Err() == nil {
				_ = bar.Add(1) // only a picture
			}
			return nil // what failed, or was not begun, is in results
		})
	}
	_ = group.Wait()
	if !bar.IsFinished() {
		fmt.Fprintln(io.err)
	}
	return c.report(io, results, time.Since(began))
}

// distinct sees to it that no file is written twice, and that none takes the place of an image that was given.
func (c *deriveCmd) distinct(outputs []named) error {
	given, seen := newFileSet(c.Files), map[string]string{}
	for _, file := range c.Files {
		for _, o := range outputs {
			path := c.path(file, o)
			if other, ok := seen[path]; ok {
				return fmt.Errorf("%s would be made of both %s and %s: give them different names, or folders", path, other, file)
			}
			seen[path] = file
			if image, ok := given.find(path); ok {
				return fmt.Errorf("%s, made of %s, would replace the image %s: leave it out, or give another folder",
					path, file, image)
			}
		}
	}
	return nil
}

// fileSet finds files by whatever path leads to them: a link, or other letters where case does not count.
type fileSet map[fileKey][]knownFile

// fileKey is equal of equal files, and differs for most others.
type fileKey struct{ bytes, modified int64 }

type knownFile struct {
	path string
	info os.FileInfo
}

func keyOf(info os.FileInfo) fileKey { return fileKey{info.Size(), info.ModTime().UnixNano()} }

func newFileSet(paths []string) fileSet {
	s := fileSet{}
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil { // else it cannot be read either, which is told then
			s[keyOf(info)] = append(s[keyOf(info)], knownFile{path, info})
		}
	}
	return s
}

// find returns the path by which the set knows a file.
func (s fileSet) find(path string) (string, bool) {
	info, err := os.Stat(path)
	if err != nil {
		return "", false
	}
	for _, f := range s[keyOf(info)] {
		if os.SameFile(f.info, info) {
			return f.path, true
		}
	}
	return "", false
}

func (c *deriveCmd) path(file string, o named) string {
	base := filepath.Base(file)
	return filepath.Join(c.Out, strings.TrimSuffix(base, filepath.Ext(base))+o.suffix)
}

// derived is what became of a file.
type derived struct {
	file string
	made []derivedFile
	err  error
}

type derivedFile struct {
	path                  string
	width, height, frames int
	bytes                 int
}

// interrupted says how much was done.
func interrupted(done, all int) error {
	return fmt.Errorf("%w: %d of %s were derived", errInterrupted, done, count(all, "image"))
}

// derive makes the derivatives of one file, unless it is time to stop.
func (c *deriveCmd) derive(ctx context.Context, workers *pool.Pool, file string, outputs []named) derived {
	if ctx.Err() != nil {
		return derived{file: file, err: ctx.Err()}
	}
	f, err := openImage(file)
	if err != nil {
		return derived{file: file, err: errors.Unwrap(err)} // without the path, which is told in any case
	}
	defer f.Close()
	wanted := make([]pixels.Output, len(outputs))
	for i, o := range outputs {
		wanted[i] = o.output
	}
	made, err := workers.Derive(ctx, pool.Source{File: f}, c.limits(), wanted)
	d := derived{file: file, err: err}
	for i, m := range made {
		path := c.path(file, outputs[i])
		if d.err = writeWhole(path, m.Data); d.err != nil {
			break
		}
		d.made = append(d.made, derivedFile{path, m.Width, m.Height, m.Frames, len(m.Data)})
	}
	return d
}

// openImage opens a regular file. To open a pipe would wait for who writes to it, and nothing ends that. Every error is an
// fs.PathError.
func openImage(path string) (*os.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: path, Err: errors.New("no regular file")}
	}
	return os.Open(path)
}

// writeWhole writes a file that is there as a whole, or not at all.
func writeWhole(path string, data []byte) error {
	// Not os.CreateTemp, whose files are their owner's alone: the umask says who may read what is made.
	part := filepath.Join(filepath.Dir(path), ".darkroom-"+rand.Text())
	f, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(part, path)
	}
	if err != nil {
		_ = os.Remove(part) // what is told is why it is not whole
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// report prints what was made, and what could not be.
func (c *deriveCmd) report(io stdio, all []derived, took time.Duration) error {
	w := tabwriter.NewWriter(io.out, 0, 0, 2, ' ', 0)
	files, bytes, failed, stopped := 0, 0, 0, 0
	for _, d := range all {
		for _, m := range d.made {
			fmt.Fprintf(w, "%s\t%d×%d\t%d bytes\n", shown(m.path), m.width, m.height, m.bytes)
			files, bytes = files+1, bytes+m.bytes
		}
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	for _, d := range all {
		switch {
		case errors.Is(d.err, context.Canceled):
			stopped++
		case d.err != nil:
			failed++
			fmt.Fprintf(io.err, "%s: %s\n", shown(d.file), withCode(d.err))
		}
	}
	done := len(all) - failed - stopped
	fmt.Fprintf(io.out, "%s, %.1f MB, of %s in %.2f s\n",
		count(files, "file"), float64(bytes)/1e6, count(done, "image"), took.Seconds())
	if stopped > 0 {
		return interrupted(done, len(all))
	}
	if failed > 0 {
		return fmt.Errorf("%d of %s could not be derived", failed, count(len(all), "image"))
	}
	return nil
}

// withCode is an error's message, after the code if it is about an image.
func withCode(err error) string {
	if code := pixels.CodeOf(err); code != "" {
		return code + ": " + err.Error()
	}
	return err.Error()
}
