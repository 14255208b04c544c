package stack_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"darkroom/internal/blob"
	"darkroom/runners"
)

// openBlobs opens the bucket of all tests.
func (e *env) openBlobs(t *testing.T) *blob.Store {
	t.Helper()
	blobs, err := blob.Open(t.Context(), e.bucket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { blobs.Close() })
	if err := blobs.EnsureBucket(t.Context()); err != nil {
		t.Fatal(err)
	}
	return blobs
}

// live is the command line of the pipeline, without that of a runner.
func (e *env) live(events, rejected string, to tables, args ...string) []string {
	return append([]string{
		"pipeline", "run", "live", "--kafka", cmp.Or(e.via.kafka, e.stack.Addr("kafka")),
		"--events-topic", events, "--rejected-topic", rejected, "--s3-endpoint", cmp.Or(e.via.s3, e.bucket.Endpoint),
		"--s3-bucket", e.bucket.Bucket, "--s3-access-key", e.bucket.AccessKey,
		"--s3-secret-key", e.bucket.SecretKey, "--table", to.dsn,
	}, args...)
}

func (e *env) onFlink(args ...string) []string {
	return append([]string{
		"--runner", "flink", "--job-server", e.stack.Addr("flink-jobserver"), "--flink", e.flinkURL(),
		"--workers", cmp.Or(e.via.workers, e.workersAddr()),
	}, args...)
}

func (e *env) onSpark() []string {
	return []string{
		"--runner", "spark", "--job-server", e.stack.Addr("spark-jobserver"), "--workers", e.workersAddr(),
		// The executors have the jars that the job server would upload.
		"--option", fmt.Sprintf("files_to_stage=[%q]", filepath.Join(e.dir, "empty.jar")),
	}
}

func (e *env) flinkURL() string { return "http://" + e.stack.Addr("flink-jobmanager") }

// TestOneTransformManyDrivers runs the same input through the live pipeline on every runner, in both of its forms, and
// holds what each leaves in the tables against the oracle, and bit for bit against the others.
func TestOneTransformManyDrivers(t *testing.T) {
	e := shared
	events, rejected := e.topics(t)
	in := makeInput(t, e.openBlobs(t), 1, 2000)
	in.produce(t, e.kafka(t), events, 0, len(in.records))

	var first map[string]int
	compare := func(t *testing.T, s tables) error {
		if err := in.check(t, s); err != nil {
			return err
		}
		rows := s.rows(t)
		if first == nil {
			first = rows
		}
		if text := differ(rows, first); text != "" {
			return errors.New(text)
		}
		return nil
	}
	for name, args := range map[string][]string{
		"prism": {},
		"flink": e.onFlink(),
		"spark": e.onSpark(),
	} {
		t.Run("bounded on "+name, func(t *testing.T) {
			s := newTables(t)
			p, err := e.start(e.live(events, rejected, s, append(args, "--bounded")...)...)
			if err != nil {
				t.Fatal(err)
			}
			select {
			case <-p.ended:
			case <-time.After(3 * time.Minute):
				p.stop()
				t.Fatalf("it did not end\n%s", p.text())
			}
			if p.err != nil || !strings.Contains(p.text(), "done live") {
				t.Fatalf("%v\n%s", p.err, p.text())
			}
			if err := compare(t, s); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("streaming on prism", func(t *testing.T) {
		s := newTables(t)
		p, err := e.start(e.live(events, rejected, s)...)
		if err != nil {
			t.Fatal(err)
		}
		defer p.stop()
		eventually(t, 2*time.Minute, func() error { return compare(t, s) })
	})
	t.Run("streaming on flink", func(t *testing.T) {
		s := newTables(t)
		job := e.stream(t, events, rejected, s, "--parallelism", "2")
		eventually(t, 3*time.Minute, func() error { return compare(t, s) })
		job.drain()
		if err := compare(t, s); err != nil {
			t.Errorf("after the drain: %v", err)
		}
	})
}

// job is the live pipeline on Flink.
type job struct {
	t      *testing.T
	client *process
	events string
	rest   runners.FlinkREST
}

// stream starts the pipeline on Flink with checkpoints; it is cancelled at the test's end.
func (e *env) stream(t *testing.T, events, rejected string, to tables, args ...string) *job {
	t.Helper()
	args = append(e.onFlink("--checkpoint-interval", "1s", "--checkpoint-dir", "file://"+t.TempDir()), args...)
	client, err := e.start(e.live(events, rejected, to, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	j := &job{t: t, client: client, events: events, rest: runners.FlinkREST{URL: e.flinkURL()}}
	t.Cleanup(func() {
		client.stop()
		if last, err := j.rest.Job(context.Background(), "live"); err == nil && last.Running() {
			if err := j.rest.Cancel(context.Background(), "live"); err != nil {
				t.Error(err)
			}
		}
	})
	if err := client.waitFor("running live"); err != nil {
		t.Fatal(err)
	}
	return j
}

func (j *job) drain() {
	j.t.Helper()
	p, err := shared.start("pipeline", "drain", "live", "--kafka", shared.stack.Addr("kafka"), "--events-topic", j.events, "--flink", shared.flinkURL())
	if err != nil {
		j.t.Fatal(err)
	}
	select {
	case <-p.ended:
	case <-time.After(time.Minute):
		p.stop()
	}
	if !strings.Contains(p.text(), "drained live") {
		j.t.Errorf("drain: %v\n%s", p.err, p.text())
	}
}

// checkpoints is how many the job has completed. Flink remembers jobs of the name that have ended.
func (j *job) checkpoints() (int64, error) {
	running, err := j.rest.Job(j.t.Context(), "live")
	if err != nil {
		return 0, err
	}
	if !running.Running() {
		return 0, fmt.Errorf("the newest job is %s", running.State)
	}
	c, err := j.rest.Checkpoints(j.t.Context(), running)
	return c.Counts.Completed, err
}

// afterCheckpoints waits until the job has completed so many more.
func (j *job) afterCheckpoints(n int64) {
	j.t.Helper()
	before, _ := j.checkpoints() // unknown is none
	eventually(j.t, 2*time.Minute, func() error {
		now, err := j.checkpoints()
		if err == nil && now < before+n {
			err = fmt.Errorf("%d checkpoints, and %d before", now, before)
		}
		return err
	})
}
