package pool_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"
	"unsafe"

	"github.com/elastic/go-seccomp-bpf/arch"
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
		// The second and third have the numbers of other calls for their flags.
		for _, flags := range []uintptr{uintptr(unix.SIGCHLD), unix.SYS_PRCTL, unix.SYS_TGKILL} {
			_, _, errno := unix.RawSyscall(unix.SYS_CLONE, flags, 0, 0)
			if errno == 0 {
				os.Exit(0) // one of two
			}
			err = errno
		}
	case "outlive":
		// The kernel looks at the lower half of the first argument only.
		_, _, one := unix.Syscall(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, 0, 0)
		_, _, other := unix.Syscall(unix.SYS_PRCTL, 1<<32|unix.PR_SET_PDEATHSIG, 0, 0)
		if one != 0 && other != 0 {
			err = one
		}
	case "kill-parent": // or slow it down
		var cpus unix.CPUSet
		cpus.Set(0)
		err = errors.Join(inverse(unix.Setpriority(unix.PRIO_PROCESS, os.Getppid(), 19)),
			inverse(unix.SchedSetaffinity(os.Getppid(), &cpus)),
			inverse(unix.Kill(os.Getppid(), unix.SIGKILL)),
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
	case "anonymous": // shared memory that is neither in RLIMIT_DATA nor, once it is given up, resident
		var b []byte
		if b, err = unix.Mmap(-1, 0, 1<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANON); err == nil {
			b[0] = 1
			_ = unix.Madvise(b, unix.MADV_DONTNEED)
		}
	case "memfd":
		_, err = unix.MemfdCreate("memory", 0)
	case "shared": // memory that RLIMIT_DATA does not count: that of the file for results
		const length = 512 << 20
		var b []byte
		if err = unix.Ftruncate(4, length); err == nil {
			b, err = unix.Mmap(4, 0, length, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		}
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		if err == nil {
			time.Sleep(time.Hour)
		}
	case "change":
		call, path, _ := strings.Cut(arg, " ")
		err = change(call, path)
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

// changes are the system calls that change what is told of a file, with arguments by which they do so to one's own.
func changes(path string) map[string][]uintptr {
	const results = 4 // the descriptor of a file in memory that each child has
	at, p := int64(unix.AT_FDCWD), pointer([]byte(path+"\x00"))
	name, value := pointer([]byte("user.a\x00")), pointer([]byte("1"))
	cwd, user, group := uintptr(at), uintptr(os.Getuid()), uintptr(os.Getgid())
	attribute := pointer(binary.NativeEndian.AppendUint64(binary.NativeEndian.AppendUint64(nil, uint64(value)), 1))
	return map[string][]uintptr{
		"chmod": {p, 0o777}, "fchmod": {results, 0o777}, "fchmodat": {cwd, p, 0o777}, "fchmodat2": {cwd, p, 0o777},
		"chown": {p, user, group}, "lchown": {p, user, group}, "fchown": {results, user, group},
		"fchownat": {cwd, p, user, group},
		"utime":    {p}, "utimes": {p}, "futimesat": {cwd, p}, "utimensat": {cwd, p},
		"setxattr": {p, name, value, 1}, "lsetxattr": {p, name, value, 1}, "fsetxattr": {results, name, value, 1},
		"setxattrat":  {cwd, p, 0, name, attribute, 16},
		"removexattr": {p, name}, "lremovexattr": {p, name}, "fremovexattr": {results, name},
		"removexattrat": {cwd, p, 0, name},
	}
}

// pointed keeps what system calls read.
var pointed [][]byte

func pointer(b []byte) uintptr {
	pointed = append(pointed, b)
	return uintptr(unsafe.Pointer(unsafe.SliceData(b)))
}

func change(call, path string) error {
	info, err := arch.GetInfo("")
	if err != nil {
		return err
	}
	var args [6]uintptr
	copy(args[:], changes(path)[call])
	_, _, errno := unix.Syscall6(uintptr(info.SyscallNames[call]), args[0], args[1], args[2], args[3], args[4], args[5])
	if errno != 0 {
		return errno
	}
	return nil
}

// inverse is an error if there was none.
func inverse(err error) error {
	if err == nil {
		return errors.New("it was possible")
	}
	return nil
}
