package stack

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// marker is the environment variable by which a part's process is known, should its pid file be lost.
const marker = "DARKROOM_STACK_PART"

const lookEvery = 10 * time.Millisecond

// process is one that runs. A number is given to another process once its first owner is gone, but not at the same time.
type process struct {
	pid   int
	start string // in clock ticks since the boot
}

// stat is what of /proc/PID/stat is of use here.
type stat struct {
	process
	ended   bool
	group   int
	session int
}

func readStat(pid int) (stat, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	// The second field is the program's name in parentheses, which may hold anything.
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) < 20 {
		return stat{}, fmt.Errorf("read /proc/%d/stat: %d fields", pid, len(fields))
	}
	group, errGroup := strconv.Atoi(fields[2])
	session, errSession := strconv.Atoi(fields[3])
	// The first thread of a process that is killed ends before the others, which still hold its files and ports.
	ended := fields[0] == "X" || fields[0] == "Z" && fields[17] == "1"
	st := stat{process: process{pid, fields[19]}, ended: ended, group: group, session: session}
	return st, errors.Join(errGroup, errSession)
}

// runs reports whether the process is there and is more than an exit status that nobody has read.
func (p process) runs() bool {
	st, err := readStat(p.pid)
	return err == nil && st.start == p.start && !st.ended
}

// signal sends a signal to the process, and to no other that has got its number.
func (p process) signal(sig syscall.Signal) error {
	handle, err := os.FindProcess(p.pid) // pins the process that has the number now
	if err != nil {
		return err
	}
	defer func() { _ = handle.Release() }()
	if !p.runs() {
		return nil
	}
	if err := handle.Signal(sig); !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// killLimit is for the kernel to take back the memory of a killed process.
const killLimit = 10 * time.Second

func (p process) kill() error {
	if err := p.signal(syscall.SIGKILL); err != nil {
		return err
	}
	if !p.await(killLimit) {
		return fmt.Errorf("process %d does not end", p.pid)
	}
	return nil
}

// await reports whether the process ends within a time.
func (p process) await(within time.Duration) bool {
	for end := time.Now().Add(within); p.runs(); time.Sleep(lookEvery) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// killGroup kills what a part's process has left behind: each part leads a group of its own, whose members carry its
// mark.
func (s *Stack) killGroup(name string, p process) error {
	stats, err := processes()
	if err != nil {
		return err
	}
	var errs []error
	for _, st := range stats {
		if st.group == p.pid && st.pid != p.pid && s.marked(name, st.pid) {
			errs = append(errs, st.kill())
		}
	}
	return errors.Join(errs...)
}

// processes lists all that run.
func processes() ([]stat, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var all []stat
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue // no process
		}
		if st, err := readStat(pid); err == nil { // else it has just ended
			all = append(all, st)
		}
	}
	return all, nil
}

// memory is what the part's process and its children occupy, in bytes; pages that they share are counted once.
func (p process) memory() int64 {
	stats, err := processes()
	if err != nil {
		return 0
	}
	var sum int64
	for _, st := range stats {
		if st.session == p.pid {
			sum += proportional(st.pid)
		}
	}
	return sum
}

func proportional(pid int) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if kib, ok := strings.CutPrefix(line, "Pss:"); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(kib), "kB")), 10, 64)
			return n << 10
		}
	}
	return 0
}

// bootID changes with each start of the machine, after which the same number and start time may be another process's.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(b))
}

func (s *Stack) pidFile(name string) string { return s.path("run", name+".pid") }

// writePID notes a part's process: its number on the first line, and on the second what tells it from later ones.
func (s *Stack) writePID(name string, p process) error {
	path := s.pidFile(name)
	text := fmt.Sprintf("%d\n%s %s\n", p.pid, p.start, bootID())
	return errors.Join(os.WriteFile(path+".new", []byte(text), 0o644), os.Rename(path+".new", path))
}

// readPID returns the process that was noted, and whether one was. It need not run any more.
func (s *Stack) readPID(name string) (process, bool) {
	b, err := os.ReadFile(s.pidFile(name))
	fields := strings.Fields(string(b))
	if err != nil || len(fields) != 3 || fields[2] != bootID() {
		return process{}, !errors.Is(err, fs.ErrNotExist)
	}
	pid, err := strconv.Atoi(fields[0])
	if err != nil {
		return process{}, true
	}
	return process{pid, fields[1]}, true
}

// find returns the part's process, if it runs. A pid file whose process is another program counts for nothing.
func (s *Stack) find(name string) (process, bool) {
	if p, _ := s.readPID(name); p.pid > 0 && p.runs() {
		return p, true
	}
	return s.findMarked(name)
}

// findMarked looks for a part's process whose pid file is missing: the command that started it may have been killed
// before it wrote one.
func (s *Stack) findMarked(name string) (process, bool) {
	stats, err := processes()
	if err != nil {
		return process{}, false
	}
	for _, st := range stats {
		// A child of a part inherits the mark, but leads no session.
		if st.session == st.pid && !st.ended && s.marked(name, st.pid) {
			return st.process, true
		}
	}
	return process{}, false
}

// marked reports whether a process was started as the part, or by it.
func (s *Stack) marked(name string, pid int) bool {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "environ"))
	if err != nil {
		return false // another user's
	}
	want := []byte(s.mark(name))
	for entry := range bytes.SplitSeq(b, []byte{0}) {
		if bytes.Equal(entry, want) {
			return true
		}
	}
	return false
}

func (s *Stack) mark(name string) string { return marker + "=" + s.path("run", name) }
