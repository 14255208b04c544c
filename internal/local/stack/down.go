package stack

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"syscall"
	"time"
)

// Down stops the parts that are named, or all, each after those that need it. One that does not end in time when it is
// asked to is killed. What does not run is left as it is. Data stays.
func (s *Stack) Down(ctx context.Context, progress Progress, names ...string) error {
	parts, err := s.choose(names, false)
	if err != nil {
		return err
	}
	if _, err := os.Stat(s.o.Dir); errors.Is(err, fs.ErrNotExist) {
		return nil // there has never been a stack
	}
	lock, err := s.lock()
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	progress = inTurn(progress)
	users := func(p Part) []string {
		var names []string
		for _, user := range s.parts {
			if slices.Contains(user.Needs, p.Name) {
				names = append(names, user.Name)
			}
		}
		return names
	}
	return inOrder(parts, users, func(p Part) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.lower(p, progress); err != nil {
			return fmt.Errorf("stop %s: %w", p.Name, err)
		}
		return nil
	})
}

// lower stops one part.
func (s *Stack) lower(part Part, progress Progress) error {
	p, running := s.find(part.Name)
	if !running {
		return s.bury(part.Name)
	}
	begin := time.Now()
	progress(Event{Part: part.Name, State: Stopping})
	within := part.StopWithin
	if within == 0 {
		within = defaultStop
	}
	if err := p.signal(syscall.SIGTERM); err != nil {
		return err
	}
	state := Stopped
	if !p.await(within) {
		state = Killed
		if err := p.kill(); err != nil {
			return err
		}
	}
	if err := errors.Join(s.killGroup(part.Name, p), s.bury(part.Name)); err != nil {
		return err
	}
	progress(Event{Part: part.Name, State: state, Took: time.Since(begin)})
	return nil
}

// bury removes the pid file of a part that has been stopped, and ends what a dead one has left behind.
func (s *Stack) bury(name string) error {
	if p, _ := s.readPID(name); p.pid > 0 && !p.runs() {
		if err := s.killGroup(name, p); err != nil {
			return err
		}
	}
	if err := os.Remove(s.pidFile(name)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Kill ends a part's process at once, as a crash would, and returns when it is gone. The next Up starts it again.
func (s *Stack) Kill(name string) error {
	if _, err := s.part(name); err != nil {
		return err
	}
	p, running := s.find(name)
	if !running {
		return fmt.Errorf("kill %s: it does not run", name)
	}
	if err := p.kill(); err != nil {
		return fmt.Errorf("kill %s: %w", name, err)
	}
	return nil
}
