package cassandra

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
)

const (
	connectTimeout = 5 * time.Second
	// requestTimeout is more than a node's own limits (10 s for a range), so that the node gives up first.
	requestTimeout = 11 * time.Second
	// reconnectPause is how long a node that was down stays unasked.
	reconnectPause = time.Second
	// speculateAfter is when a read that has no answer yet is sent to another node as well.
	speculateAfter = 100 * time.Millisecond
	// protocolVersion is Cassandra 4.0's and later; unset values and a keyspace with each statement need it.
	protocolVersion = 5
)

func (c Config) cluster() (*gocql.ClusterConfig, error) {
	var hosts []string
	cluster := gocql.NewCluster()
	for i, h := range c.Hosts {
		host, port, err := splitHost(h)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			cluster.Port = port // of the nodes that are found through these, when they do not tell it
		}
		hosts = append(hosts, net.JoinHostPort(host, strconv.Itoa(port)))
	}
	cluster.Hosts = hosts
	cluster.ProtoVersion = protocolVersion
	cluster.Timeout = requestTimeout
	cluster.ConnectTimeout = connectTimeout
	cluster.ReconnectInterval = reconnectPause
	cluster.SocketKeepalive = 15 * time.Second
	cluster.DefaultTimestamp = false  // each write says its own
	cluster.DefaultIdempotence = true // each statement is, but for those of migrations
	cluster.RetryPolicy = &gocql.SimpleRetryPolicy{NumRetries: 1}
	cluster.Metadata.CacheMode = gocql.KeyspaceOnly
	cluster.Logger = driverLogger{c.Logger}
	if c.NoHostLookup {
		cluster.AddressTranslator = gocql.AddressTranslatorFunc(c.onlyHost)
	}
	fallback := gocql.RoundRobinHostPolicy()
	if c.Datacenter != "" {
		fallback = gocql.DCAwareRoundRobinPolicy(c.Datacenter)
	}
	cluster.PoolConfig.HostSelectionPolicy = gocql.TokenAwareHostPolicy(fallback, gocql.ShuffleReplicas())
	if c.Username != "" {
		cluster.Authenticator = gocql.PasswordAuthenticator{Username: c.Username, Password: c.Password}
	}
	return cluster, nil
}

// onlyHost is where every node is reached. The driver's own DisableInitialHostLookup holds only until a connection
// breaks: then the driver asks for the nodes' addresses after all.
func (c Config) onlyHost(told net.IP, port int) (net.IP, int) {
	host, only, err := splitHost(c.Hosts[0])
	if err != nil {
		return told, port // check has refused it
	}
	addr, err := net.ResolveTCPAddr("tcp", net.JoinHostPort(host, strconv.Itoa(only)))
	if err != nil {
		return nil, only // the driver takes it for a node without an address, and asks again later
	}
	return addr.IP, addr.Port
}

// connect opens a session. The driver does not know contexts there: a session that comes too late is closed.
func (c Config) connect(ctx context.Context) (*gocql.Session, error) {
	cluster, err := c.cluster()
	if err != nil {
		return nil, err
	}
	type opened struct {
		session *gocql.Session
		err     error
	}
	done := make(chan opened, 1)
	go func() {
		session, err := cluster.CreateSession()
		done <- opened{session, err}
	}()
	select {
	case o := <-done:
		return o.session, o.err
	case <-ctx.Done():
		go func() {
			if o := <-done; o.err == nil {
				o.session.Close()
			}
		}()
		return nil, ctx.Err()
	}
}

// driverLogger passes on what the driver says, for a person who looks for a fault. What the driver warns of when a node
// is away, several times a second, shows to others as an error or as the word of Store.retry.
type driverLogger struct{ *slog.Logger }

var _ gocql.StructuredLogger = driverLogger{}

func (l driverLogger) Error(msg string, fields ...gocql.LogField)   { l.log(msg, fields) }
func (l driverLogger) Warning(msg string, fields ...gocql.LogField) { l.log(msg, fields) }
func (l driverLogger) Info(msg string, fields ...gocql.LogField)    { l.log(msg, fields) }
func (l driverLogger) Debug(string, ...gocql.LogField)              {}

func (l driverLogger) log(msg string, fields []gocql.LogField) {
	ctx := context.Background()
	if !l.Enabled(ctx, slog.LevelDebug) {
		return
	}
	attrs := make([]slog.Attr, len(fields))
	for i, f := range fields {
		attrs[i] = slog.String(f.Name, fmt.Sprint(f.Value))
	}
	l.LogAttrs(ctx, slog.LevelDebug, "cassandra driver: "+msg, attrs...)
}
