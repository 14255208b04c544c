// Package vips is the engine of package pixels that uses libvips: the shared library is opened at run time, so that
// Darkroom is built without C and runs without libvips too.
//
// All that libvips does is asked for through its operations by name, their arguments set as properties of a GObject.
package vips

import (
	"slices"

	"darkroom/internal/pixels"
)

// revision changes with what this package makes of the same picture and the same libvips.
const revision = "3"

// Engine implements pixels.Engine.
type Engine struct {
	*library
	info     info
	borrowed pixels.Engine // for what the library cannot; may be nil
	own      []pixels.Format
}

type info pixels.EngineInfo

// Open opens libvips. The path is that of the library, or of a folder that has it; if it is empty, the usual places are
// searched. A process uses one libvips: to open another one is an error, to open the same again is not.
func Open(path string) (*Engine, error) {
	var errs []error
	for _, candidate := range candidates(path) {
		l, err := load(candidate)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		i := l.survey()
		return &Engine{library: l, info: i, own: i.Decodes}, nil
	}
	return nil, notFound(path, errs)
}

// Info implements pixels.Engine.
func (e *Engine) Info() pixels.EngineInfo { return pixels.EngineInfo(e.info) }

// Path is that of the library.
func (e *Engine) Path() string { return e.path }

// Borrow returns an engine that has the other one decode the first frame of what this libvips cannot, such as BMP, and do all
// of an animated PNG whose frames are asked for.
func (e *Engine) Borrow(other pixels.Engine) *Engine {
	with := *e
	with.borrowed = other
	with.info.Decodes = slices.Clone(e.own)
	for _, f := range other.Info().Decodes {
		if !slices.Contains(e.own, f) {
			with.info.Decodes = append(with.info.Decodes, f)
		}
	}
	return &with
}
