package stack_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"darkroom/internal/table"
	"darkroom/transforms/aggregate"
)

// upgrade is a stream over the first part of an input, on the way to another build.
type upgrade struct {
	*env
	t                *testing.T
	events, rejected string
	to               tables
	in               *input
	sent             int
	job              *job
}

func startUpgrade(t *testing.T, seed uint64) *upgrade {
	t.Helper()
	u := &upgrade{env: shared, t: t, to: newTables(t), in: makeInput(t, shared.openBlobs(t), seed, 3000)}
	u.events, u.rejected = u.topics(t)
	u.run()
	return u
}

func (u *upgrade) run(args ...string) {
	u.t.Helper()
	u.job = u.stream(u.t, u.events, u.rejected, u.to, append(args, "--parallelism", "2")...)
}

// produce sends the records up to a part of all.
func (u *upgrade) produce(part float64) {
	u.t.Helper()
	from := u.sent
	u.sent = int(part * float64(len(u.in.records)))
	u.in.produce(u.t, u.kafka(u.t), u.events, from, u.sent)
}

// counted waits until all that was sent is in the statistics, and then for a checkpoint.
func (u *upgrade) counted() {
	u.t.Helper()
	uploads := map[string]bool{}
	for _, r := range u.in.records[:u.sent] {
		if id := string(r.Key); u.in.states[id] != "" {
			uploads[id] = true
		}
	}
	eventually(u.t, 2*time.Minute, func() error {
		var n int64
		for s, err := range table.AllImageStats.Scan(u.t.Context(), u.to.store, table.Query{}) {
			if err != nil {
				return err
			}
			if s.Dimension == table.DimensionAll {
				n += s.Images + s.Rejected
			}
		}
		if n != int64(len(uploads)) {
			return fmt.Errorf("%d uploads are counted of %d", n, len(uploads))
		}
		return nil
	})
	u.job.afterCheckpoints(1)
}

// pipeline runs a command on the job and returns what it prints.
func (u *upgrade) pipeline(command string, args ...string) string {
	u.t.Helper()
	p, err := u.start(append([]string{"pipeline", command, "live", "--flink", u.flinkURL()}, args...)...)
	if err != nil {
		u.t.Fatal(err)
	}
	<-p.ended
	if p.err != nil {
		u.t.Fatalf("%s: %v\n%s", command, p.err, p.text())
	}
	return strings.TrimSpace(p.text())
}

// restored is what the job began from, once it runs: the path of a savepoint or checkpoint, or nothing.
func (u *upgrade) restored() string {
	u.t.Helper()
	u.job.afterCheckpoints(1)
	running, err := u.job.rest.Job(u.t.Context(), "live")
	if err != nil {
		u.t.Fatal(err)
	}
	res, err := http.Get(u.flinkURL() + "/jobs/" + running.ID + "/checkpoints") //nolint:noctx // a test's
	if err != nil {
		u.t.Fatal(err)
	}
	defer res.Body.Close()
	var answer struct {
		Latest struct {
			Restored struct {
				Path string `json:"external_path"`
			}
		}
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		u.t.Fatal(err)
	}
	return answer.Latest.Restored.Path
}

// newBuild makes another build of the binary.
func newBuild(t *testing.T) (path string, built <-chan error) {
	path = filepath.Join(t.TempDir(), "darkroom")
	// The linker's options are part of the binary, whether or not there is such a variable.
	build := exec.CommandContext(t.Context(), "go", "build", "-ldflags", "-X main.build=new", "-o", path, "darkroom")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	done := make(chan error, 1)
	go func() {
		out, err := build.CombinedOutput()
		if err != nil {
			err = fmt.Errorf("build: %w\n%s", err, out)
		}
		done <- err
	}()
	return path, done
}

// use makes another build the one that runs, until the test's end.
func (u *upgrade) use(path string) {
	old := u.bin
	u.bin = path
	u.t.Cleanup(func() {
		u.workers.stop()
		u.bin = old
		if err := u.startWorkers("127.0.0.1:0"); err != nil {
			u.t.Error(err)
		}
	})
}

// build is that of the pool of workers.
func (e *env) build() string {
	_, build, _ := strings.Cut(e.workers.line("ready "), "build=")
	return build
}

func TestUpgradeWithASavepoint(t *testing.T) {
	path, built := newBuild(t)
	u := startUpgrade(t, 4)
	u.produce(0.4)
	u.counted()
	u.produce(0.5) // on its way
	savepoint := u.pipeline("savepoint", "--to", "file://"+t.TempDir())
	u.pipeline("cancel")
	old := u.build()
	if err := <-built; err != nil {
		t.Fatal(err)
	}
	u.use(path)

	refused, err := u.start(u.live(u.events, u.rejected, u.to, u.onFlink("--savepoint", savepoint)...)...)
	if err != nil {
		t.Fatal(err)
	}
	<-refused.ended
	u.workers.stop()
	if err := u.startWorkers("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	if u.build() == old {
		t.Fatalf("the new build is %s, too", old)
	}
	if refused.err == nil || !strings.Contains(refused.text(), old) || !strings.Contains(refused.text(), u.build()) {
		t.Errorf("the pool of build %s does not refuse a job of build %s: %v\n%s", old, u.build(), refused.err, refused.text())
	}

	u.run("--savepoint", savepoint)
	if path := u.restored(); path == "" || path != savepoint {
		t.Errorf("the job began from %q, want %s", path, savepoint)
	}
	u.produce(1)
	eventually(t, 2*time.Minute, func() error { return u.in.check(t, u.to) })
}

func TestUpgradeWithoutASavepoint(t *testing.T) {
	u := startUpgrade(t, 5)
	u.produce(0.7)
	u.counted()
	counted := u.in.records[:u.sent]
	u.produce(0.8) // on its way
	u.pipeline("cancel")

	// Every window that an event to come may touch must be counted whole.
	from := u.in.last
	for _, r := range u.in.records[len(counted):] {
		if r.Timestamp.Before(from) {
			from = r.Timestamp
		}
	}
	from = from.Truncate(aggregate.Window)
	if !slices.ContainsFunc(counted, func(r *kgo.Record) bool { return r.Timestamp.Before(from) }) {
		t.Fatalf("%v is not in the middle of what was read", from)
	}
	u.run("--from", from.Format(time.RFC3339))
	if path := u.restored(); path != "" {
		t.Errorf("the job began from %s, want from Kafka alone", path)
	}
	u.produce(1)
	eventually(t, 2*time.Minute, func() error { return u.in.check(t, u.to) })
}
