// Package engine chooses the pixel engine: libvips where it can be opened, else the one in Go.
package engine

import (
	"fmt"

	"darkroom/internal/pixels"
	"darkroom/internal/pixels/goengine"
	"darkroom/internal/pixels/vips"
)

// The names that Open takes.
const (
	Auto    = "auto"
	Go      = "go"
	Libvips = "libvips"
)

// Open opens the engine of a name; Auto stands for the best there is, as Survey says. The library is a file or a folder,
// or empty for the usual places. An error says why an engine that was asked for by name cannot be used.
func Open(name, library string) (pixels.Engine, error) {
	switch name {
	case Go:
		return goengine.New(), nil
	case Libvips:
		return openLibvips(library)
	case Auto, "":
		e, err := openLibvips(library)
		if err == nil {
			return e, nil
		}
		if library != "" { // it was asked for
			return nil, err
		}
		return goengine.New(), nil
	}
	return nil, fmt.Errorf("engine %q: must be one of %s, %s and %s", name, Auto, Go, Libvips)
}

// openLibvips opens libvips, with the engine in Go for the formats that it does not decode.
func openLibvips(library string) (pixels.Engine, error) {
	e, err := vips.Open(library)
	if err != nil {
		return nil, err
	}
	return e.Borrow(goengine.New()), nil
}

// Status is what there is to say of an engine.
type Status struct {
	Name string
	Info pixels.EngineInfo // empty if the engine cannot be used
	Path string            // of its library, if it has one
	Used bool              // by the name that was given to Survey
	Why  string            // it is not used
}

// Survey tells of all engines, and which of them Open takes.
func Survey(name, library string) ([]Status, error) {
	used, err := Open(name, library)
	if err != nil {
		return nil, err
	}
	lib := Status{Name: Libvips}
	if e, err := vips.Open(library); err != nil {
		lib.Why = err.Error()
	} else {
		lib.Info, lib.Path = e.Borrow(goengine.New()).Info(), e.Path()
	}
	statuses := []Status{lib, {Name: Go, Info: goengine.New().Info()}}
	for i := range statuses {
		s := &statuses[i]
		switch s.Used = s.Name == used.Info().Name; {
		case s.Used || s.Why != "":
		case name == Auto || name == "":
			s.Why = "libvips is there, and faster"
		default:
			s.Why = "the engine " + name + " is asked for"
		}
	}
	return statuses, nil
}

// Locate returns the library by a name that means the same in a child process, as package pool starts them: without the
// user's environment, in another folder.
func Locate(library string) string { return vips.Locate(library) }
