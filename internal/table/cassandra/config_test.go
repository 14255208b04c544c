package cassandra_test

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"darkroom/internal/table/cassandra"
)

func TestParseDSN(t *testing.T) {
	tests := map[string]cassandra.Config{
		"cassandra://host/darkroom": {Hosts: []string{"host"}, Keyspace: "darkroom"},
		"cassandra://10.0.0.1:9042,b.example:19042,c/k_1?dc=dc1&consistency=quorum": {
			Hosts: []string{"10.0.0.1:9042", "b.example:19042", "c"}, Keyspace: "k_1", Datacenter: "dc1", Consistency: "quorum"},
		"cassandra://[::1]:9042,[fe80::2]/k": {Hosts: []string{"[::1]:9042", "[fe80::2]"}, Keyspace: "k"},
		"cassandra://me:p%40ss%2F%3A@h:1/k?replication=dc1:3,dc-2:2": {Hosts: []string{"h:1"}, Keyspace: "k", Username: "me",
			Password: "p@ss/:", Replication: map[string]int{"dc1": 3, "dc-2": 2}},
		"cassandra://me@h/k?consistency=LOCAL_ONE": {Hosts: []string{"h"}, Keyspace: "k", Username: "me",
			Consistency: "LOCAL_ONE"},
		"cassandra://h/k?host_lookup=false":  {Hosts: []string{"h"}, Keyspace: "k", NoHostLookup: true},
		"cassandra://h,i/k?host_lookup=true": {Hosts: []string{"h", "i"}, Keyspace: "k"},
	}
	for dsn, want := range tests {
		if got, err := cassandra.ParseDSN(dsn); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %+v, %v, want %+v", dsn, got, err, want)
		}
	}
}

func TestParseDSNRefuses(t *testing.T) {
	tests := map[string]string{
		"":                                        "another scheme",
		"tcp://h:1":                               "another scheme",
		"cassandra:h/k":                           "another scheme",
		"cassandra:///k":                          `"" is no host`,
		"cassandra://h":                           "keyspace",
		"cassandra://h/":                          "keyspace",
		"cassandra://h/K":                         "keyspace",
		"cassandra://h/k/l":                       "keyspace",
		"cassandra://h/1k":                        "keyspace",
		"cassandra://h,/k":                        `"" is no host`,
		"cassandra://h:x/k":                       `"h:x" is no host`,
		"cassandra://h:0/k":                       `"h:0" is no host`,
		"cassandra://h:65536/k":                   `"h:65536" is no host`,
		"cassandra://::1/k":                       `"::1" is no host`,
		"cassandra://[::1/k":                      `"[::1" is no host`,
		"cassandra://a b/k":                       `"a b" is no host`,
		"cassandra://h/k#x":                       "fragment",
		"cassandra://h/k?dc":                      "dc must be given once, with a value",
		"cassandra://h/k?dc=a&dc=b":               "dc must be given once",
		"cassandra://h/k?dc=a'b":                  "datacenter",
		"cassandra://h/k?color=red":               `unknown option "color"`,
		"cassandra://h/k?consistency=few":         "no consistency",
		"cassandra://h/k?consistency=any":         "no consistency",
		"cassandra://h/k?consistency=serial":      "no consistency",
		"cassandra://h/k?replication=3":           "datacenter:replicas",
		"cassandra://h/k?replication=a:1,a:2":     "datacenter:replicas",
		"cassandra://h/k?replication=a:0":         "replication of 0",
		"cassandra://h/k?replication=a%27%3A+1:1": "datacenter",
		"cassandra://h/k?host_lookup=no":          "neither true nor false",
		"cassandra://h,i/k?host_lookup=false":     "takes one host",
		"cassandra://h/k?%zz":                     "invalid URL escape",
		"cassandra://:secret@h/k":                 "a password without a user",
	}
	for dsn, says := range tests {
		got, err := cassandra.ParseDSN(dsn)
		if err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "cassandra://") {
			t.Errorf("%s gives %+v, %v, want an error with %q", dsn, got, err, says)
		}
	}
}

func TestErrorsKeepThePassword(t *testing.T) {
	for _, dsn := range []string{"cassandra://me:sec%zzret@h/k", "cassandra://me:secret@h:x/k", "cassandra://me:secret@h/k?a=b"} {
		if _, err := cassandra.ParseDSN(dsn); err == nil || strings.Contains(err.Error(), "secret") ||
			strings.Contains(err.Error(), "me:sec") {
			t.Errorf("%s gives %v", dsn, err)
		}
	}
}

func TestConsistencyAndReplicationFollowTheCluster(t *testing.T) {
	one, three := cassandra.Config{Keyspace: "k"}, cassandra.Config{Keyspace: "k", Consistency: "all",
		Replication: map[string]int{"b": 2, "a": 3}}
	for _, tt := range []struct {
		c            cassandra.Config
		nodes        int
		level, class string
	}{
		{one, 1, "ONE", "{'class': 'SimpleStrategy', 'replication_factor': 1}"},
		{one, 3, "LOCAL_QUORUM", ""},
		{three, 1, "ALL", "{'class': 'NetworkTopologyStrategy', 'a': 3, 'b': 2}"},
		{three, 3, "ALL", "{'class': 'NetworkTopologyStrategy', 'a': 3, 'b': 2}"},
	} {
		if level, err := tt.c.TestConsistency(tt.nodes); level != tt.level || err != nil {
			t.Errorf("with %d nodes %+v reads at %s, %v", tt.nodes, tt.c, level, err)
		}
		if class, err := tt.c.TestReplication(tt.nodes); class != tt.class || (err == nil) != (tt.class != "") {
			t.Errorf("with %d nodes %+v is replicated %s, %v", tt.nodes, tt.c, class, err)
		}
	}
}

func FuzzParseDSN(f *testing.F) {
	for _, dsn := range []string{"cassandra://u:p@h:1,[::1]:2/k?dc=a&consistency=ONE&replication=a:1", "cassandra://h/k",
		"cassandra://%zz@h/k", "cassandra://h/k?dc=%00", "cassandra://@@/k"} {
		f.Add(dsn)
	}
	f.Fuzz(func(t *testing.T, dsn string) {
		c, err := cassandra.ParseDSN(dsn)
		if err != nil {
			if !reflect.DeepEqual(c, cassandra.Config{}) {
				t.Errorf("an error comes with %+v", c)
			}
			return
		}
		names := append(slices.Collect(maps.Keys(c.Replication)), c.Keyspace, c.Datacenter) // these become CQL
		if len(c.Hosts) == 0 || slices.Contains(c.Hosts, "") || c.Keyspace == "" ||
			strings.ContainsAny(strings.Join(names, ""), "'\"; ,{}\n\x00") {
			t.Errorf("%q is taken for %+v", dsn, c)
		}
	})
}
