//go:build !linux

package service

import "net"

// boundUnsent does nothing where the kernel cannot be told.
func boundUnsent(net.Conn) {}
