package cassandra

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
)

// Scheme is that of the data source names which ParseDSN reads.
const Scheme = "cassandra"

// Form tells a person what a data source name looks like.
const Form = Scheme + "://[user:password@]host[:port][,host…]/keyspace" +
	"[?dc=…][&consistency=…][&replication=dc1:3,dc2:3][&host_lookup=false]"

const defaultPort = 9042

// Config says which cluster holds the tables, and how to talk to it.
type Config struct {
	Hosts    []string // host or host:port (9042) of some nodes; the others are found through them
	Keyspace string   // made when it is missing
	// Datacenter is the local one: its nodes are asked first. Empty: all nodes are alike.
	Datacenter string
	// Consistency of reads and writes, by its CQL name. Empty: LOCAL_QUORUM, and ONE when the cluster is a single node.
	Consistency string
	// Replication is the number of replicas in each datacenter, for a keyspace that is made. Empty: one replica, which is
	// accepted for a single node only.
	Replication map[string]int
	// NoHostLookup reaches all nodes at the one host that is given, and not where they say that they are: for a node
	// behind a tunnel, a proxy or NAT.
	NoHostLookup bool
	Username     string
	Password     string
	Logger       *slog.Logger // nil: slog.Default()
}

// ParseDSN reads a data source name of the Form. Hosts may be IPv6 addresses in brackets.
func ParseDSN(dsn string) (Config, error) {
	c, err := parseDSN(dsn)
	if err == nil {
		err = c.check()
	}
	if err != nil {
		return Config{}, fmt.Errorf("the name must be %s: %w", Form, err)
	}
	return c, nil
}

func parseDSN(dsn string) (Config, error) {
	rest, ok := strings.CutPrefix(dsn, Scheme+"://")
	if !ok {
		return Config{}, errors.New("another scheme")
	}
	// net/url takes one host only, so that it gets the name without hosts.
	authority, path := rest, ""
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority, path = rest[:i], rest[i:]
	}
	user, hosts := "", authority
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		user, hosts = authority[:i+1], authority[i+1:]
	}
	u, err := url.Parse(Scheme + "://" + user + "hosts" + path)
	if err != nil {
		return Config{}, withoutURL(err)
	}
	if u.Fragment != "" || u.Opaque != "" {
		return Config{}, errors.New("a fragment")
	}
	c := Config{Hosts: strings.Split(hosts, ","), Keyspace: strings.TrimPrefix(u.Path, "/")}
	c.Username = u.User.Username()
	c.Password, _ = u.User.Password()
	return c, c.parseOptions(u.RawQuery)
}

// withoutURL leaves the name itself out of the error, since it may hold a password.
func withoutURL(err error) error {
	if parse := (*url.Error)(nil); errors.As(err, &parse) {
		return parse.Err
	}
	return err
}

func (c *Config) parseOptions(query string) error {
	values, err := url.ParseQuery(query)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		value := values.Get(name)
		if len(values[name]) > 1 || value == "" {
			return fmt.Errorf("%s must be given once, with a value", name)
		}
		switch name {
		case "dc":
			c.Datacenter = value
		case "consistency":
			c.Consistency = value
		case "replication":
			if c.Replication, err = parseReplication(value); err != nil {
				return err
			}
		case "host_lookup":
			lookup, err := strconv.ParseBool(value)
			if err != nil {
				return fmt.Errorf("host_lookup %q is neither true nor false", value)
			}
			c.NoHostLookup = !lookup
		default:
			return fmt.Errorf("unknown option %q", name)
		}
	}
	return nil
}

func parseReplication(s string) (map[string]int, error) {
	out := map[string]int{}
	for part := range strings.SplitSeq(s, ",") {
		dc, count, _ := strings.Cut(part, ":")
		n, err := strconv.Atoi(count)
		if _, twice := out[dc]; err != nil || twice {
			return nil, fmt.Errorf("replication %q is no list of datacenter:replicas", s)
		}
		out[dc] = n
	}
	return out, nil
}

var (
	validKeyspace   = regexp.MustCompile(`^[a-z][a-z0-9_]{0,47}$`) // what CQL takes without quotes
	validDatacenter = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]*$`)
)

func (c Config) check() error {
	for _, host := range c.Hosts {
		if _, _, err := splitHost(host); err != nil {
			return err
		}
	}
	if len(c.Hosts) == 0 {
		return errors.New("no host")
	}
	if c.NoHostLookup && len(c.Hosts) > 1 {
		return errors.New("host_lookup=false takes one host, at which all nodes are reached")
	}
	if !validKeyspace.MatchString(c.Keyspace) {
		return fmt.Errorf("the keyspace %q is no CQL identifier in lower case", c.Keyspace)
	}
	if c.Datacenter != "" && !validDatacenter.MatchString(c.Datacenter) {
		return fmt.Errorf("the datacenter %q is no name", c.Datacenter)
	}
	if c.Username == "" && c.Password != "" {
		return errors.New("a password without a user")
	}
	for dc, n := range c.Replication {
		if !validDatacenter.MatchString(dc) || n < 1 {
			return fmt.Errorf("replication of %d in datacenter %q", n, dc)
		}
	}
	_, err := c.consistency(1)
	return err
}

// splitHost returns the host without brackets, and its port.
func splitHost(s string) (host string, port int, err error) {
	host, text := s, strconv.Itoa(defaultPort)
	if strings.HasSuffix(s, "]") {
		host, text, err = net.SplitHostPort(s + ":" + text)
	} else if strings.Contains(s, ":") {
		host, text, err = net.SplitHostPort(s)
	}
	if err == nil {
		port, err = strconv.Atoi(text)
	}
	if err != nil || host == "" || port < 1 || port > 65535 || strings.ContainsAny(host, "@/ %") {
		return "", 0, fmt.Errorf("%q is no host or host:port", s)
	}
	return host, port, nil
}

// consistency is that of reads and writes in a cluster of so many nodes.
func (c Config) consistency(nodes int) (gocql.Consistency, error) {
	if c.Consistency == "" {
		if nodes == 1 {
			return gocql.One, nil
		}
		return gocql.LocalQuorum, nil
	}
	level, err := gocql.ParseConsistencyWrapper(c.Consistency)
	// ANY cannot be read at, and a serial level is one of transactions.
	if err != nil || level == gocql.Any || level == gocql.Serial || level == gocql.LocalSerial {
		return 0, fmt.Errorf("%q is no consistency for reads and writes", c.Consistency)
	}
	return level, nil
}

// replication is the keyspace's, as CQL.
func (c Config) replication(nodes int) (string, error) {
	if len(c.Replication) == 0 {
		if nodes > 1 {
			return "", fmt.Errorf("the keyspace %s is missing and the cluster has %d nodes: say how often each datacenter "+
				"keeps it, as in replication=dc1:3", c.Keyspace, nodes)
		}
		return "{'class': 'SimpleStrategy', 'replication_factor': 1}", nil
	}
	out := "{'class': 'NetworkTopologyStrategy'"
	for _, dc := range slices.Sorted(maps.Keys(c.Replication)) {
		out += fmt.Sprintf(", '%s': %d", dc, c.Replication[dc])
	}
	return out + "}", nil
}
