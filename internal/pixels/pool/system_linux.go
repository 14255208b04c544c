package pool

import (
	"debug/elf"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/sys/unix"
)

// ownCommand runs the binary that runs now, even if the file has been replaced meanwhile.
func ownCommand() []string { return []string{"/proc/self/exe", "pixels-child"} }

func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// memoryFile returns an empty file that has no name and lies in memory.
func memoryFile() (*os.File, error) {
	fd, err := unix.MemfdCreate("darkroom", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	return os.NewFile(uintptr(fd), "darkroom"), nil
}

// sealLength keeps a file in memory from becoming shorter, which would be fatal to those who have mapped it.
func sealLength(f *os.File) error {
	_, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK)
	return os.NewSyscallError("seal", err)
}

// usageOf reads how much memory a process takes.
func usageOf(pid int) (usage, error) {
	statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return usage{}, err
	}
	pages := strings.Fields(string(statm))
	if len(pages) < 6 {
		return usage{}, fmt.Errorf("read usage of process %d: unknown form", pid)
	}
	number := func(s string) int64 {
		n, _ := strconv.ParseInt(s, 10, 64) // the kernel writes numbers
		return n
	}
	page := int64(os.Getpagesize())
	return usage{data: number(pages[5]) * page, resident: number(pages[1]) * page}, nil
}

// cpuTime is the CPU time that a process has taken; 0 if it is gone.
func cpuTime(pid int) time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|2), &t); err != nil { // as clock_getcpuclockid makes it
		return 0
	}
	return time.Duration(t.Nano())
}

// ready reports whether a thread of a process runs, or could.
func ready(pid int) bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid)) // the pattern is a good one
	return slices.ContainsFunc(threads, func(path string) bool {
		stat, _ := os.ReadFile(path) // the thread may be gone
		_, fields, _ := strings.Cut(string(stat), ") ")
		return strings.HasPrefix(fields, "R")
	})
}

// libraries are what the loader and engines that are opened at run time read.
var libraries = []string{
	"/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/local/lib", "/nix/store", "/etc/ld.so.cache",
}

// accounts are the files in which the C library looks its user up, without which Beam, which is in the same binary, does
// not start.
var accounts = []string{"/etc/passwd", "/etc/nsswitch.conf"}

// confineThread gives up, for the calling thread and the processes that it starts, all that a child does not need. The
// files that exist among readable, and what is under them, may still be read and run.
func confineThread(readable []string) error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("give up new privileges: %w", err)
	}
	// A process of root is then one without capabilities. Others have none to drop, and are refused.
	for c := uintptr(0); c <= 63; c++ {
		_ = unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0)
	}
	abi := landlockABI()
	if abi == 0 {
		return nil // which Status tells
	}
	if err := landlock(abi, append(slices.Concat(libraries, accounts), readable...)); err != nil {
		return fmt.Errorf("give up files: %w", err)
	}
	return nil
}

// setPriority lowers the priority of the thread, and of what it starts.
func setPriority(p Priority) error {
	if p == Idle && unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE}, 0) == nil {
		return nil
	}
	if p != Normal { // or where that policy cannot be had
		if err := unix.Setpriority(unix.PRIO_PROCESS, 0, 19); err != nil {
			return fmt.Errorf("lower priority: %w", err)
		}
	}
	return nil
}

// forgetStart takes the pages of the binary's file out of this process. What a start needs of them, to set up every
// package of a binary that holds all of Darkroom, is most of what a child would occupy; what it needs again comes back
// from the page cache.
func forgetStart() error {
	binary, err := elf.Open("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("open own binary: %w", err)
	}
	defer binary.Close()
	auxiliary, err := unix.Auxv()
	if err != nil {
		return fmt.Errorf("read auxiliary vector: %w", err)
	}
	moved := -uintptr(binary.Entry) // by which the binary is elsewhere than it says
	for _, a := range auxiliary {
		if a[0] == atEntry {
			moved += a[1]
		}
	}
	var segments []span
	for _, p := range binary.Progs {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_W == 0 {
			segments = append(segments, span{moved + uintptr(p.Vaddr), moved + uintptr(p.Vaddr+p.Memsz)})
		}
	}
	own := reflect.ValueOf(forgetStart).Pointer()
	if !slices.ContainsFunc(segments, func(s span) bool { return s.from <= own && own < s.to }) {
		return errors.New("/proc/self/exe is not what runs") // but a loader of it, and its segments are elsewhere
	}
	for _, s := range segments {
		s.from &^= uintptr(os.Getpagesize()) - 1
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, s.from, s.to-s.from, unix.MADV_DONTNEED); errno != 0 {
			return os.NewSyscallError("madvise", errno)
		}
	}
	return nil
}

// span is a part of the address space.
type span struct{ from, to uintptr }

// atEntry is the key of a program's entry point in the auxiliary vector (AT_ENTRY, getauxval(3)).
const atEntry = 9

func onMainThread() bool { return unix.Gettid() == unix.Getpid() }

// landlockABI is the version of landlock; 0 where the kernel has none, or it is switched off.
func landlockABI() int {
	n, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0
	}
	return int(n)
}

func landlock(abi int, readable []string) error {
	// The rights of each version: those of files before REFER, REFER, TRUNCATE, TCP, IOCTL_DEV, signals and sockets.
	attr := unix.LandlockRulesetAttr{Handled_access_fs: unix.LANDLOCK_ACCESS_FS_REFER - 1}
	if abi >= 2 {
		attr.Handled_access_fs |= unix.LANDLOCK_ACCESS_FS_REFER
	}
	if abi >= 3 {
		attr.Handled_access_fs |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	if abi >= 4 {
		attr.Handled_access_net = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	}
	if abi >= 5 {
		attr.Handled_access_fs |= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	}
	if abi >= 6 {
		attr.Scoped = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL
	}
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr), 0)
	if errno != 0 {
		return os.NewSyscallError("landlock_create_ruleset", errno)
	}
	defer func() { _ = unix.Close(int(fd)) }()
	for _, path := range readable {
		if err := landlockAllow(int(fd), path); err != nil {
			return fmt.Errorf("except %s: %w", path, err)
		}
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0); errno != 0 {
		return os.NewSyscallError("landlock_restrict_self", errno)
	}
	return nil
}

func landlockAllow(ruleset int, path string) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	var info unix.Stat_t
	if err := unix.Fstat(fd, &info); err != nil {
		return err
	}
	rule := unix.LandlockPathBeneathAttr{
		Allowed_access: unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_EXECUTE, Parent_fd: int32(fd),
	}
	if info.Mode&unix.S_IFMT == unix.S_IFDIR {
		rule.Allowed_access |= unix.LANDLOCK_ACCESS_FS_READ_DIR
	}
	if _, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset), unix.LANDLOCK_RULE_PATH_BENEATH,
		uintptr(unsafe.Pointer(&rule)), 0, 0, 0); errno != 0 {
		return os.NewSyscallError("landlock_add_rule", errno)
	}
	return nil
}

// refused are the system calls that a child has no use for: those to the network, to other processes, to shared memory
// that no limit counts, to modes, owners, times and attributes of files, of which landlock knows nothing, and to the
// administration of the system.
var refused = []string{
	"socket", "socketpair", "connect", "bind", "listen", "accept", "accept4", "io_uring_setup", "io_uring_enter",
	"io_uring_register",
	"execve", "execveat", "fork", "vfork", "kill", "tkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "ptrace",
	"process_vm_readv", "process_vm_writev", "process_madvise", "process_mrelease", "pidfd_open", "pidfd_getfd",
	"pidfd_send_signal", "kcmp", "migrate_pages", "move_pages", "setpriority", "sched_setaffinity", "sched_setattr",
	"sched_setparam", "sched_setscheduler", "ioprio_set",
	"memfd_create", "memfd_secret", "shmget", "shmat", "shmctl", "msgget", "semget", "mq_open", "userfaultfd",
	"chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "fchown", "lchown", "fchownat", "utime", "utimes", "futimesat",
	"utimensat", "setxattr", "lsetxattr", "fsetxattr", "setxattrat", "removexattr", "lremovexattr", "fremovexattr",
	"removexattrat",
	"bpf", "perf_event_open", "mount", "umount2", "move_mount", "mount_setattr", "open_tree", "fsopen", "fsconfig",
	"fsmount", "fspick", "pivot_root", "chroot", "setns", "unshare", "keyctl", "add_key", "request_key", "init_module",
	"finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot", "swapon", "swapoff", "acct", "quotactl",
	"quotactl_fd", "open_by_handle_at", "name_to_handle_at", "fanotify_init", "personality", "settimeofday",
	"clock_settime", "adjtimex", "clock_adjtime", "sethostname", "setdomainname", "syslog", "vhangup", "iopl", "ioperm",
}

// clone3 hides from a filter what it makes. Where it is not known, libc makes its threads with clone.
var clone3 = seccomp.SyscallGroup{
	Names: []string{"clone3"}, Action: seccomp.ActionErrno | seccomp.Action(unix.ENOSYS),
}

// partly are system calls that a child may use, but for itself only and for memory that is counted, with the arguments
// that are refused.
func partly() []seccomp.NameWithConditions {
	when := func(name string, all ...seccomp.Condition) seccomp.NameWithConditions {
		return seccomp.NameWithConditions{Name: name, Conditions: all}
	}
	const flags = 3 // of mmap
	return []seccomp.NameWithConditions{
		when("clone", seccomp.Condition{Operation: seccomp.BitsNotSet, Value: unix.CLONE_THREAD}),
		when("tgkill", seccomp.Condition{Operation: seccomp.NotEqual, Value: uint64(os.Getpid())}),
		when("prlimit64", seccomp.Condition{Operation: seccomp.NotEqual, Value: 0}),
		// The kernel looks at 32 bits of it, whatever is above them.
		when("prctl", seccomp.Condition{Operation: seccomp.BitsSet, Value: unix.PR_SET_PDEATHSIG},
			seccomp.Condition{Operation: seccomp.BitsNotSet, Value: math.MaxUint32 &^ unix.PR_SET_PDEATHSIG}),
		// Shared memory without a file stays when it is given up, and is then neither private nor resident.
		when("mmap", seccomp.Condition{Argument: flags, Operation: seccomp.BitsSet, Value: unix.MAP_SHARED},
			seccomp.Condition{Argument: flags, Operation: seccomp.BitsSet, Value: unix.MAP_ANONYMOUS}),
	}
}

// confineProcess takes from all threads of this process the system calls that it does not need, and tells what confines
// it, with what confineThread had done before.
func confineProcess() (Status, error) {
	s := Status{Confined: []string{"memory, CPU time, files and output", "no new privileges", "no capabilities"}}
	if abi := landlockABI(); abi > 0 {
		s.Confined = append(s.Confined, fmt.Sprintf("landlock %d", abi))
	} else {
		s.Missing = append(s.Missing, "landlock: the kernel has none")
	}
	info, err := arch.GetInfo("")
	if err != nil || !seccomp.Supported() {
		s.Missing = append(s.Missing, "seccomp: the kernel has none, or it is not known for this processor")
		return s, nil //nolint:nilerr // it is what Missing says
	}
	// What is not on the list of this processor's calls is refused as well, as are those of another mode of it.
	allowed := seccomp.SyscallGroup{Action: seccomp.ActionAllow}
	for name := range info.SyscallNames {
		if !slices.Contains(refused, name) && name != clone3.Names[0] {
			allowed.Names = append(allowed.Names, name)
		}
	}
	policies := []seccomp.Policy{{DefaultAction: seccomp.ActionErrno, Syscalls: []seccomp.SyscallGroup{clone3, allowed}}}
	// A filter for each: after a condition the library goes on with the argument where it had the number of the call, and
	// would take one for the other. The strictest of all filters counts.
	for _, call := range partly() {
		policies = append(policies, seccomp.Policy{DefaultAction: seccomp.ActionAllow, Syscalls: []seccomp.SyscallGroup{
			{Action: seccomp.ActionErrno, NamesWithCondtions: []seccomp.NameWithConditions{call}},
		}})
	}
	for _, p := range policies {
		if err := seccomp.LoadFilter(seccomp.Filter{NoNewPrivs: true, Flag: seccomp.FilterFlagTSync, Policy: p}); err != nil {
			return s, fmt.Errorf("give up system calls: %w", err)
		}
	}
	s.Confined = append(s.Confined, "seccomp")
	return s, nil
}
