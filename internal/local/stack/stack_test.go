package stack_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"darkroom/internal/local/stack"
)

// What a part that is this test's own binary does.
const (
	fakePort = "DARKROOM_TEST_STACK_PORT" // it listens there until it is asked to stop
	fakeKind = "DARKROOM_TEST_STACK_KIND"
	stubborn = "stubborn" // does not stop when asked
	broken   = "broken"   // says why and ends
	parent   = "parent"   // has a child in its group, that holds its port
	silent   = "silent"   // never listens
)

func TestMain(m *testing.M) {
	if os.Getenv(fakePort) == "" {
		os.Exit(m.Run())
	}
	if err := fake(); err != nil {
		fmt.Println("ERROR", err)
		os.Exit(3)
	}
}

func fake() error {
	kind := os.Getenv(fakeKind)
	ended := make(chan os.Signal, 1)
	if kind == stubborn {
		signal.Ignore(syscall.SIGTERM)
	} else {
		signal.Notify(ended, syscall.SIGTERM)
	}
	fmt.Println("it starts")
	switch kind {
	case broken:
		fmt.Println("ERROR the disk is made of cheese")
		fmt.Println("	at some.Line(of.java)")
		os.Exit(3)
	case parent:
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), fakeKind+"=")
		child.Stdout = os.Stdout
		if err := child.Start(); err != nil {
			return err
		}
	case silent:
	default:
		l, err := net.Listen("tcp", "127.0.0.1:"+os.Getenv(fakePort))
		if err != nil {
			return err
		}
		defer l.Close()
	}
	<-ended
	fmt.Println("it stops")
	return nil
}

// part is a fake one. It is ready when it listens.
func part(name, kind string, needs ...string) stack.Part {
	return stack.Part{
		Name: name, Needs: needs, Ports: []stack.Port{{Name: "main", Default: 1}},
		Command: func(stack.Env) []string { return []string{os.Args[0]} },
		Environ: func(e stack.Env) []string {
			return []string{fakeKind + "=" + kind, fmt.Sprintf("%s=%d", fakePort, e.Port("main"))}
		},
		Ready: func(ctx context.Context, e stack.Env) error {
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", e.Addr("main"))
			if err != nil {
				return err
			}
			return conn.Close()
		},
		StartWithin: 20 * time.Second, StopWithin: 10 * time.Second,
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// events is what a stack has told of itself.
type events struct {
	mu  sync.Mutex
	all []string
}

func (e *events) add(ev stack.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, fmt.Sprint(ev.Part, " ", ev.State))
}

// take returns the events since the last call.
func (e *events) take() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := e.all
	e.all = nil
	return all
}

// before checks that events came in an order.
func before(t *testing.T, all []string, order ...string) {
	t.Helper()
	for i := range order[1:] {
		a, b := slices.Index(all, order[i]), slices.Index(all, order[i+1])
		if a < 0 || b < 0 || a > b {
			t.Errorf("%q is not before %q in %q", order[i], order[i+1], all)
		}
	}
}

// open opens a stack of fake parts, each on a port of its own, that is taken down at the end of the test.
func open(t *testing.T, dir string, parts ...stack.Part) (*stack.Stack, *events) {
	t.Helper()
	o := stack.Options{Dir: dir, Lib: t.TempDir(), Parts: parts}
	if _, err := os.Stat(filepath.Join(dir, "ports.json")); err != nil {
		o.Ports = map[string]int{}
		for _, p := range parts {
			o.Ports[p.Name] = freePort(t)
		}
	}
	s, err := stack.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Down(context.Background(), nil); err != nil {
			t.Error(err)
		}
	})
	return s, &events{}
}

func up(t *testing.T, s *stack.Stack, e *events, names ...string) []string {
	t.Helper()
	if err := s.Up(t.Context(), e.add, names...); err != nil {
		t.Fatal(err)
	}
	return e.take()
}

// pids returns the processes of the parts that are ready, and checks the states of the others.
func pids(t *testing.T, s *stack.Stack, others stack.State) map[string]int {
	t.Helper()
	all, err := s.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pids := map[string]int{}
	for _, st := range all {
		switch {
		case st.State == stack.Ready && st.PID > 0 && st.Memory > 0:
			pids[st.Name] = st.PID
		case st.State != others:
			t.Errorf("%s is %s, process %d", st.Name, st.State, st.PID)
		}
	}
	return pids
}

func running(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(b), ") Z ")
}

func TestPartsStartAfterWhatTheyNeedAndStopBeforeIt(t *testing.T) {
	s, e := open(t, t.TempDir(), part("a", ""), part("b", "", "a"), part("c", "", "b"), part("d", ""))
	all := up(t, s, e)
	before(t, all, "a starting", "a ready", "b starting", "b ready", "c starting", "c ready")
	before(t, all, "d starting", "c ready")
	if got := pids(t, s, ""); len(got) != 4 {
		t.Errorf("running: %v", got)
	}
	if err := s.Down(t.Context(), e.add); err != nil {
		t.Fatal(err)
	}
	before(t, e.take(), "c stopping", "c stopped", "b stopping", "b stopped", "a stopping", "a stopped")
	if got := pids(t, s, stack.Stopped); len(got) != 0 {
		t.Errorf("running after down: %v", got)
	}
	path, err := s.Logs("a")
	if err != nil {
		t.Fatal(err)
	}
	if log, err := os.ReadFile(path); err != nil || !strings.Contains(string(log), "it starts\nit stops\n") {
		t.Errorf("its log: %q, %v", log, err)
	}
	if err := s.Down(t.Context(), e.add); err != nil || len(e.take()) != 0 {
		t.Errorf("a second down: %v", err)
	}
}

func TestSomePartsBringWhatTheyNeed(t *testing.T) {
	s, e := open(t, t.TempDir(), part("a", ""), part("b", "", "a"), part("c", ""))
	up(t, s, e, "b")
	if got := pids(t, s, stack.Stopped); got["a"] == 0 || got["b"] == 0 || got["c"] != 0 {
		t.Errorf("running: %v", got)
	}
	if err := s.Down(t.Context(), nil, "b"); err != nil {
		t.Fatal(err)
	}
	if got := pids(t, s, stack.Stopped); got["a"] == 0 || got["b"] != 0 {
		t.Errorf("running: %v", got)
	}
	if err := s.Up(t.Context(), nil, "z"); err == nil || !strings.Contains(err.Error(), `"z"`) {
		t.Errorf("a part that is none: %v", err)
	}
}

// The second Up is another process's: it knows what the first has left on the disk.
func TestUpRepairsAndLeavesTheRest(t *testing.T) {
	dir, parts := t.TempDir(), []stack.Part{part("a", ""), part("b", "", "a"), part("c", "", "b")}
	s, e := open(t, dir, parts...)
	up(t, s, e)
	first := pids(t, s, "")
	again, e := open(t, dir, parts...)
	if got := up(t, again, e); !slices.Equal(got, []string{"a running", "b running", "c running"}) {
		t.Errorf("a second up: %q", got)
	}
	if err := again.Kill("b"); err != nil {
		t.Fatal(err)
	}
	if running(first["b"]) {
		t.Error("b runs after it was killed")
	}
	if got := pids(t, again, stack.Dead); len(got) != 2 {
		t.Errorf("running: %v", got)
	}
	if got := up(t, again, e); !slices.Equal(got, []string{"a running", "b starting", "b ready", "c running"}) {
		t.Errorf("up after a kill: %q", got)
	}
	now := pids(t, again, "")
	if now["a"] != first["a"] || now["b"] == first["b"] || now["c"] != first["c"] {
		t.Errorf("before %v, after %v", first, now)
	}
}

func TestAPIDFileOfAnotherProgramCountsForNothing(t *testing.T) {
	dir, parts := t.TempDir(), []stack.Part{part("a", "")}
	s, e := open(t, dir, parts...)
	// This test's own process is alive, and is no part; and of a number that nobody has, nothing is known.
	for _, text := range []string{
		fmt.Sprintf("%d\n1 %s\n", os.Getpid(), bootID(t)), fmt.Sprintf("%d\n", os.Getpid()), "nonsense", "",
		fmt.Sprintf("4194305\n1 %s\n", bootID(t)),
	} {
		if err := os.MkdirAll(filepath.Join(dir, "run"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "run", "a.pid"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := pids(t, s, stack.Dead); len(got) != 0 {
			t.Errorf("%q: running: %v", text, got)
		}
		if err := s.Kill("a"); err == nil {
			t.Errorf("%q: somebody was killed", text)
		}
		if got := up(t, s, e); !slices.Equal(got, []string{"a starting", "a ready"}) {
			t.Errorf("%q: up: %q", text, got)
		}
		if err := s.Down(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}
}

func bootID(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// An up that is killed between the start of a process and its note must not leave one that nobody can stop.
func TestAProcessWhosePIDFileIsLostIsFound(t *testing.T) {
	dir := t.TempDir()
	s, e := open(t, dir, part("a", ""))
	up(t, s, e)
	pid := pids(t, s, "")["a"]
	if err := os.Remove(filepath.Join(dir, "run", "a.pid")); err != nil {
		t.Fatal(err)
	}
	if got := up(t, s, e); !slices.Equal(got, []string{"a running"}) || pids(t, s, "")["a"] != pid {
		t.Errorf("up: %q", got)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "run", "a.pid")); err != nil || !strings.HasPrefix(string(b), strconv.Itoa(pid)+"\n") {
		t.Errorf("pid file %q, %v", b, err)
	}
}

func TestATakenPortIsSaidOrReplaced(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken, dir := l.Addr().(*net.TCPAddr).Port, t.TempDir()
	o := stack.Options{Dir: dir, Lib: t.TempDir(), Parts: []stack.Part{part("a", "")}, Ports: map[string]int{"a": taken}}
	s, err := stack.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	err = s.Up(t.Context(), nil)
	want := fmt.Sprintf("start a: port %d is taken by process %d (", taken, os.Getpid())
	var e *stack.TakenError
	if err == nil || !strings.HasPrefix(err.Error(), want) || !errors.As(err, &e) {
		t.Errorf("up: %v, want %s", err, want)
	}
	o.Ports, o.FreePorts = nil, true // the port is remembered
	if s, err = stack.Open(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Down(context.Background(), nil) })
	up(t, s, &events{})
	addr := s.Addr("a")
	if got := up(t, s, &events{}); s.Addr("a") != addr {
		t.Errorf("on %s, then on %s: %q", addr, s.Addr("a"), got)
	}
	o.FreePorts = false // both are remembered, the one that a part has and the one that it would have
	if s, err = stack.Open(o); err != nil || s.Addr("a") != addr || s.Addr("a/main") != addr || addr == l.Addr().String() {
		t.Errorf("%s, then %s, %v", addr, s.Addr("a"), err)
	}
	if got := pids(t, s, ""); len(got) != 1 {
		t.Errorf("running: %v", got)
	}
}

func TestAPartThatEndsSaysWhyAndHoldsBackWhatNeedsIt(t *testing.T) {
	s, e := open(t, t.TempDir(), part("a", broken), part("b", "", "a"), part("c", ""))
	err := s.Up(t.Context(), e.add)
	path, _ := s.Logs("a")
	want := "start a: it ended with exit status 3: ERROR the disk is made of cheese (its log: " + path + ")"
	if err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if got := e.take(); slices.Contains(got, "b starting") || !slices.Contains(got, "c ready") {
		t.Errorf("%q", got)
	}
}

func TestAPartThatDoesNotAnswerIsSaid(t *testing.T) {
	p := part("a", silent)
	p.StartWithin = 300 * time.Millisecond
	s, e := open(t, t.TempDir(), p)
	if err := s.Up(t.Context(), e.add); err == nil || !strings.Contains(err.Error(), "does not answer after 300ms") {
		t.Error(err)
	}
	if all, err := s.Status(t.Context()); err != nil || all[0].State != stack.Starting {
		t.Errorf("%v, %v", all, err)
	}
}

func TestAPartThatDoesNotStopIsKilled(t *testing.T) {
	p := part("a", stubborn)
	p.StopWithin = 200 * time.Millisecond
	s, e := open(t, t.TempDir(), p)
	up(t, s, e)
	pid := pids(t, s, "")["a"]
	if err := s.Down(t.Context(), e.add); err != nil || running(pid) {
		t.Errorf("%v; it runs: %v", err, running(pid))
	}
	if got := e.take(); !slices.Equal(got, []string{"a stopping", "a killed"}) {
		t.Errorf("%q", got)
	}
}

// A killed part may leave children that hold its port.
func TestWhatAKilledPartLeavesBehindIsEnded(t *testing.T) {
	s, e := open(t, t.TempDir(), part("a", parent))
	up(t, s, e)
	for _, end := range []func() error{
		func() error { return s.Up(t.Context(), nil) },
		func() error { return s.Down(t.Context(), nil) },
	} {
		if err := s.Kill("a"); err != nil {
			t.Fatal(err)
		}
		if _, err := net.Dial("tcp", s.Addr("a")); err != nil {
			t.Fatalf("it left nothing behind: %v", err)
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := net.Dial("tcp", s.Addr("a")); err == nil {
		t.Error("its child runs after down")
	}
}

func TestOneCommandAtATime(t *testing.T) {
	dir := t.TempDir()
	p := part("a", silent)
	s, _ := open(t, dir, p)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	started := make(chan struct{}, 1)
	go func() { done <- s.Up(ctx, func(stack.Event) { started <- struct{}{} }) }()
	<-started
	want := fmt.Sprintf("is in use by process %d", os.Getpid())
	if err := s.Up(t.Context(), nil); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("a second up: %v", err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestOpenRefusesWhatItCannotUse(t *testing.T) {
	dir := t.TempDir()
	for want, o := range map[string]stack.Options{
		"not an absolute path":        {Dir: "here"},
		`no port is called "b"`:       {Dir: dir, Ports: map[string]int{"b": 1}},
		"port a: 70000 is not a port": {Dir: dir, Ports: map[string]int{"a": 70000}},
	} {
		o.Parts = []stack.Part{part("a", "")}
		if _, err := stack.Open(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// Every port of the real parts is another, none is Darkroom's own, and each part comes after what it needs.
func TestTheTableOfParts(t *testing.T) {
	ports, seen := map[int]string{8080: "ingest", 8081: "statsapi", 9041: "table"}, map[string]bool{}
	for _, p := range stack.Parts() {
		for _, port := range p.Ports {
			if other := ports[port.Default]; other != "" {
				t.Errorf("%s/%s has the port of %s", p.Name, port.Name, other)
			}
			ports[port.Default] = p.Name
		}
		for _, need := range p.Needs {
			if !seen[need] {
				t.Errorf("%s comes before %s, which it needs", p.Name, need)
			}
		}
		seen[p.Name] = true
	}
}

// A stack on free ports is found by nobody who is not told of it.
func TestStatusTellsWhereFlinkIs(t *testing.T) {
	s, err := stack.Open(stack.Options{Dir: t.TempDir(), Ports: map[string]int{"flink-jobmanager": 12345}})
	if err != nil {
		t.Fatal(err)
	}
	all, err := s.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var told []stack.Variable
	for _, p := range all {
		told = append(told, p.Variables...)
	}
	if want := (stack.Variable{Name: "DARKROOM_FLINK", Value: "http://127.0.0.1:12345"}); !slices.Contains(told, want) {
		t.Errorf("%v, want %v", told, want)
	}
}

func TestTunnelsToKafka(t *testing.T) {
	kafka, debezium := part("kafka", ""), part("debezium", "", "kafka")
	kafka.Conf, debezium.Conf = []string{"kafka"}, []string{"debezium"}
	kafka.Ports = append(kafka.Ports, stack.Port{Name: "kafka"}, stack.Port{Name: "controller"})
	debezium.Ports = append(debezium.Ports, stack.Port{Name: "http"})
	o := stack.Options{
		Dir: t.TempDir(), Lib: t.TempDir(), Parts: []stack.Part{kafka, debezium}, FreePorts: true,
		Tunnels: map[string]string{"away": "broker.example:1", "debezium": "127.0.0.1:2"},
	}
	s, err := stack.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Down(context.Background(), nil) })
	up(t, s, &events{})
	for file, wants := range map[string][]string{
		"kafka/server.properties": {
			"\nlisteners=PLAINTEXT://" + s.Addr("kafka/kafka") + ",CONTROLLER://" + s.Addr("kafka/controller") +
				",away://" + s.Addr("kafka/away") + ",debezium://" + s.Addr("kafka/debezium") + "\n",
			"\nadvertised.listeners=PLAINTEXT://" + s.Addr("kafka/kafka") + ",away://broker.example:1,debezium://127.0.0.1:2\n",
			"\nlistener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,away:PLAINTEXT,debezium:PLAINTEXT\n",
		},
		"debezium/debezium.properties": {"\nkafka.producer.bootstrap.servers=127.0.0.1:2\n"},
	} {
		text, err := os.ReadFile(filepath.Join(o.Dir, "conf", file))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range wants {
			if !strings.Contains(string(text), want) {
				t.Errorf("%s has no %q:\n%s", file, want, text)
			}
		}
	}
	o.Tunnels = nil // the ports of tunnels that are no more are remembered, and nothing to complain of
	if _, err := stack.Open(o); err != nil {
		t.Error(err)
	}
}
