package local

import (
	"context"
	"errors"
	"net"
	"slices"
	"syscall"
	"time"
)

// passing are the errors of Accept that end by themselves: most of all those of a process that has too many files open.
var passing = []error{syscall.EMFILE, syscall.ENFILE, syscall.ECONNABORTED, syscall.ENOBUFS, syscall.ENOMEM}

// patient is a listener that waits until such an error has passed. kfake would never listen again.
type patient struct{ net.Listener }

func listenPatiently(network, address string) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(context.Background(), network, address) // Listen ends at once
	if err != nil {
		return nil, err
	}
	return patient{l}, nil
}

// Accept implements net.Listener.
func (p patient) Accept() (net.Conn, error) {
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		c, err := p.Listener.Accept()
		if err == nil || !slices.ContainsFunc(passing, func(e error) bool { return errors.Is(err, e) }) {
			return c, err
		}
		time.Sleep(wait)
	}
}
