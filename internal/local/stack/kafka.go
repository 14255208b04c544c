package stack

import (
	"cmp"
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// kafkaCluster is the id of every stack's cluster; a broker of one folder never meets another's.
const kafkaCluster = "MkU3OEVBNTcwNTJENDM2Qk"

func kafkaJava(e Env, class string, args ...string) []string {
	return e.Java([]string{
		"-Xms64m", "-Xmx512m", "-XX:+UseSerialGC", "-Dlog4j2.configurationFile=" + filepath.Join(e.Conf(), "log4j2.xml"),
	}, class, args...)
}

func kafkaConf(e Env) string { return filepath.Join(e.Conf(), "server.properties") }

// formatKafka is what a KRaft broker needs before its first start.
func formatKafka(e Env) []string {
	if _, err := os.Stat(filepath.Join(e.Data(), "logs", "meta.properties")); err == nil {
		return nil
	}
	return kafkaJava(e, "kafka.tools.StorageTool", "format", "--ignore-formatted", "-t", kafkaCluster, "-c", kafkaConf(e))
}

// firstTunnel is the port of the first tunnel's listener, unless another is asked for.
const firstTunnel = 9192

// withTunnels gives Kafka a port for each tunnel.
func withTunnels(parts []Part, tunnels map[string]string) []Part {
	parts = slices.Clone(parts)
	for i := range parts {
		if parts[i].Name != "kafka" {
			continue
		}
		parts[i].Ports = slices.Clone(parts[i].Ports)
		for n, name := range slices.Sorted(maps.Keys(tunnels)) {
			parts[i].Ports = append(parts[i].Ports, Port{name, firstTunnel + n})
		}
	}
	return parts
}

// Tunnels are Kafka's addresses as those see them who reach it through a tunnel, by name.
func (e Env) Tunnels() map[string]string { return e.s.o.Tunnels }

// Kafka is where the part finds Kafka.
func (e Env) Kafka() string { return cmp.Or(e.Tunnels()[e.Name()], e.AddrOf("kafka")) }

func runKafka(e Env) []string { return kafkaJava(e, "kafka.Kafka", kafkaConf(e)) }

// kafkaAnswers asks for the brokers, which a broker names when the controller lets it serve.
func kafkaAnswers(ctx context.Context, e Env) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(e.Addr("kafka")), kgo.MetadataMinAge(lookEvery))
	if err != nil {
		return err
	}
	defer client.Close()
	brokers, err := kadm.NewClient(client).ListBrokers(ctx)
	if err != nil {
		return err
	}
	if len(brokers) == 0 {
		return errNotYet
	}
	return nil
}

func kafkaAddress(e Env) (string, []Variable, error) {
	addr := e.Addr("kafka")
	return addr, []Variable{{"DARKROOM_KAFKA", addr}}, nil
}
