//go:build !linux

package pool

import (
	"errors"
	"os"
	"syscall"
	"time"
)

func ownCommand() []string {
	path, err := os.Executable()
	if err != nil {
		path = os.Args[0]
	}
	return []string{path, "pixels-child"}
}

func processAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// memoryFile returns an empty file that has no name.
func memoryFile() (*os.File, error) {
	f, err := os.CreateTemp("", "darkroom-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func sealLength(*os.File) error { return nil }

func usageOf(int) (usage, error) { return usage{}, errors.ErrUnsupported }

func setPriority(Priority) error { return nil }

func cpuTime(int) time.Duration { return 0 }

func ready(int) bool { return false }

func forgetStart() error { return nil }

func onMainThread() bool { return false }

func confineThread([]string) error { return nil }

func confineProcess() (Status, error) {
	return Status{
		Confined: []string{"CPU time, files and output"},
		Missing:  []string{"memory, network, processes, files: this system offers no way that is known here"},
	}, nil
}
