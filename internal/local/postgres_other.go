//go:build !linux

package local

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

func (p *Postgres) childFolder() string { return p.dir }

// dyingWithUs asks for nothing: no other system has it, so a server outlives a process that is killed.
func dyingWithUs() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }

// predecessor finds the server that a killed process has left, and has it end at once, as on Linux it does by itself.
func (p *Postgres) predecessor() string {
	file, err := os.ReadFile(filepath.Join(p.dir, "data", "postmaster.pid"))
	if err != nil {
		return ""
	}
	first, _, _ := strings.Cut(string(file), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil || pid < 2 {
		return ""
	}
	name, err := exec.Command("ps", "-o", "comm=", "-p", first).Output()
	if err != nil || !strings.HasPrefix(filepath.Base(strings.TrimSpace(string(name))), "postgres") {
		return "" // it is gone, and its number may be another's
	}
	_ = syscall.Kill(pid, syscall.SIGQUIT) // it may have gone meanwhile
	return first
}
