// Package stack runs the real parts that Darkroom grows into on one machine, each as a process of its own that outlives
// the command that started it: Kafka, Cassandra, Debezium, Flink, Spark, PostgreSQL and an S3 gateway.
//
// All of a stack is in one folder: what each part stores (data/NAME), its configuration (conf/NAME, written anew at each
// start), its log (logs/NAME.log), its process (run/NAME.pid) and the ports (ports.json). Java's parts run from the jars
// of Maven artifacts, which are fetched once into a library that many stacks share.
//
// Nothing supervises the parts: one that dies stays dead until the next Up. It runs on Linux.
package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"darkroom/internal/local"
)

const loopback = "127.0.0.1"

// Options say where a stack keeps its data and how it starts its parts.
type Options struct {
	Dir       string         // absolute; made if it is missing
	Lib       string         // folder of the jars; empty: DefaultLib
	Binary    string         // the darkroom binary, which runs postgres and s3; empty: this process's
	FreePorts bool           // pick free ports, not the usual ones; they are kept, unless they are taken at a later Up
	Ports     map[string]int // ports by name of the part, or by PART/PORT for one that is not the part's first
	Parts     []Part         // nil: Parts()
	// Tunnels are for those who reach Kafka through a tunnel, a proxy or NAT, by name: for each, Kafka listens on a port
	// of its own, kafka/NAME, and tells who comes there that it is found at this address. Debezium uses its own, if there
	// is one of its name.
	Tunnels map[string]string
}

// Part is a program that the stack runs.
type Part struct {
	Name  string
	Needs []string // parts that must answer before it is started, and that it is stopped before
	Ports []Port   // the first is the part's address
	Lib   string   // what jars it runs from: a folder of poms; empty for a program that is not Java's
	Conf  []string // folders of configuration files

	Setup   func(Env) []string               // the command that runs to its end before the part starts; nil, or none, for no such
	Before  func(context.Context, Env) error // what must be done before each start; nil for nothing
	Command func(Env) []string
	Environ func(Env) []string                    // beside this process's own; nil for nothing
	Ready   func(context.Context, Env) error      // one attempt to be answered
	Address func(Env) (string, []Variable, error) // how it is reached; nil: the first port

	StartWithin, StopWithin time.Duration // 0: a minute; ten seconds
}

// Port is one that a part listens on.
type Port struct {
	Name    string
	Default int
}

// Variable is an environment variable that tells Darkroom's other commands of a part.
type Variable struct{ Name, Value string }

// Stack is the parts in one folder.
type Stack struct {
	o     Options
	parts []Part
	ports ports

	mu     sync.Mutex
	exited map[int]error // how the processes that this one started have ended
}

// Open reads what is known of the stack in a folder. It starts nothing and writes nothing.
func Open(o Options) (*Stack, error) {
	if !filepath.IsAbs(o.Dir) {
		return nil, fmt.Errorf("open stack: folder %q is not an absolute path", o.Dir)
	}
	var err error
	if o.Lib == "" {
		if o.Lib, err = DefaultLib(); err != nil {
			return nil, fmt.Errorf("open stack: %w", err)
		}
	}
	if o.Binary == "" {
		if o.Binary, err = os.Executable(); err != nil {
			return nil, fmt.Errorf("open stack: %w", err)
		}
	}
	s := &Stack{o: o, parts: o.Parts, exited: map[int]error{}}
	if s.parts == nil {
		s.parts = Parts()
	}
	s.parts = withTunnels(s.parts, o.Tunnels)
	if s.ports, err = openPorts(s.path("ports.json"), s.parts, o.Ports); err != nil {
		return nil, fmt.Errorf("open stack: %w", err)
	}
	return s, nil
}

func (s *Stack) path(parts ...string) string {
	return filepath.Join(append([]string{s.o.Dir}, parts...)...)
}

// lock takes the folder for this process. Only commands that change something hold it.
func (s *Stack) lock() (io.Closer, error) {
	if err := os.MkdirAll(s.path("run"), 0o755); err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	return local.Lock(s.path("run"))
}

// Names returns the parts in the order in which they start.
func (s *Stack) Names() []string {
	names := make([]string, len(s.parts))
	for i, p := range s.parts {
		names[i] = p.Name
	}
	return names
}

func (s *Stack) part(name string) (Part, error) {
	i := slices.IndexFunc(s.parts, func(p Part) bool { return p.Name == name })
	if i < 0 {
		return Part{}, fmt.Errorf("no part is called %q: they are %v", name, s.Names())
	}
	return s.parts[i], nil
}

// choose returns the parts that are named, or all, in the order of their start; with what they need if needs says so.
func (s *Stack) choose(names []string, needs bool) ([]Part, error) {
	wanted := map[string]bool{}
	var want func(name string) error
	want = func(name string) error {
		p, err := s.part(name)
		if err != nil || wanted[name] {
			return err
		}
		wanted[name] = true
		if !needs {
			return nil
		}
		var errs []error
		for _, n := range p.Needs {
			errs = append(errs, want(n))
		}
		return errors.Join(errs...)
	}
	if len(names) == 0 {
		names = s.Names()
	}
	for _, name := range names {
		if err := want(name); err != nil {
			return nil, err
		}
	}
	var chosen []Part
	for _, p := range s.parts {
		if wanted[p.Name] {
			chosen = append(chosen, p)
		}
	}
	return chosen, nil
}

// Addr is host:port of a part, or of PART/PORT; empty for a name that is none.
func (s *Stack) Addr(name string) string {
	port := s.ports.get(name)
	if port == 0 {
		return ""
	}
	return fmt.Sprintf("%s:%d", loopback, port)
}

// Logs is the file that a part writes its log to. The log of its run before is beside it, with .1 added.
func (s *Stack) Logs(name string) (string, error) {
	if _, err := s.part(name); err != nil {
		return "", err
	}
	return s.logFile(name), nil
}

func (s *Stack) logFile(name string) string { return s.path("logs", name+".log") }

// Event is a step in the life of a part.
type Event struct {
	Part  string
	State State
	Files int           // of Fetching and Fetched
	Bytes int64         // of Fetching and Fetched
	Took  time.Duration // of Fetched, Ready and Stopped
}

// State is what a part is doing.
type State string

// The states of a part. Fetching, Fetched, Running and Killed are seen in events only, Dead in a Status only.
const (
	Fetching State = "fetching" // the jars it runs from are on their way
	Fetched  State = "fetched"
	Starting State = "starting" // its process runs, and does not answer yet
	Ready    State = "ready"
	Running  State = "running" // it was ready before
	Stopping State = "stopping"
	Stopped  State = "stopped"
	Killed   State = "killed" // it did not stop in time
	Dead     State = "dead"   // its process has ended, and nobody has stopped it
)

// Progress is told of events. It is called from many goroutines, one at a time. It may be nil.
type Progress func(Event)

// inTurn makes calls of a progress come one at a time.
func inTurn(f Progress) Progress {
	var mu sync.Mutex
	return func(e Event) {
		if f == nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		f(e)
	}
}
