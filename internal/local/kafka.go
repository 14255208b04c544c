package local

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/twmb/franz-go/pkg/kfake"
)

// KafkaOptions say where the broker keeps its data and what it serves.
type KafkaOptions struct {
	Dir    string
	Port   int              // 0 picks a free one
	Topics map[string]int32 // partitions by name; a topic that is there already is left as it is
}

// Kafka is an embedded broker. Every acknowledged record has been synced to disk. Records are kept for ever: the tables
// can be built again from them.
type Kafka struct {
	cluster *kfake.Cluster
	close   func()
}

// StartKafka starts the broker.
func StartKafka(o KafkaOptions) (*Kafka, error) {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("find kafka folder: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make kafka folder: %w", err)
	}
	opts := []kfake.Opt{kfake.NumBrokers(1), kfake.Ports(o.Port), kfake.DataDir(dir), kfake.SyncWrites()}
	for name, partitions := range o.Topics {
		opts = append(opts, kfake.SeedTopics(partitions, name))
	}
	cluster, err := kfake.NewCluster(opts...)
	if err != nil {
		return nil, fmt.Errorf("start kafka: %w", err)
	}
	return &Kafka{cluster, sync.OnceFunc(cluster.Close)}, nil
}

// Addr is the broker's address, host:port.
func (k *Kafka) Addr() string { return k.cluster.ListenAddrs()[0] }

// Close stops the broker. A second call does nothing.
func (k *Kafka) Close() error {
	k.close()
	return nil
}
