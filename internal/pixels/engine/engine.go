// Package engine chooses the pixel engine: libvips where it can be opened, else the one in Go.
package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"darkroom/internal/pixels"
	"darkroom/internal/pixels/goengine"
	"darkroom/internal/pixels/pool"
	"darkroom/internal/pixels/vips"
)

// The names that Open takes.
const (
	Auto    = "auto"
	Go      = "go"
	Libvips = "libvips"
)

// Open opens the engine of a name; Auto stands for libvips, or for the one in Go where that cannot be opened. The library
// is a file, a folder or a list of Locate, or empty for the usual places. An error says why an engine that was asked for
// by name cannot be used.
func Open(name, library string) (pixels.Engine, error) {
	switch name {
	case Go:
		return goengine.New(), nil
	case Libvips:
		return openLibvips(library)
	case Auto, "":
		e, err := openLibvips(library)
		switch {
		case err == nil:
			return e, nil
		case errors.Is(err, vips.ErrAbsent):
			return goengine.New(), nil
		}
		return fallback{goengine.New(), oneLine(err.Error())}, nil
	}
	return nil, fmt.Errorf("engine %q: must be one of %s, %s and %s", name, Auto, Go, Libvips)
}

// fallback is the engine in Go where there is a libvips that cannot be used.
type fallback struct {
	pixels.Engine
	why string
}

// Fallback says why it is not libvips.
func (f fallback) Fallback() string { return f.why }

func oneLine(text string) string {
	return strings.Join(strings.Split(strings.TrimSpace(text), "\n"), "; ")
}

// openLibvips opens libvips, with the engine in Go for the formats that it does not decode.
func openLibvips(library string) (pixels.Engine, error) {
	e, err := vips.Open(library)
	if err != nil {
		return nil, err
	}
	return e.Borrow(goengine.New()), nil
}

// Pool sets the engine of a pool: Auto with a library that is named stands for Libvips; without, for the one in Go also
// where the library takes down the processes that open it.
func (c Choice) Pool(cfg pool.Config) pool.Config {
	cfg.Engine, cfg.Libvips = c.Engine, vips.Locate(c.Libvips)
	if c.Engine == Auto || c.Engine == "" {
		if c.Libvips != "" {
			cfg.Engine = Libvips
		} else {
			cfg.Engine, cfg.Fallback = Auto, Go
		}
	}
	return cfg
}

// Check returns an error, which names the flag, if what is chosen is not on this machine. Of Auto one always is.
func (c Choice) Check(ctx context.Context) error {
	cfg := c.Pool(pool.Config{})
	if cfg.Engine != Libvips {
		return nil
	}
	if _, err := check(ctx, cfg); err != nil {
		flag := "--engine " + c.Engine
		if c.Libvips != "" {
			flag = "--libvips " + c.Libvips
		}
		return fmt.Errorf("%s: %w", flag, err)
	}
	return nil
}

// Status is what there is to say of an engine.
type Status struct {
	Name string
	Info pixels.EngineInfo // empty if the engine cannot be used
	Path string            // of its library, if it has one
	Used bool              // by the choice that was surveyed
	Why  string            // it is not used
}

// Survey tells of all engines, and which of them a pool has by the choice. Each is opened in a process of the pool that
// cfg describes, since a broken library takes down who opens it.
func (c Choice) Survey(ctx context.Context, cfg pool.Config) ([]Status, error) {
	used, err := check(ctx, c.Pool(cfg))
	if err != nil {
		return nil, err
	}
	statuses := []Status{{Name: Libvips}, {Name: Go}}
	for i := range statuses {
		s := &statuses[i]
		found, err := check(ctx, Choice{s.Name, c.Libvips}.Pool(cfg))
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			s.Why = err.Error()
		}
		s.Info, s.Path = found.Engine, found.Library
		switch s.Used = s.Name == used.Engine.Name; {
		case s.Used || s.Why != "":
		case c.Engine == Auto || c.Engine == "":
			s.Why = "libvips is there, and faster"
		default:
			s.Why = "the engine " + c.Engine + " is asked for"
		}
	}
	return statuses, nil
}

func check(ctx context.Context, cfg pool.Config) (pool.Status, error) {
	cfg.Size = 1
	p, err := pool.New(cfg)
	if err != nil {
		return pool.Status{}, err
	}
	defer p.Close()
	return p.Check(ctx)
}
