package pool_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/sys/unix"

	"darkroom/internal/pixels"
	"darkroom/internal/pixels/pool"
)

func TestWhatAChildCannotDo(t *testing.T) {
	p := open(t, pool.Config{Size: 1})
	status, err := p.Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", status)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("key"), 0o600); err != nil {
		t.Fatal(err)
	}
	orders := []string{"files"}
	if slices.Contains(status.Confined, "seccomp") {
		orders = append(orders, "connect "+l.Addr().String(), "listen", "exec", "fork", "outlive", "kill-parent",
			"anonymous", "memfd")
	}
	if slices.ContainsFunc(status.Confined, func(s string) bool { return strings.HasPrefix(s, "landlock") }) {
		orders = append(orders, "read "+secret, "read /etc/group", "write "+secret+"2", "write /dev/shm/darkroom-test")
	}
	img := photo(t, 20, 10)
	for _, o := range orders {
		if err := derive(t, p, ordered(img, o)); err == nil || !strings.HasPrefix(err.Error(), "refused: ") {
			t.Errorf("%s: %v", o, err)
		}
	}
	if err := derive(t, p, ordered(img, "environment")); err == nil || err.Error() != "environment [USER=darkroom HOME=/nonexistent GOMAXPROCS=1 MALLOC_ARENA_MAX=1] in /" {
		t.Errorf("what a child is told: %v", err)
	}
	child := pid(t, p)
	b, err := os.ReadFile("/proc/" + child + "/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"NoNewPrivs:\t1", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000"} {
		if strings.HasPrefix(want, "CapBnd") && os.Geteuid() != 0 {
			continue
		}
		if !strings.Contains(string(b), want+"\n") {
			t.Errorf("a child has not %q", want)
		}
	}
	// The parent keeps what its children lack.
	if b, err = os.ReadFile("/proc/self/status"); err != nil || strings.Contains(string(b), "NoNewPrivs:\t1") {
		t.Errorf("the parent has no new privileges: %v", err)
	}
}

// TestAChildChangesNoFileOfItsUser has calls that landlock knows nothing of.
func TestAChildChangesNoFileOfItsUser(t *testing.T) {
	p := open(t, pool.Config{Size: 1})
	status, err := p.Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(status.Confined, "seccomp") {
		t.Skip("only seccomp refuses them")
	}
	info, err := arch.GetInfo("")
	if err != nil {
		t.Fatal(err)
	}
	secret, img := filepath.Join(t.TempDir(), "secret"), photo(t, 20, 10)
	if err := os.WriteFile(secret, []byte("key"), 0o600); err != nil {
		t.Fatal(err)
	}
	for call := range changes(secret) {
		if _, ok := info.SyscallNames[call]; !ok { // not on this processor
			continue
		}
		err := derive(t, p, ordered(img, "change "+call+" "+secret))
		if err == nil || err.Error() != "refused: "+unix.EPERM.Error() {
			t.Errorf("%s: %v", call, err)
		}
	}
}

// running are the processes that this one has started and that are not gone.
func running(t testing.TB) []string {
	t.Helper()
	tasks, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, path := range tasks {
		b, _ := os.ReadFile(path) // the thread may be gone
		all = append(all, strings.Fields(string(b))...)
	}
	return all
}

func count(t testing.TB, dir string) int {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestNothingIsLeftBehind(t *testing.T) {
	images := 1000
	if testing.Short() {
		images = 100
	}
	img := photo(t, 20, 10)
	p := open(t, pool.Config{Size: 2, MaxUses: 100})
	for range 3 {
		if err := derive(t, p, img); err != nil {
			t.Fatal(err)
		}
	}
	files, children := count(t, "/proc/self/fd"), len(running(t))
	threads := count(t, "/proc/self/task")
	for i := range images {
		err := derive(t, p, img)
		if i%100 == 50 {
			err = derive(t, p, ordered(img, "fail on purpose"))
			if err != nil && err.Error() == "on purpose" {
				err = nil
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if n := count(t, "/proc/self/fd"); n > files {
		t.Errorf("%d descriptors, %d before", n, files)
	}
	if n := len(running(t)); n > children {
		t.Errorf("%d processes, %d before", n, children)
	}
	// Go keeps some threads of its own.
	if n := count(t, "/proc/self/task"); n > threads+10 {
		t.Errorf("%d threads, %d before", n, threads)
	}
	p.Close()
	if left := running(t); len(left) > 0 {
		t.Errorf("processes after Close: %v", left)
	}
	if n := count(t, "/proc/self/fd"); n >= files {
		t.Errorf("%d descriptors after Close, %d before", n, files)
	}
}

// beParent starts children and waits to be killed.
func beParent() {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	p, err := pool.New(pool.Config{Size: 1, Command: []string{exe, "child"}})
	if err != nil {
		panic(err)
	}
	img, err := os.ReadFile(os.Args[2])
	if err != nil {
		panic(err)
	}
	do := func(order string) error {
		_, err := p.Derive(context.Background(), pool.Source{Data: ordered(img, order)}, pixels.Limits{}, small)
		return err
	}
	fmt.Println(do("pid"))
	fmt.Println(do("spin"))
}

func TestChildrenGoWithTheirParent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "photo.png")
	if err := os.WriteFile(path, photo(t, 20, 10), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(child(t, "parent")[0], "parent", path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid = strings.TrimSpace(pid)
	stat := "/proc/" + pid + "/stat"
	if _, err := os.Stat(stat); err != nil {
		t.Fatalf("the child %q: %v", pid, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		b, err := os.ReadFile(stat)
		if err != nil || strings.Contains(string(b), ") Z ") { // gone, or for init to bury
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the child lives on: %s", b)
		}
	}
}

func TestPriorityIsThatOfTheChildOnly(t *testing.T) {
	for priority, want := range map[pool.Priority]unix.SchedAttr{
		pool.Normal: {Policy: unix.SCHED_NORMAL}, pool.Low: {Policy: unix.SCHED_NORMAL, Nice: 19}, pool.Idle: {Policy: unix.SCHED_IDLE},
	} {
		p := open(t, pool.Config{Size: 1, Priority: priority})
		id, err := strconv.Atoi(pid(t, p))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := unix.SchedGetAttr(id, 0); err != nil || got.Policy != want.Policy || got.Nice != want.Nice {
			t.Errorf("priority %d: %+v, %v", priority, got, err)
		}
	}
	if got, err := unix.SchedGetAttr(0, 0); err != nil || got.Policy != unix.SCHED_NORMAL || got.Nice != 0 {
		t.Errorf("the parent: %+v, %v", got, err)
	}
}
