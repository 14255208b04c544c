package pool

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"unicode"

	"darkroom/internal/pixels"
)

// exitCPU is the status with which a child ends that has used up the CPU time of its image.
const exitCPU = 79

// maxReason bounds what is said of a crash.
const maxReason = 200

func refuse(code, format string, args ...any) error {
	return &pixels.Error{Code: code, Err: fmt.Errorf(format, args...)}
}

func tooMuchMemory(cfg Config) error {
	return refuse(pixels.CodeResourceLimit, "the image takes more memory than the limit of %d MiB", cfg.Memory>>20)
}

func tooMuchCPU(cfg Config) error {
	return refuse(pixels.CodeResourceLimit, "the image takes more CPU time than the limit of %s", cfg.CPU)
}

// refusal is the error of an answer.
func (c *child) refusal(a answer) error {
	switch {
	case a.Code == "" && wantsMemory(a.Message):
		return tooMuchMemory(c.cfg)
	case a.Code == "":
		return errors.New(a.Message)
	}
	return refuse(a.Code, "%s", a.Message)
}

// autopsy says what a child died of. It was killed if it had closed its socket and lived on.
func (c *child) autopsy(killed bool) *death {
	status, ok := c.cmd.ProcessState.Sys().(syscall.WaitStatus)
	switch {
	case killed || !ok:
		return &death{err: refuse(pixels.CodeDecodeCrash, "decoding went wrong: its process gave no valid answer"), doubtful: true}
	case status.Exited() && status.ExitStatus() == exitCPU, status.Signaled() && status.Signal() == syscall.SIGXCPU:
		return &death{err: tooMuchCPU(c.cfg)}
	case wantsMemory(c.stderr.String()):
		return &death{err: tooMuchMemory(c.cfg), doubtful: true}
	case status.Signaled() && status.Signal() == syscall.SIGKILL:
		return &death{err: refuse(pixels.CodeResourceLimit, "the system ended the image's process, as it does when memory is short"),
			doubtful: true}
	}
	return &death{err: refuse(pixels.CodeDecodeCrash, "decoding crashed: %s", c.epitaph()), doubtful: true}
}

// epitaph is what is known of the end of a child: the first line that it wrote, or how it ended.
func (c *child) epitaph() string {
	for line := range strings.Lines(c.stderr.String()) {
		line = strings.TrimSpace(strings.Map(printable, strings.ToValidUTF8(line, "?")))
		if line != "" {
			return line[:min(len(line), maxReason)]
		}
	}
	return cmp.Or(c.cmd.ProcessState.String(), "no reason is known")
}

func printable(r rune) rune {
	if !unicode.IsPrint(r) {
		return ' '
	}
	return r
}

// outOfMemory are the words of Go, GLib, libvips, C++ and libc for that. Go cannot start a thread for want of it either.
var outOfMemory = []string{
	"out of memory", "cannot allocate memory", "failed to allocate", "unable to allocate", "bad_alloc",
	"failed to create new os thread", "newosproc", "pthread_create failed", "cannot map pages",
}

func wantsMemory(text string) bool {
	text = strings.ToLower(text)
	for _, words := range outOfMemory {
		if strings.Contains(text, words) {
			return true
		}
	}
	return false
}
