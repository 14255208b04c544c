package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
)

// cqlLimit is for a node that has just started on a machine that is busy.
const cqlLimit = 20 * time.Second

// jpms opens what Cassandra's code, in the node and in Debezium, reaches into; it is what Cassandra's own launcher does.
var jpms = []string{
	"-Djdk.attach.allowAttachSelf=true",
	"-Dio.netty.tryReflectionSetAccessible=true",
	"--add-exports=java.base/jdk.internal.misc=ALL-UNNAMED",
	"--add-exports=java.base/java.lang.ref=ALL-UNNAMED",
	"--add-exports=java.management.rmi/com.sun.jmx.remote.internal.rmi=ALL-UNNAMED",
	"--add-exports=java.rmi/sun.rmi.registry=ALL-UNNAMED",
	"--add-exports=java.rmi/sun.rmi.server=ALL-UNNAMED",
	"--add-exports=java.sql/java.sql=ALL-UNNAMED",
	"--add-exports=jdk.attach/sun.tools.attach=ALL-UNNAMED",
	"--add-exports=jdk.unsupported/sun.misc=ALL-UNNAMED",
	"--add-opens=java.base/java.io=ALL-UNNAMED",
	"--add-opens=java.base/java.lang=ALL-UNNAMED",
	"--add-opens=java.base/java.lang.module=ALL-UNNAMED",
	"--add-opens=java.base/java.lang.reflect=ALL-UNNAMED",
	"--add-opens=java.base/java.nio=ALL-UNNAMED",
	"--add-opens=java.base/java.util=ALL-UNNAMED",
	"--add-opens=java.base/jdk.internal.loader=ALL-UNNAMED",
	"--add-opens=java.base/jdk.internal.math=ALL-UNNAMED",
	"--add-opens=java.base/jdk.internal.module=ALL-UNNAMED",
	"--add-opens=java.base/jdk.internal.ref=ALL-UNNAMED",
	"--add-opens=java.base/jdk.internal.reflect=ALL-UNNAMED",
	"--add-opens=java.base/jdk.internal.util.jar=ALL-UNNAMED",
	"--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
	"--add-opens=jdk.management/com.sun.management.internal=ALL-UNNAMED",
}

func cassandraJava(e Env, options []string, class string, args ...string) []string {
	options = append(options, "-Dcassandra.storagedir="+e.Data(),
		"-Dlogback.configurationFile="+filepath.Join(e.Conf(), "logback.xml"))
	return e.Java(append(options, jpms...), class, args...)
}

func runCassandra(e Env) []string {
	options := []string{
		"-Xms512m", "-Xmx1g", "-XX:MaxDirectMemorySize=256m", "-XX:+UseG1GC", "-Xss512k",
		"-Dcassandra.config=file://" + filepath.Join(e.Conf(), "cassandra.yaml"),
		fmt.Sprintf("-Dcassandra.jmx.local.port=%d", e.Port("jmx")),
		// There is no other node to wait for.
		"-Dcassandra.skip_wait_for_gossip_to_settle=0", "-Dcassandra.ring_delay_ms=0",
		"-Dcassandra.skip_default_role_setup=true", "-Dcassandra-foreground=yes",
	}
	// The agent measures objects, for the limits on memtables.
	agents, _ := filepath.Glob(filepath.Join(e.Lib(), "jamm-*.jar")) // the pattern is well-formed
	for _, agent := range agents {
		options = append(options, "-javaagent:"+agent)
	}
	return cassandraJava(e, options, "org.apache.cassandra.service.CassandraDaemon")
}

// cassandraAnswers asks for the protocol's options, which needs no session.
func cassandraAnswers(ctx context.Context, e Env) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", e.Addr("cql"))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	const version, answer, options, supported = 0x04, 0x84, 0x05, 0x06
	if _, err := conn.Write([]byte{version, 0, 0, 0, options, 0, 0, 0, 0}); err != nil {
		return err
	}
	var header [9]byte
	if _, err := io.ReadFull(conn, header[:]); err != nil {
		return err
	}
	if header[0] != answer || header[4] != supported {
		return errors.New("it does not speak Cassandra's protocol")
	}
	return nil
}

// makeKeyspace makes Darkroom's keyspace, with a table that is never written to, before Debezium starts. It knows of a
// keyspace from its start only if a table of it is captured. The changes of tables that are made later in a keyspace that
// it does not know, or at once with their keyspace, it drops without a word.
func makeKeyspace(ctx context.Context, e Env) error {
	cluster := gocql.NewCluster(e.AddrOf("cassandra"))
	cluster.Consistency, cluster.Timeout, cluster.ConnectTimeout = gocql.One, cqlLimit, cqlLimit
	session, err := cluster.CreateSession()
	if err != nil {
		return fmt.Errorf("connect to cassandra: %w", err)
	}
	defer session.Close()
	for _, statement := range []string{
		"CREATE KEYSPACE IF NOT EXISTS darkroom WITH replication = {'class': 'NetworkTopologyStrategy', 'datacenter1': 1}",
		"CREATE TABLE IF NOT EXISTS darkroom.cdc_anchor (id int PRIMARY KEY) WITH cdc = true",
	} {
		if err := session.Query(statement).ExecContext(ctx); err != nil {
			return fmt.Errorf("make keyspace: %w", err)
		}
	}
	return nil
}

func runDebezium(e Env) []string {
	for _, dir := range []string{"offsets", "relocation/archive", "relocation/error"} {
		_ = os.MkdirAll(filepath.Join(e.Data(), dir), 0o755) // it says itself what it misses
	}
	return cassandraJava(e, []string{"-Xms64m", "-Xmx384m", "-XX:MaxDirectMemorySize=128m", "-XX:+UseSerialGC"},
		"io.debezium.connector.cassandra.CassandraConnectorTask", filepath.Join(e.Conf(), "debezium.properties"))
}

// debeziumAnswers asks for its health, which it serves on all interfaces: it cannot be told otherwise. There is nothing
// to be had there but metrics.
func debeziumAnswers(ctx context.Context, e Env) error {
	return getJSON(ctx, "http://"+e.Addr("http")+"/health", nil)
}
