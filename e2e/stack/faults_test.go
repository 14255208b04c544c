package stack_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"darkroom/internal/local/stack"
)

// cutFor is how long a tunnel is cut.
const cutFor = 10 * time.Second

// faults are all that go wrong, each once.
func (c *chain) faults(r *rand.Rand) []fault {
	all := []fault{
		{"a worker is killed", inTables, c.killWorker},
		{"the TaskManager is killed", inTables, func() error { return c.restart("flink-taskmanager") }},
		{"the pool of workers is killed", inTables, c.restartWorkers},
		{"the JobManager is killed, and with it the job, which is run anew", inTables, c.restartJobManager},
		{"the broker is killed", inTables, func() error { return c.restart("kafka") }},
		{"Cassandra is killed", inTables, func() error { return c.restart("cassandra", "debezium") }},
		{"Debezium is killed", inCopy, func() error { return c.restart("debezium") }},
		{"the statistics service is killed", inCopy, c.restartStats},
		{"the pool cannot be reached, and a worker is killed", inTables, func() error {
			return c.cut("workers", shut, c.killWorker)
		}},
	}
	for _, cut := range []struct {
		name, tunnel string
		before       stage
	}{
		{"the pipeline's way to Kafka", "pipeline", inTables},
		{"the pipeline's way to S3", "s3", inTables},
		{"the pipeline's way to Cassandra", "cassandra", inTables},
		{"Debezium's way to Kafka", "debezium", inCopy},
		{"the statistics service's way to Kafka", "statsapi", inCopy},
		{"the statistics service's way to PostgreSQL", "postgres", inCopy},
	} {
		how := []string{shut, hole}[r.IntN(2)]
		all = append(all, fault{cut.name + " is cut: " + how, cut.before, func() error {
			return c.cut(cut.tunnel, how, func() error { return nil })
		}})
	}
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// cut cuts a tunnel for a while, and does something meanwhile.
func (c *chain) cut(name, how string, meanwhile func() error) error {
	mend, err := c.tunnels[name].cut(how)
	if err != nil {
		return err
	}
	err = meanwhile()
	time.Sleep(cutFor)
	return errors.Join(err, mend())
}

// restart kills a part with -9 and starts it again, with others that may have died of that.
func (c *chain) restart(names ...string) error {
	if err := c.stack.Kill(names[0]); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.t.Context(), 3*time.Minute)
	defer cancel()
	return c.stack.Up(ctx, func(stack.Event) {}, names...)
}

func (c *chain) restartJobManager() error {
	c.job.client.stop()
	err := c.restart("flink-jobmanager", "flink-taskmanager", "flink-jobserver")
	if err == nil {
		c.startJob()
	}
	return err
}

func (c *chain) startStats() {
	c.t.Helper()
	p, err := c.start("statsapi", "--stats-listen", "127.0.0.1:0", "--kafka", c.tunnels["statsapi"].addr(), "--postgres", c.copyDSN)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(p.stop)
	if err := p.waitFor("ready "); err != nil {
		c.t.Fatal(err)
	}
	c.stats = p
}

func (c *chain) restartStats() error {
	if err := c.stats.cmd.Process.Kill(); err != nil {
		return err
	}
	<-c.stats.ended
	c.startStats()
	return nil
}

// poolWorkers are the processes of the pool's workers.
func (e *env) poolWorkers() (pids []int, err error) {
	pool := e.workers.cmd.Process.Pid
	tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pool)) // gone: no children
	for _, task := range tasks {
		children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pool, task.Name())) // a thread that has ended
		for child := range strings.FieldsSeq(string(children)) {
			pid, err := strconv.Atoi(child)
			if err != nil {
				return nil, err
			}
			pids = append(pids, pid)
		}
	}
	if len(pids) == 0 {
		return nil, fmt.Errorf("the pool has no worker\n%s", e.workers.text())
	}
	return pids, nil
}

// killWorker kills one of the pool's workers.
func (e *env) killWorker() error {
	pids, err := e.poolWorkers()
	if err != nil {
		return err
	}
	return syscall.Kill(pids[0], syscall.SIGKILL)
}

// restartWorkers kills the pool and its workers, which would outlive it, with -9 and starts another in its place.
func (e *env) restartWorkers() error {
	pids, err := e.poolWorkers()
	if err != nil {
		return err
	}
	addr := e.workersAddr()
	if err := e.workers.cmd.Process.Kill(); err != nil {
		return err
	}
	<-e.workers.ended
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			return err
		}
	}
	return e.startWorkers(addr)
}
