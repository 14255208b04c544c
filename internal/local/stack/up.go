package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	defaultStart = time.Minute
	defaultStop  = 10 * time.Second
	askEvery     = 100 * time.Millisecond
	askLimit     = 5 * time.Second
)

// Up starts the parts that are named, or all, and what they need, each after what it needs has answered, and returns
// when all answer. What runs already is left as it is; what has died is started again. A part that fails holds back only
// those that need it. When ctx ends, what has been started keeps running: a further Up goes on from there.
func (s *Stack) Up(ctx context.Context, progress Progress, names ...string) error {
	parts, err := s.choose(names, true)
	if err != nil {
		return err
	}
	lock, err := s.lock()
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	progress = inTurn(progress)
	java, err := s.prepare(ctx, parts, progress)
	if err != nil {
		return err
	}
	return inOrder(parts, func(p Part) []string { return p.Needs }, func(p Part) error {
		return s.raise(ctx, s.env(p, java), progress)
	})
}

// prepare sees to what the parts that do not run need before any is started: Java, jars and ports.
func (s *Stack) prepare(ctx context.Context, parts []Part, progress Progress) (java string, err error) {
	var missing []Part
	for _, p := range parts {
		if _, running := s.find(p.Name); !running {
			missing = append(missing, p)
		}
	}
	libs := libsOf(missing)
	if len(libs) > 0 {
		if java, err = findJava(ctx); err != nil {
			return "", err
		}
	}
	for _, lib := range libs {
		if err := s.fetch(ctx, lib, progress); err != nil {
			return "", err
		}
	}
	if s.o.FreePorts {
		if err := s.ports.pick(ctx, s.parts, s.movable(missing)); err != nil {
			return "", err
		}
	}
	return java, s.ports.save()
}

// movable returns those of the parts that do not run whose ports may change: not those that a part which runs has been
// told of.
func (s *Stack) movable(missing []Part) []Part {
	told := map[string]bool{}
	for _, p := range s.parts {
		if _, running := s.find(p.Name); running {
			for _, need := range p.Needs {
				told[need] = true
			}
		}
	}
	return slices.DeleteFunc(missing, func(p Part) bool { return told[p.Name] })
}

// raise makes one part answer.
func (s *Stack) raise(ctx context.Context, e Env, progress Progress) error {
	begin := time.Now()
	p, running := s.find(e.Name())
	if running {
		if noted, _ := s.readPID(e.Name()); noted != p {
			if err := s.writePID(e.Name(), p); err != nil {
				return fmt.Errorf("start %s: note its process: %w", e.Name(), err)
			}
		}
		if s.ask(ctx, e) == nil {
			progress(Event{Part: e.Name(), State: Running})
			return nil
		}
	}
	progress(Event{Part: e.Name(), State: Starting})
	if !running {
		var err error
		if p, err = s.start(ctx, e); err != nil {
			return err
		}
	}
	if err := s.awaitReady(ctx, e, p); err != nil {
		return err
	}
	progress(Event{Part: e.Name(), State: Ready, Took: time.Since(begin)})
	return nil
}

// ask makes one attempt to be answered.
func (s *Stack) ask(ctx context.Context, e Env) error {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	return e.part.Ready(ctx, e)
}

func (s *Stack) awaitReady(ctx context.Context, e Env, p process) error {
	within := e.part.StartWithin
	if within == 0 {
		within = defaultStart
	}
	for end := time.Now().Add(within); ; {
		err := s.ask(ctx, e)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case !p.runs():
			return fmt.Errorf("start %s: it ended%s: %s (its log: %s)", e.Name(), s.howEnded(p), reason(s.logFile(e.Name())),
				s.logFile(e.Name()))
		case err == nil:
			return nil
		case time.Now().After(end):
			return fmt.Errorf("start %s: process %d does not answer after %v: %w (its log: %s)", e.Name(), p.pid, within, err,
				s.logFile(e.Name()))
		}
		select {
		case <-ctx.Done():
		case <-time.After(askEvery):
		}
	}
}

// start starts the part's process, detached from this one.
func (s *Stack) start(ctx context.Context, e Env) (process, error) {
	p, err := s.launch(ctx, e)
	var taken *TakenError
	if err != nil && !errors.As(err, &taken) {
		err = fmt.Errorf("start %s: %w", e.Name(), err)
	}
	return p, err
}

func (s *Stack) launch(ctx context.Context, e Env) (process, error) {
	if old, _ := s.readPID(e.Name()); old.pid > 0 {
		if err := s.killGroup(e.Name(), old); err != nil {
			return process{}, fmt.Errorf("end what it left behind: %w", err)
		}
	}
	if err := s.ports.awaitFree(ctx, e.part); err != nil {
		return process{}, err
	}
	// Temporary files are those of a process that is gone.
	if err := os.RemoveAll(filepath.Join(e.Data(), "tmp")); err != nil {
		return process{}, err
	}
	for _, dir := range []string{filepath.Join(e.Data(), "tmp"), e.Conf(), filepath.Dir(s.logFile(e.Name()))} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return process{}, err
		}
	}
	if err := e.configure(); err != nil {
		return process{}, err
	}
	if err := os.Rename(s.logFile(e.Name()), s.logFile(e.Name())+".1"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return process{}, err
	}
	log, err := os.OpenFile(s.logFile(e.Name()), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return process{}, err
	}
	defer func() { _ = log.Close() }()
	if err := s.setUp(ctx, e, log); err != nil {
		return process{}, err
	}
	cmd := e.command(context.WithoutCancel(ctx), e.part.Command(e), log)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return process{}, err
	}
	st, err := readStat(cmd.Process.Pid) // it is there until Wait, even if it has ended
	if err == nil {
		err = s.writePID(e.Name(), st.process)
	}
	if err != nil {
		return process{}, errors.Join(err, cmd.Process.Kill(), cmd.Wait())
	}
	go func() {
		err := cmd.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.exited[st.pid] = err
	}()
	return st.process, nil
}

// setUp does what must be done before the part starts.
func (s *Stack) setUp(ctx context.Context, e Env, log *os.File) error {
	if e.part.Before != nil {
		if err := e.part.Before(ctx, e); err != nil {
			return fmt.Errorf("set up: %w", err)
		}
	}
	if e.part.Setup == nil {
		return nil
	}
	argv := e.part.Setup(e)
	if len(argv) == 0 {
		return nil
	}
	if err := e.command(ctx, argv, log).Run(); err != nil {
		return fmt.Errorf("set up: %w: %s", err, reason(log.Name()))
	}
	return nil
}

func (e Env) command(ctx context.Context, argv []string, log *os.File) *exec.Cmd {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = e.Data(), log, log
	cmd.Env = append(os.Environ(), e.s.mark(e.Name()))
	if e.part.Environ != nil {
		cmd.Env = append(cmd.Env, e.part.Environ(e)...)
	}
	return cmd
}

// howEnded is how a process of ours has ended.
func (s *Stack) howEnded(p process) string {
	for range 10 { // its end is seen a moment before its status is read
		s.mu.Lock()
		err, known := s.exited[p.pid]
		s.mu.Unlock()
		if known && err != nil {
			return " with " + err.Error()
		}
		if known {
			break
		}
		time.Sleep(lookEvery)
	}
	return ""
}

// reason is the line of a log that says why its program ended: the last of those that name an error, else the last.
func reason(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	last, named := "it says nothing", ""
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "at ") || strings.HasPrefix(line, "... ") { // of a stack trace
			continue
		}
		last = line
		if strings.HasPrefix(line, "Caused by: ") || strings.Contains(line, "ERROR") || strings.Contains(line, "FATAL") ||
			strings.HasPrefix(line, "Exception in thread") || strings.HasPrefix(line, "darkroom: ") {
			named = line
		}
	}
	if named != "" {
		return named
	}
	return last
}
