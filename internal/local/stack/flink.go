package stack

import (
	"context"
	"os"
	"path/filepath"
	"slices"
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
	return e.Java(slices.Concat(memory, flinkOpens, simpleLogger), class, args...)
}

// simpleLogger makes the lines of slf4j-simple, which Flink and Spark log with, like those of the others. A file would
// need a folder on the class path, and the job server cannot hand a folder to the cluster.
var simpleLogger = []string{
	"-Dorg.slf4j.simpleLogger.showDateTime=true",
	"-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss,SSS",
	"-Dorg.slf4j.simpleLogger.showThreadName=false",
	"-Dorg.slf4j.simpleLogger.showShortLogName=true",
}

func runJobManager(e Env) []string {
	return flinkJava(e, []string{"-Xms128m", "-Xmx768m", "-XX:MaxMetaspaceSize=256m", "-XX:+UseG1GC"},
		"org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint", "--configDir", e.Conf())
}

func jobManagerAddress(e Env) (string, []Variable, error) {
	addr := e.Addr("rest")
	return addr, []Variable{{"DARKROOM_FLINK", "http://" + addr}}, nil
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

func runFlinkJobServer(e Env) []string {
	java := func(e Env, memory []string, class string, args ...string) []string {
		return e.JavaFrom(unstaged(e), slices.Concat(memory, flinkOpens, simpleLogger), class, args...)
	}
	return runJobServer(e, java, []string{"-Xms64m", "-Xmx512m", "-XX:MaxMetaspaceSize=256m", "-XX:+UseSerialGC"},
		"org.apache.beam.runners.flink.FlinkJobServerDriver",
		"--flink-master="+e.AddrOf("flink-jobmanager"))
}

// unstaged is a folder of the same jars. Beam sends the 190 MB of its class path with every job, which takes 13 seconds,
// though the TaskManager here runs from the same jars. It has no option against that, but leaves out every path with
// "gradle/wrapper" in it (PipelineResources.isStageable), which must be the file's own: links of another kind it follows.
func unstaged(e Env) string {
	folder := filepath.Join(e.Data(), "gradle", "wrapper")
	if err := linkAll(e.Lib(), folder); err != nil {
		return e.Lib() // on another file system: a job only takes longer to start
	}
	return folder
}

// linkAll makes a folder anew, with hard links to what is in another.
func linkAll(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	for _, entry := range entries {
		if err := os.Link(filepath.Join(from, entry.Name()), filepath.Join(to, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}
