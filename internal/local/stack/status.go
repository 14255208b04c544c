package stack

import (
	"context"
	"sync"
)

// Status is how a part does.
type Status struct {
	Name      string
	State     State // Ready, Starting, Dead or Stopped
	PID       int   // 0 if it does not run
	Address   string
	Memory    int64 // bytes of the process and its children
	Log       string
	Variables []Variable // what Darkroom's other commands need to reach it
}

// Status asks all parts how they do.
func (s *Stack) Status(ctx context.Context) ([]Status, error) {
	all := make([]Status, len(s.parts))
	var wait sync.WaitGroup
	for i, p := range s.parts {
		wait.Go(func() { all[i] = s.status(ctx, p) })
	}
	wait.Wait()
	return all, ctx.Err()
}

func (s *Stack) status(ctx context.Context, part Part) Status {
	e := s.env(part, "")
	st := Status{Name: part.Name, State: Stopped, Log: s.logFile(part.Name), Address: s.Addr(part.Name)}
	if part.Address != nil {
		if address, variables, err := part.Address(e); err == nil { // else it has not been started yet
			st.Address, st.Variables = address, variables
		}
	}
	p, running := s.find(part.Name)
	if !running {
		if _, noted := s.readPID(part.Name); noted {
			st.State = Dead
		}
		return st
	}
	st.PID, st.Memory, st.State = p.pid, p.memory(), Ready
	if err := s.ask(ctx, e); err != nil {
		st.State = Starting
	}
	return st
}
