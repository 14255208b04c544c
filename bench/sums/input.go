package sums

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// Partitions is how many a topic of events has.
	Partitions = 4
	// span is the event time over which the events are spread evenly, so that every window holds as many.
	span = 5 * time.Minute
	// base is the first event's time, in milliseconds since 1970.
	base = 1_600_000_000_000
)

// Input is a topic full of events.
type Input struct {
	Events int
	Keys   int
}

// event is the i-th event.
func (in Input) event(i int) (key string, value Event, at time.Time) {
	ms := int64(i) * span.Milliseconds() / int64(in.Events)
	return "k" + strconv.Itoa(i%in.Keys), Event{ID: int64(i), Size: int64(i) * 7919 % 1000}, time.UnixMilli(base + ms)
}

// Expected is what every engine must say of the events. No other way of summing is as plain.
func (in Input) Expected() Total {
	type place struct {
		start int64
		key   string
	}
	type sum struct{ size, count int64 }
	all := map[place]sum{}
	for i := range in.Events {
		key, value, at := in.event(i)
		p := place{at.Truncate(Window).UnixMilli(), key}
		s := all[p]
		all[p] = sum{s.size + value.Size, s.count + 1}
	}
	var t Total
	for p, s := range all {
		t.add(p.start, p.key, s.size, s.count)
	}
	return t
}

// Fill makes the topic. A key is in one partition only.
func (in Input) Fill(ctx context.Context, brokers []string, topic string) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.DefaultProduceTopic(topic),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(20*time.Millisecond), kgo.MaxBufferedRecords(200_000))
	if err != nil {
		return fmt.Errorf("open kafka client: %w", err)
	}
	defer cl.Close()
	// The events are old: a broker's usual retention would remove them.
	forever := "-1"
	_, err = kadm.NewClient(cl).CreateTopic(ctx, Partitions, 1, map[string]*string{"retention.ms": &forever}, topic)
	if err != nil {
		return fmt.Errorf("make topic %s: %w", topic, err)
	}
	promise := kgo.AbortingFirstErrPromise(cl)
	for i := range in.Events {
		key, value, at := in.event(i)
		cl.Produce(ctx, &kgo.Record{
			Key: []byte(key), Value: fmt.Appendf(nil, `{"id":%d,"size":%d}`, value.ID, value.Size), Timestamp: at,
			Partition: int32(i % in.Keys % Partitions),
		}, promise.Promise())
	}
	for p := range int32(Partitions) {
		cl.Produce(ctx, &kgo.Record{
			Key: []byte(Closer), Value: []byte(`{"id":0,"size":0}`), Partition: p,
			Timestamp: time.UnixMilli(base).Add(span + 2*Window),
		}, promise.Promise())
	}
	return promise.Err()
}
