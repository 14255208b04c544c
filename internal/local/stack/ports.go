package stack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	mathrand "math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Free ports are looked for below those that Linux gives to connections and to listeners on port 0
// (net.ipv4.ip_local_port_range, from 32768), so that none of these takes one between its choice and its use.
const (
	firstPort = 20_000
	portRange = 12_000
	portTries = 1000
)

// portPatience is how long a port may stay taken after the end of the process that had it.
const portPatience = 3 * time.Second

// TakenError says that a part cannot listen.
type TakenError struct {
	Part string
	Port int
	By   string // what listens there, if that can be seen
}

func (e *TakenError) Error() string {
	by := e.By
	if by == "" {
		by = "another program"
	}
	return fmt.Sprintf("start %s: port %d is taken by %s", e.Part, e.Port, by)
}

// ports are those of all parts, by PART/PORT. They are remembered in a file, so that a part keeps its ports when it is
// started again.
type ports struct {
	path   string
	first  map[string]string // the name of each part's first port
	number map[string]int
	known  map[string]bool // those that were asked for or remembered
}

func openPorts(path string, parts []Part, wanted map[string]int) (ports, error) {
	p := ports{path: path, first: map[string]string{}, number: map[string]int{}, known: map[string]bool{}}
	for _, part := range parts {
		for i, port := range part.Ports {
			if i == 0 {
				p.first[part.Name] = part.Name + "/" + port.Name
			}
			p.number[part.Name+"/"+port.Name] = port.Default
		}
	}
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return p, fmt.Errorf("read ports: %w", err)
	}
	remembered := map[string]int{}
	if err == nil {
		if err := json.Unmarshal(b, &remembered); err != nil {
			return p, fmt.Errorf("read ports: %s: %w", path, err)
		}
	}
	for name := range remembered { // by a stack that had other parts, or tunnels
		if _, ok := p.number[p.key(name)]; !ok {
			delete(remembered, name)
		}
	}
	for _, from := range []map[string]int{remembered, wanted} {
		for name, number := range from {
			key := p.key(name)
			if _, ok := p.number[key]; !ok {
				return p, fmt.Errorf("no port is called %q", name)
			}
			if number < 1 || number > 65535 {
				return p, fmt.Errorf("port %s: %d is not a port", name, number)
			}
			p.number[key], p.known[key] = number, true
		}
	}
	return p, nil
}

func (p ports) key(name string) string {
	if first, ok := p.first[name]; ok {
		return first
	}
	return name
}

func (p ports) get(name string) int { return p.number[p.key(name)] }

// save remembers the ports.
func (p ports) save() error {
	b, err := json.MarshalIndent(p.number, "", "  ")
	if err != nil {
		return err
	}
	if err := errors.Join(os.MkdirAll(filepath.Dir(p.path), 0o755), os.WriteFile(p.path+".new", append(b, '\n'), 0o644),
		os.Rename(p.path+".new", p.path)); err != nil {
		return fmt.Errorf("remember ports: %w", err)
	}
	return nil
}

// pick gives free ports to those that have none yet of their own, and to the parts that are about to start in place of
// those that are taken.
func (p ports) pick(ctx context.Context, parts, starting []Part) error {
	used := map[int]bool{}
	for key := range p.known {
		used[p.number[key]] = true
	}
	starts := map[string]bool{}
	for _, part := range starting {
		starts[part.Name] = true
	}
	for _, part := range parts {
		for _, port := range part.Ports {
			key := part.Name + "/" + port.Name
			if p.known[key] && (!starts[part.Name] || isFree(ctx, p.number[key])) {
				continue
			}
			number, err := freePort(ctx, used)
			if err != nil {
				return err
			}
			used[number], p.number[key], p.known[key] = true, number, true
		}
	}
	return nil
}

func freePort(ctx context.Context, used map[int]bool) (int, error) {
	for range portTries {
		if port := firstPort + mathrand.IntN(portRange); !used[port] && isFree(ctx, port) {
			return port, nil
		}
	}
	return 0, fmt.Errorf("no free port between %d and %d", firstPort, firstPort+portRange)
}

func isFree(ctx context.Context, port int) bool {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", fmt.Sprintf("%s:%d", loopback, port))
	if err != nil {
		return false
	}
	_ = l.Close()
	return true
}

// awaitFree waits a moment for the ports of a part that has just ended.
func (p ports) awaitFree(ctx context.Context, part Part) error {
	end := time.Now().Add(portPatience)
	for _, port := range part.Ports {
		number := p.get(part.Name + "/" + port.Name)
		for !isFree(ctx, number) {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if time.Now().After(end) {
				return &TakenError{Part: part.Name, Port: number, By: listener(number)}
			}
			time.Sleep(lookEvery)
		}
	}
	return nil
}

// listener names the process that listens on a port, if it may be seen.
func listener(port int) string {
	inodes := map[string]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		b, err := os.ReadFile(table)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			f := strings.Fields(line)
			const listening = "0A"
			if len(f) > 9 && f[3] == listening && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port)) {
				inodes["socket:["+f[9]+"]"] = true
			}
		}
	}
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*") // the pattern is well-formed
	for _, fd := range fds {
		if target, err := os.Readlink(fd); err == nil && inodes[target] {
			pid := strings.Split(fd, "/")[2]
			name, _ := os.ReadFile("/proc/" + pid + "/comm")
			if _, err := strconv.Atoi(pid); err == nil {
				return fmt.Sprintf("process %s (%s)", pid, strings.TrimSpace(string(name)))
			}
		}
	}
	return ""
}
