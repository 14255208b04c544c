package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"text/tabwriter"

	"darkroom/internal/pixels"
	"darkroom/internal/pixels/engine"
	"darkroom/internal/pixels/pool"
)

// doctorCmd tells what this machine has that Darkroom can use.
type doctorCmd struct {
	engine.Choice
	JSON bool `name:"json" help:"Print JSON."`
}

// Help is the long help.
func (*doctorCmd) Help() string {
	return `It says which pixel engine is used, with its version, codecs and formats, why the other one is not, and which of the
programs that the stack needs are there. libvips is searched where "make libvips" puts it, then where the system has its
libraries.

  darkroom doctor
  darkroom doctor --engine libvips --libvips ./node_modules`
}

// diagnosis is what doctor prints.
type diagnosis struct {
	System  string         `json:"system"`
	CPUs    int            `json:"cpus"`
	Go      string         `json:"go"`
	Engines []engineReport `json:"engines"`
	Tools   []toolReport   `json:"tools"`
}

type engineReport struct {
	Name      string          `json:"name"`
	Used      bool            `json:"used"`
	Why       string          `json:"why_not,omitempty"`
	Version   string          `json:"version,omitempty"`
	Path      string          `json:"path,omitempty"`
	Libraries []string        `json:"libraries,omitempty"`
	Decodes   []pixels.Format `json:"decodes,omitempty"`
	Encodes   []pixels.Format `json:"encodes,omitempty"`
}

type toolReport struct {
	Name string `json:"name"`
	For  string `json:"for"`
	Path string `json:"path,omitempty"` // empty if it is not there
}

// Run prints the diagnosis.
func (c *doctorCmd) Run(ctx context.Context, io stdio) error {
	statuses, err := c.Survey(ctx, pool.Config{})
	if err != nil {
		return fmt.Errorf("--engine %s: %w", c.Engine, err)
	}
	d := diagnosis{System: runtime.GOOS + "/" + runtime.GOARCH, CPUs: runtime.NumCPU(), Go: runtime.Version()}
	for _, s := range statuses {
		d.Engines = append(d.Engines, engineReport{
			Name: s.Name, Used: s.Used, Why: s.Why, Version: s.Info.Version, Path: s.Path,
			Libraries: s.Info.Libraries, Decodes: s.Info.Decodes, Encodes: s.Info.Encodes,
		})
	}
	for _, tool := range [][2]string{{"java", "the stack"}, {"mvn", "the stack's first start"}, {"npm", "make libvips"}} {
		path, _ := exec.LookPath(tool[0]) // what is not found is what is to be told
		d.Tools = append(d.Tools, toolReport{Name: tool[0], For: tool[1], Path: path})
	}
	if c.JSON {
		encoder := json.NewEncoder(io.out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(d)
	}
	return d.print(io)
}

func (d diagnosis) print(io stdio) error {
	w := tabwriter.NewWriter(io.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "system\t%s, %d CPUs, %s\n", d.System, d.CPUs, d.Go)
	for _, e := range d.Engines {
		state := "used"
		if !e.Used {
			state = "not used: " + strings.ReplaceAll(e.Why, "\n", "; ")
		}
		fmt.Fprintf(w, "engine %s\t%s\n", e.Name, state)
		if e.Version == "" {
			continue
		}
		fmt.Fprintf(w, "  version\t%s\n", e.Version)
		if e.Path != "" {
			fmt.Fprintf(w, "  library\t%s\n", e.Path)
		}
		fmt.Fprintf(w, "  codecs\t%s\n", strings.Join(e.Libraries, ", "))
		fmt.Fprintf(w, "  decodes\t%s\n", formatList(e.Decodes))
		fmt.Fprintf(w, "  encodes\t%s\n", formatList(e.Encodes))
	}
	for _, t := range d.Tools {
		fmt.Fprintf(w, "%s\t%s (for %s)\n", t.Name, cmp.Or(t.Path, "not found"), t.For)
	}
	return w.Flush()
}

func formatList(formats []pixels.Format) string {
	names := make([]string, len(formats))
	for i, f := range formats {
		names[i] = string(f)
	}
	return strings.Join(names, " ")
}
