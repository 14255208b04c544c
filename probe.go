package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"text/tabwriter"

	"darkroom/internal/pixels"
)

// probeCmd shows what images are, without decoding a pixel.
type probeCmd struct {
	Files     []string `arg:"" name:"file" help:"Images."`
	JSON      bool     `name:"json" help:"Print one JSON object a line."`
	MaxPixels int64    `help:"Refuse images of more pixels." default:"100000000"`
}

// Help is the long help.
func (*probeCmd) Help() string {
	return `It reads each file to its end, so that one that was cut short is found, and prints format, size, frames, orientation,
camera and time taken. An image that would be refused on upload is refused here, with the same code; the exit status is
then 1.

  darkroom probe testdata/photos/*
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
	Code        string `json:"code,omitempty"` // why it is refused
	Detail      string `json:"detail,omitempty"`
}

// Run prints the facts.
func (c *probeCmd) Run(io stdio) error {
	all := make([]probed, len(c.Files))
	refused := 0
	for i, file := range c.Files {
		all[i] = c.probe(file)
		if all[i].Format == "" {
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

func (c *probeCmd) probe(file string) probed {
	f, err := os.Open(file)
	if err != nil {
		return probed{File: file, Code: "unreadable", Detail: errors.Unwrap(err).Error()}
	}
	defer f.Close()
	facts, err := pixels.Probe(f, pixels.Limits{MaxPixels: c.MaxPixels})
	if code := pixels.CodeOf(err); code != "" {
		return probed{File: file, Code: code, Detail: err.Error()}
	}
	if err != nil {
		return probed{File: file, Code: "unreadable", Detail: err.Error()}
	}
	return probed{
		File: file, Format: string(facts.Format), Width: facts.Width, Height: facts.Height, Frames: facts.Frames,
		Orientation: facts.Orientation, Camera: facts.Camera, TakenAt: facts.TakenAt, Artist: facts.Artist, Copyright: facts.Copyright,
	}
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
	fmt.Fprintln(w, "FILE\tFORMAT\tSIZE\tFRAMES\tORIENTATION\tCAMERA\tTAKEN")
	for _, p := range all {
		if p.Code != "" {
			fmt.Fprintf(w, "%s\t-\t%s: %s\n", p.File, p.Code, p.Detail)
			continue
		}
		fmt.Fprintf(w, "%s\t%s\t%d×%d\t%d\t%d\t%s\t%s\n",
			p.File, p.Format, p.Width, p.Height, p.Frames, p.Orientation, p.Camera, p.TakenAt)
	}
	return w.Flush()
}
