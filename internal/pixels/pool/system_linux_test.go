package pool_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"
)

// obeySystem does what a child must not be able to do, and fails if it can; nothing else goes on then.
func obeySystem(verb, arg string) error {
	var err error
	switch verb {
	case "segv": // as of C code, which Go's own checks do not see
		err = unix.Kill(os.Getpid(), unix.SIGSEGV)
		if err != nil {
			err = unix.Tgkill(os.Getpid(), unix.Gettid(), unix.SIGSEGV)
		}
		time.Sleep(time.Hour)
	case "sigkill":
		err = unix.Tgkill(os.Getpid(), unix.Gettid(), unix.SIGKILL)
	case "connect":
		_, err = net.Dial("tcp", arg)
	case "listen":
		_, err = net.Listen("tcp", "127.0.0.1:0")
	case "exec":
		err = exec.Command("/bin/true").Run()
	case "fork":
		_, _, errno := unix.RawSyscall(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0)
		err = errno
		if errno == 0 {
			os.Exit(0) // one of two
		}
	case "kill-parent":
		err = errors.Join(inverse(unix.Kill(os.Getppid(), unix.SIGKILL)),
			inverse(unix.Tgkill(os.Getppid(), os.Getppid(), unix.SIGKILL)),
			inverse(unix.Prlimit(os.Getppid(), unix.RLIMIT_NOFILE, &unix.Rlimit{}, nil)))
		if err == nil {
			return errors.New("refused: all")
		}
		return err
	case "read":
		_, err = os.ReadFile(arg)
	case "write":
		err = os.WriteFile(arg, []byte("x"), 0o600)
	case "files":
		for err == nil {
			_, err = unix.Dup(0)
		}
	case "shared": // memory that RLIMIT_DATA does not count
		for err == nil {
			var b []byte
			if b, err = unix.Mmap(-1, 0, 16<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANON); err == nil {
				for i := 0; i < len(b); i += 4096 {
					b[i] = 1
				}
			}
		}
	case "garbage":
		_, err = unix.Write(3, []byte("\x00\x00\x00\x04oops"))
		time.Sleep(time.Hour)
	case "long": // an answer without end
		_, err = unix.Write(3, []byte("\xff\xff\xff\xffoops"))
		time.Sleep(time.Hour)
	case "claim": // results that are not there
		claim := `{"ID":` + arg + `,"Made":[{"Format":"jpeg","Width":1,"Height":1,"Frames":1,"Length":200000000}]}`
		_, err = unix.Write(3, append([]byte{0, 0, 0, byte(len(claim))}, claim...))
		time.Sleep(time.Hour)
	case "hang-up":
		err = unix.Shutdown(3, unix.SHUT_RDWR)
		time.Sleep(time.Hour)
	case "environment":
		wd, _ := os.Getwd()
		return fmt.Errorf("environment %v in %s", os.Environ(), wd)
	default:
		return fmt.Errorf("unknown order %q", verb)
	}
	if err == nil {
		return errors.New("it was possible")
	}
	return fmt.Errorf("refused: %w", err)
}

// inverse is an error if there was none.
func inverse(err error) error {
	if err == nil {
		return errors.New("it was possible")
	}
	return nil
}
