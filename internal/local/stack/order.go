package stack

import (
	"errors"
	"slices"
	"sync"
)

// inOrder does something with each part, side by side, but with each after those parts that must come before it. A part
// is left out if one of those has failed.
func inOrder(parts []Part, before func(Part) []string, do func(Part) error) error {
	type outcome struct {
		done chan struct{}
		ok   bool // to be read when done is closed
	}
	outcomes := map[string]*outcome{}
	for _, p := range parts {
		outcomes[p.Name] = &outcome{done: make(chan struct{})}
	}
	errs := make([]error, len(parts))
	var wait sync.WaitGroup
	for i, p := range parts {
		wait.Go(func() {
			own := outcomes[p.Name]
			defer close(own.done)
			if slices.ContainsFunc(before(p), func(name string) bool {
				o := outcomes[name]
				if o == nil {
					return false // it is not among these parts
				}
				<-o.done
				return !o.ok
			}) {
				return
			}
			errs[i] = do(p)
			own.ok = errs[i] == nil
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}
