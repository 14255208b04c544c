package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"text/tabwriter"

	"golang.org/x/sync/errgroup"

	"darkroom/internal/pixels"
	"darkroom/internal/pixels/hash"
	"darkroom/internal/pixels/pool"
)

// probeCmd shows what images are, without decoding a pixel unless their hashes are wanted.
type probeCmd struct {
	Files []string `arg:"" name:"file" help:"Images."`
	JSON  bool     `name:"json" help:"Print one JSON object a line."`
	Hash  bool     `help:"Decode, and print the hash of the pixels, the PDQ hash of the look, and its quality."`
	pixelFlags
}

// Help is the long help.
func (*probeCmd) Help() string {
	return `It reads each file to its end, so that one that was cut short is found, and prints format, size, frames, orientation,
camera and time taken. An image that would be refused on upload is refused here, with the same code; the exit status is
then 1.

With --hash each image is also decoded, as derive does it. Images of the same pixels, in whatever lossless format, have the
same pixel hash; those that look the same have PDQ hashes that differ in at most 31 of 256 bits, if their quality is at
least 50.

  darkroom probe testdata/photos/*
  darkroom probe --hash testdata/photos/sunset*.jpg
  darkroom probe --json photo.jpg | jq .width`
}

// probed is what is printed of a file.
type probed struct {
	File        string `json:"file"`
	Format      string `json:"format,omitempty"`
	Width       int64  `json:"width,omitempty"`  // as stored
	Height      int64  `json:"height,omitempty"` // as stored
	Frames      int64  `json:"frames,omitempty"`
	Orientation int64  `json:"orientation,omitempty"`
	Camera      string `json:"camera,omitempty"`
	TakenAt     string `json:"taken_at,omitempty"`
	Artist      string `json:"artist,omitempty"`
	Copyright   string `json:"copyright,omitempty"`
	*hashed
	Code   string `json:"code,omitempty"` // why it is refused
	Detail string `json:"detail,omitempty"`
}

// hashed is what is printed of a file that was decoded.
type hashed struct {
	PixelHash hash.Pixels `json:"pixel_hash"`
	PDQ       hash.Look   `json:"pdq"`
	Quality   int         `json:"pdq_quality"`
}

// Run prints the facts.
func (c *probeCmd) Run(ctx context.Context, io stdio) error {
	var workers *pool.Pool
	if c.Hash {
		var err error
		if workers, err = c.open(ctx); err != nil {
			return err
		}
		defer workers.Close()
	}
	all := make([]probed, len(c.Files))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(cmp.Or(c.Processes, pool.CPUs))
	for i, file := range c.Files {
		group.Go(func() error {
			all[i] = c.probe(ctx, workers, file)
			return ctx.Err()
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	refused := 0
	for _, p := range all {
		if p.Code != "" {
			refused++
		}
	}
	if err := c.print(io, all); err != nil {
		return err
	}
	if refused > 0 {
		return fmt.Errorf("%d of %d files are no images that Darkroom takes", refused, len(all))
	}
	return nil
}

func (c *probeCmd) probe(ctx context.Context, workers *pool.Pool, file string) probed {
	f, err := openImage(file)
	if err != nil {
		return probed{File: file, Code: "unreadable", Detail: errors.Unwrap(err).Error()}
	}
	defer f.Close()
	refused := func(err error) probed {
		return probed{File: file, Code: cmp.Or(pixels.CodeOf(err), "unreadable"), Detail: err.Error()}
	}
	facts, err := pixels.Probe(f, c.limits())
	if err != nil {
		return refused(err)
	}
	p := probed{
		File: file, Format: string(facts.Format), Width: facts.Width, Height: facts.Height, Frames: facts.Frames,
		Orientation: facts.Orientation, Camera: facts.Camera, TakenAt: facts.TakenAt, Artist: facts.Artist, Copyright: facts.Copyright,
	}
	if workers != nil {
		h, err := workers.Hash(ctx, pool.Source{File: f}, c.limits())
		if err != nil {
			return refused(err)
		}
		p.hashed = &hashed{h.Pixels, h.Look, h.Quality}
	}
	return p
}

func (c *probeCmd) print(io stdio, all []probed) error {
	if c.JSON {
		out := json.NewEncoder(io.out)
		out.SetEscapeHTML(false)
		for _, p := range all {
			if err := out.Encode(p); err != nil {
				return fmt.Errorf("print: %w", err)
			}
		}
		return nil
	}
	w := tabwriter.NewWriter(io.out, 0, 0, 2, ' ', 0)
	heading := "FILE\tFORMAT\tSIZE\tFRAMES\tORIENTATION\tCAMERA\tTAKEN"
	if c.Hash {
		heading += "\tPDQ\tQUALITY\tPIXELS"
	}
	fmt.Fprintln(w, heading)
	for _, p := range all {
		if p.Code != "" {
			fmt.Fprintf(w, "%s\t-\t%s: %s\n", shown(p.File), p.Code, p.Detail)
			continue
		}
		fmt.Fprintf(w, "%s\t%s\t%d×%d\t%d\t%d\t%s\t%s",
			shown(p.File), p.Format, p.Width, p.Height, p.Frames, p.Orientation, p.Camera, p.TakenAt)
		if p.hashed != nil {
			fmt.Fprintf(w, "\t%s\t%d\t%s", p.PDQ, p.Quality, p.PixelHash)
		}
		fmt.Fprintln(w)
	}
	return w.Flush()
}
