package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"darkroom/internal/patient"
)

// topicsLimit bounds the making of the topics.
const topicsLimit = 10 * time.Second

// KafkaOptions say where the broker keeps its data and what it serves.
type KafkaOptions struct {
	Dir    string           // absolute; made if it is missing
	Port   int              // 0 picks a free one; it may differ from start to start
	Topics map[string]int32 // partitions by name; a topic that is there already is left as it is
}

// Kafka is an embedded broker. Every acknowledged record has been synced to disk. Records are kept for ever, at some
// 200 bytes of memory a batch: the tables can be built again from them.
type Kafka struct {
	cluster *kfake.Cluster
	addr    string
	close   func() error
}

// StartKafka starts the broker, which serves on return.
func StartKafka(o KafkaOptions) (*Kafka, error) {
	folder, err := openFolder(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("start kafka: %w", err)
	}
	k, err := startKafka(o, folder)
	if err != nil {
		return nil, fmt.Errorf("start kafka: %w", errors.Join(err, folder.Close()))
	}
	return k, nil
}

func startKafka(o KafkaOptions, folder io.Closer) (*Kafka, error) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(o.Port), kfake.DataDir(o.Dir), kfake.SyncWrites(),
		kfake.ListenFn(listenPatiently), kfake.WithLogger(kafkaLog{}))
	if err != nil {
		return nil, err
	}
	k := &Kafka{cluster: cluster, addr: cluster.ListenAddrs()[0]}
	if err := k.makeTopics(o.Topics); err != nil {
		cluster.Close()
		return nil, err
	}
	k.close = sync.OnceValue(func() error {
		cluster.Close() // writes what makes the next start quick
		return folder.Close()
	})
	return k, nil
}

// makeTopics makes the topics that are missing. The broker's own seeding does so in an empty folder only, and so not
// when a new version of Darkroom has one more.
func (k *Kafka) makeTopics(topics map[string]int32) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(k.addr))
	if err != nil {
		return fmt.Errorf("make topics: %w", err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), topicsLimit)
	defer cancel()
	for name, partitions := range topics {
		_, err := kadm.NewClient(client).CreateTopic(ctx, partitions, 1, nil, name)
		if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			return fmt.Errorf("make topic %s: %w", name, err)
		}
	}
	return nil
}

// Addr is the broker's address, host:port.
func (k *Kafka) Addr() string { return k.addr }

// Close stops the broker. A second call does nothing.
func (k *Kafka) Close() error { return k.close() }

// kafkaLog passes on what the broker calls an error, such as a write to the disk that failed.
type kafkaLog struct{}

// Logf implements kfake.Logger.
func (kafkaLog) Logf(level kfake.LogLevel, format string, args ...any) {
	if level == kfake.LogLevelError {
		slog.Error("kafka: " + fmt.Sprintf(format, args...))
	}
}

func listenPatiently(network, address string) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(context.Background(), network, address) // Listen ends at once
	if err != nil {
		return nil, err
	}
	return patient.Listener{Listener: l}, nil
}
