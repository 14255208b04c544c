package pool

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestForgetStart(t *testing.T) {
	before := residentFile(t)
	if err := forgetStart(); err != nil {
		t.Fatal(err)
	}
	if after := residentFile(t); after > before*3/4 {
		t.Errorf("%d kB of files are in the process, %d kB were", after, before)
	}
}

// residentFile is how many kB of files are in this process.
func residentFile(t *testing.T) (kB int) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), "RssFile:")
	if _, err := fmt.Sscanf(after, "%d kB", &kB); err != nil {
		t.Fatalf("read resident files: %v", err)
	}
	return kB
}

// TestWaitingForACPUDoesNotCount has a process of the lowest priority, beside others that keep all CPUs busy.
func TestWaitingForACPUDoesNotCount(t *testing.T) {
	const busy = "while :; do :; done"
	for range 2 * runtime.NumCPU() {
		running(t, "sh", "-c", busy)
	}
	starved, asleep := running(t, "sh", "-c", busy), running(t, "sleep", "60")
	idle := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE}
	if err := unix.SchedSetAttr(starved.cmd.Process.Pid, &idle, 0); err != nil {
		t.Fatal(err)
	}
	ready, waits := starved.stopwatch(), asleep.stopwatch()
	begin := time.Now()
	var sum, cpu, slept time.Duration
	for wall := time.Duration(0); wall < time.Second || wall < 4*cpu; wall = time.Since(begin) {
		if wall > 20*time.Second {
			t.Fatalf("a process of the lowest priority got %s of CPU time in %s beside %d others", cpu, wall, 2*runtime.NumCPU())
		}
		time.Sleep(watchEvery)
		sum, cpu = ready.look()
		slept, _ = waits.look()
	}
	if sum > 2*cpu {
		t.Errorf("a process that got %s of CPU time has taken %s", cpu, sum)
	}
	if wall := time.Since(begin); slept < wall/2 {
		t.Errorf("a process that slept for %s has taken %s", wall, slept)
	}
}

// running is a process that is ended with the test, as a child.
func running(t *testing.T, name string, args ...string) *child {
	cmd := exec.Command(name, args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return &child{cmd: cmd}
}
