package local

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// childFolder is how the child finds its folder: by a descriptor, not by name. So an account that may not pass the
// folders above it, such as root's home, can still work in it, and nobody's folder has to be opened up.
func (p *Postgres) childFolder() string { return "/proc/self/fd/3" }

// dyingWithUs has a program end at once with the thread that starts it; the next start recovers from the log.
func dyingWithUs() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT} }

// predecessor finds a process of a server on our data: all of them have the data's folder as working directory.
func (p *Postgres) predecessor() string {
	data, err := os.Stat(filepath.Join(p.dir, "data"))
	if err != nil {
		return ""
	}
	cwds, _ := filepath.Glob("/proc/[0-9]*/cwd") // the pattern is well-formed
	for _, cwd := range cwds {
		if at, err := os.Stat(cwd); err == nil && os.SameFile(at, data) {
			exe, err := os.Readlink(filepath.Join(filepath.Dir(cwd), "exe"))
			if err == nil && strings.HasPrefix(filepath.Base(exe), "postgres") { // a replaced program's ends in "(deleted)"
				return filepath.Base(filepath.Dir(cwd))
			}
		}
	}
	return ""
}
