package stack

import (
	"fmt"
	"path/filepath"
)

// Env is where a part lives: what its commands, its configuration and its check need to know. Templates use it too.
type Env struct {
	s    *Stack
	part Part
	java string
}

func (s *Stack) env(p Part, java string) Env { return Env{s: s, part: p, java: java} }

// Name is the part's own.
func (e Env) Name() string { return e.part.Name }

// Data is the folder that the part stores in.
func (e Env) Data() string { return e.DataOf(e.part.Name) }

// DataOf is the folder that another part stores in.
func (e Env) DataOf(name string) string { return e.s.path("data", name) }

// Conf is the folder of the part's configuration.
func (e Env) Conf() string { return e.s.path("conf", e.part.Name) }

// Port is one of the part's ports.
func (e Env) Port(name string) int { return e.s.ports.get(e.part.Name + "/" + name) }

// PortOf is a port of another part, as PART or PART/PORT.
func (e Env) PortOf(name string) int { return e.s.ports.get(name) }

// Addr is host:port of one of the part's ports.
func (e Env) Addr(name string) string { return e.AddrOf(e.part.Name + "/" + name) }

// AddrOf is host:port of another part, as PART or PART/PORT.
func (e Env) AddrOf(name string) string { return fmt.Sprintf("%s:%d", loopback, e.PortOf(name)) }

// Binary is the darkroom binary.
func (e Env) Binary() string { return e.s.o.Binary }

// Lib is the folder of the part's jars.
func (e Env) Lib() string { return libFolder(e.s.o.Lib, e.part.Lib) }

// Java is a command that runs a class of the part's jars.
func (e Env) Java(options []string, class string, args ...string) []string {
	return e.JavaFrom(e.Lib(), options, class, args...)
}

// JavaFrom is a command that runs a class of the jars in a folder.
func (e Env) JavaFrom(jars string, options []string, class string, args ...string) []string {
	argv := append([]string{
		e.java, "-XX:+ExitOnOutOfMemoryError", "-Djava.awt.headless=true", "-Djava.io.tmpdir=" + filepath.Join(e.Data(), "tmp"),
	}, options...)
	argv = append(argv, "-cp", jars+"/*", class)
	return append(argv, args...)
}
