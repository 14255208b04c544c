package stack

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// sparkOpens is what Spark's own launcher opens for Java 17. Executors get the same from Spark itself.
var sparkOpens = []string{
	"-XX:+IgnoreUnrecognizedVMOptions",
	"-Djdk.reflect.useDirectMethodHandle=false",
	"--add-opens=java.base/java.lang=ALL-UNNAMED",
	"--add-opens=java.base/java.lang.invoke=ALL-UNNAMED",
	"--add-opens=java.base/java.lang.reflect=ALL-UNNAMED",
	"--add-opens=java.base/java.io=ALL-UNNAMED",
	"--add-opens=java.base/java.net=ALL-UNNAMED",
	"--add-opens=java.base/java.nio=ALL-UNNAMED",
	"--add-opens=java.base/java.util=ALL-UNNAMED",
	"--add-opens=java.base/java.util.concurrent=ALL-UNNAMED",
	"--add-opens=java.base/java.util.concurrent.atomic=ALL-UNNAMED",
	"--add-opens=java.base/jdk.internal.ref=ALL-UNNAMED",
	"--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
	"--add-opens=java.base/sun.nio.cs=ALL-UNNAMED",
	"--add-opens=java.base/sun.security.action=ALL-UNNAMED",
	"--add-opens=java.base/sun.util.calendar=ALL-UNNAMED",
	"--add-opens=java.security.jgss/sun.security.krb5=ALL-UNNAMED",
}

func sparkJava(e Env, options []string, class string, args ...string) []string {
	return e.Java(slices.Concat(options, sparkOpens, simpleLogger), class, args...)
}

// sparkHome is what Spark takes for an installation: a folder with the folder jars.
func sparkHome(e Env) string {
	home := filepath.Join(e.Data(), "home")
	jars := filepath.Join(home, "jars")
	if to, err := os.Readlink(jars); err != nil || to != e.Lib() {
		_ = os.Remove(jars)
		_ = os.MkdirAll(home, 0o755)
		_ = os.Symlink(e.Lib(), jars) // Spark says itself what it misses
	}
	return home
}

func sparkEnviron(e Env) []string {
	return []string{
		"SPARK_HOME=" + sparkHome(e), "SPARK_LOCAL_IP=" + loopback, "SPARK_LOCAL_HOSTNAME=" + loopback,
		"SPARK_LOCAL_DIRS=" + filepath.Join(e.Data(), "tmp"), "SPARK_SCALA_VERSION=2.12",
		"JAVA_HOME=" + filepath.Dir(filepath.Dir(e.java)),
	}
}

func runSparkMaster(e Env) []string {
	return sparkJava(e, []string{"-Xms64m", "-Xmx256m", "-XX:+UseSerialGC"}, "org.apache.spark.deploy.master.Master",
		"--host", loopback, "--port", strconv.Itoa(e.Port("rpc")), "--webui-port", strconv.Itoa(e.Port("web")))
}

func sparkMasterURL(e Env) string { return "spark://" + e.AddrOf("spark-master") }

// sparkCores and sparkMemory are what a worker has for executors. A job has one executor, of half the memory.
const (
	sparkCores     = "2"
	sparkMemory    = "2g"
	sparkExecution = "1g"
)

func runSparkWorker(e Env) []string {
	return sparkJava(e, []string{"-Xms64m", "-Xmx256m", "-XX:+UseSerialGC"}, "org.apache.spark.deploy.worker.Worker",
		"--host", loopback, "--port", strconv.Itoa(e.Port("rpc")), "--webui-port", strconv.Itoa(e.Port("web")),
		"--cores", sparkCores, "--memory", sparkMemory, "--work-dir", filepath.Join(e.Data(), "work"), sparkMasterURL(e))
}

// sparkState is what the master says of itself and of its workers.
type sparkState struct {
	Status  string `json:"status"`
	Workers []struct {
		Port  int    `json:"port"`
		State string `json:"state"`
	} `json:"workers"`
}

func askSpark(ctx context.Context, e Env) (state sparkState, err error) {
	err = getJSON(ctx, "http://"+e.AddrOf("spark-master/web")+"/json/", &state)
	return state, err
}

const sparkAlive = "ALIVE"

func sparkMasterAnswers(ctx context.Context, e Env) error {
	state, err := askSpark(ctx, e)
	if err == nil && state.Status != sparkAlive {
		err = errNotYet
	}
	return err
}

func sparkWorkerAnswers(ctx context.Context, e Env) error {
	if err := listens(ctx, e.Addr("web")); err != nil { // the master may still list one that is dead
		return err
	}
	state, err := askSpark(ctx, e)
	if err != nil {
		return err
	}
	for _, w := range state.Workers {
		if w.Port == e.Port("rpc") && w.State == sparkAlive {
			return nil
		}
	}
	return errNotYet
}

// runSparkJobServer runs Beam's job server, which is also the driver of every job. It takes Spark's settings from
// system properties.
func runSparkJobServer(e Env) []string {
	options := []string{"-Xms64m", "-Xmx768m", "-XX:+UseSerialGC"}
	for _, setting := range []string{
		"driver.host=" + loopback, "driver.bindAddress=" + loopback, "ui.enabled=false",
		"executor.memory=" + sparkExecution, "cores.max=" + sparkCores,
		"local.dir=" + filepath.Join(e.Data(), "tmp"),
		"executor.extraClassPath=" + e.Lib() + "/*",
	} {
		options = append(options, "-Dspark."+setting)
	}
	return runJobServer(e, sparkJava, options, "org.apache.beam.runners.spark.SparkJobServerDriver",
		"--spark-master-url="+sparkMasterURL(e))
}
