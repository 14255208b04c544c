package stack

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// flinkOpens is what Flink's own launcher opens for Java 17.
var flinkOpens = []string{
	"--add-exports=java.base/sun.net.util=ALL-UNNAMED",
	"--add-exports=java.rmi/sun.rmi.registry=ALL-UNNAMED",
	"--add-opens=java.base/java.lang=ALL-UNNAMED",
	"--add-opens=java.base/java.lang.reflect=ALL-UNNAMED",
	"--add-opens=java.base/java.net=ALL-UNNAMED",
	"--add-opens=java.base/java.io=ALL-UNNAMED",
	"--add-opens=java.base/java.nio=ALL-UNNAMED",
	"--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
	"--add-opens=java.base/java.text=ALL-UNNAMED",
	"--add-opens=java.base/java.time=ALL-UNNAMED",
	"--add-opens=java.base/java.util=ALL-UNNAMED",
	"--add-opens=java.base/java.util.concurrent=ALL-UNNAMED",
	"--add-opens=java.base/java.util.concurrent.atomic=ALL-UNNAMED",
	"--add-opens=java.base/java.util.concurrent.locks=ALL-UNNAMED",
}

func flinkJava(e Env, memory []string, class string, args ...string) []string {
	return e.Java(append(memory, flinkOpens...), class, args...)
}

func runJobManager(e Env) []string {
	return flinkJava(e, []string{"-Xms128m", "-Xmx768m", "-XX:MaxMetaspaceSize=256m", "-XX:+UseG1GC"},
		"org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint", "--configDir", e.Conf())
}

// jobManagerAnswers asks for an overview, which the dispatcher gives once it leads.
func jobManagerAnswers(ctx context.Context, e Env) error {
	return getJSON(ctx, "http://"+e.Addr("rest")+"/overview", nil)
}

// runTaskManager gives the JVM what flink-conf.yaml says: the heap is framework and task heap, direct memory is
// framework off-heap and network.
func runTaskManager(e Env) []string {
	return flinkJava(e, []string{
		"-Xms768m", "-Xmx768m", "-XX:MaxDirectMemorySize=256m", "-XX:MaxMetaspaceSize=256m", "-XX:+UseG1GC",
	}, "org.apache.flink.runtime.taskexecutor.TaskManagerRunner", "--configDir", e.Conf())
}

// taskManagerAnswers asks the JobManager, which may still list one that has been killed: only a heartbeat that is newer
// than the process is its own.
func taskManagerAnswers(ctx context.Context, e Env) error {
	var list struct {
		TaskManagers []struct {
			DataPort  int   `json:"dataPort"`
			Heartbeat int64 `json:"timeSinceLastHeartbeat"` // its time, whatever its name says, in milliseconds
			Slots     int   `json:"slotsNumber"`
		} `json:"taskmanagers"`
	}
	if err := getJSON(ctx, "http://"+e.AddrOf("flink-jobmanager")+"/taskmanagers", &list); err != nil {
		return err
	}
	noted, err := os.Stat(e.s.pidFile(e.Name()))
	if err != nil {
		return err
	}
	for _, t := range list.TaskManagers {
		if t.DataPort == e.Port("data") && t.Slots > 0 && t.Heartbeat > noted.ModTime().UnixMilli() {
			return nil
		}
	}
	return errNotYet
}

// runFlinkJobServer runs Beam's job server. All of its servers listen on loopback.
func runFlinkJobServer(e Env) []string {
	return flinkJava(e, []string{"-Xms64m", "-Xmx512m", "-XX:MaxMetaspaceSize=256m", "-XX:+UseSerialGC"},
		"org.apache.beam.runners.flink.FlinkJobServerDriver", append(jobServerArgs(e),
			"--flink-master="+e.AddrOf("flink-jobmanager"), "--flink-conf-dir="+e.Conf())...)
}

func jobServerArgs(e Env) []string {
	return []string{
		"--job-host=" + loopback, "--job-port=" + strconv.Itoa(e.Port("job")), "--artifact-port=0", "--expansion-port=0",
		"--artifacts-dir=" + filepath.Join(e.Data(), "artifacts"),
	}
}

func jobServerListens(ctx context.Context, e Env) error {
	if err := listens(ctx, e.Addr("job")); err != nil {
		return fmt.Errorf("job server: %w", err)
	}
	return nil
}
