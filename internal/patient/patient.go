// Package patient is for servers that are to outlive a moment in which the process has too many open files.
package patient

import (
	"errors"
	"net"
	"slices"
	"syscall"
	"time"
)

// passing are the errors of Accept that end by themselves: most of all those of a process that has too many files open.
var passing = []error{syscall.EMFILE, syscall.ENFILE, syscall.ECONNABORTED, syscall.ENOBUFS, syscall.ENOMEM}

// Listener is a listener that waits until such an error has passed, where its server would never listen again.
type Listener struct{ net.Listener }

// Accept implements net.Listener.
func (l Listener) Accept() (net.Conn, error) {
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		c, err := l.Listener.Accept()
		if err == nil || !slices.ContainsFunc(passing, func(e error) bool { return errors.Is(err, e) }) {
			return c, err
		}
		time.Sleep(wait)
	}
}
