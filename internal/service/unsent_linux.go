package service

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxUnsent is how much of an answer the kernel keeps beyond what is on its way.
const maxUnsent = 128 << 10

// boundUnsent lets a write return when the client has taken about as much. The kernel would gather megabytes, and wake
// a writer only when a third of them is gone, which to a slow client's deadline looks like a standstill. It leaves alone
// what is on its way, so that a distant client is served as fast as before.
func boundUnsent(conn net.Conn) {
	c, ok := conn.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return // a connection that is gone
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, maxUnsent) // it works without, too
	})
}
