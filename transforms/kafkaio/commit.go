package kafkaio

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// settleAfter is how long what was read may take until all that comes of it is written.
const settleAfter = time.Minute

// Group is the consumer group to which the readers of a job tell how far they have come. It has no members.
func Group(job string) string { return "darkroom-" + job }

// place is how far a partition has been read, and how far it had been a while ago, so that all before that is written.
type place struct{ next, settled int64 }

// trail is the places that the readers of a partition have passed, the oldest first.
type trail []passing

type passing struct {
	at   time.Time
	next int64
}

// pass adds a place and returns the trail from the last place on that is settled; the first counts as such. A job that has
// gone back, to read once more what was not done, has settled no more than before.
func (t trail) pass(at time.Time, next int64) trail {
	if len(t) > 0 && next < t[len(t)-1].next {
		t = trail{{at, min(next, t[0].next)}}
	}
	if len(t) == 0 || next > t[len(t)-1].next {
		t = append(t, passing{at, next})
	}
	for len(t) > 1 && at.Sub(t[1].at) >= settleAfter {
		t = t[1:]
	}
	return t
}

// pass notes how far a job has read a partition, which its reader began to read at start.
func (p *pool) pass(job string, key readerKey, start, next int64) place {
	p.mu.Lock()
	defer p.mu.Unlock()
	name, now := job+"/"+key.brokers+"/"+key.String(), time.Now()
	t := p.passed[name]
	if t == nil {
		t = t.pass(now, start)
	}
	t = t.pass(now, next)
	p.passed[name] = t
	return place{next, t[0].next}
}

// commit tells Kafka, now and then, how far the reader of a job has come, for who watches the lag, and in the metadata what
// is settled, from where a job that resumes may begin. It is done in the background, and what is not told now is told with
// the next.
func (r *reader) commit(ctx context.Context, job string, start int64) {
	if job == "" || time.Since(r.commitAsked) < commitEvery {
		return
	}
	r.commitAsked = time.Now()
	at := readers.pass(job, r.key, start, r.next)
	if told := r.told.Load(); told != nil && *told == at {
		return
	}
	offsets := kadm.Offsets{}
	offsets.Add(kadm.Offset{
		Topic: r.key.topic, Partition: r.key.partition, At: at.next, LeaderEpoch: -1, Metadata: strconv.FormatInt(at.settled, 10),
	})
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	go func() {
		defer cancel()
		if err := kadm.NewClient(r.cl).CommitAllOffsets(ctx, Group(job), offsets); err != nil {
			slog.DebugContext(ctx, "tell how far the reader has come", "reader", r.key.String(), "error", err)
			return
		}
		r.told.Store(&at)
	}()
}

// settled returns the offset before which a job has done all of a partition, and false if it has told none.
func settled(ctx context.Context, adm *kadm.Client, job, topic string, partition int32) (int64, bool, error) {
	offsets, err := adm.FetchOffsets(ctx, Group(job))
	if errors.Is(err, kerr.GroupIDNotFound) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("fetch offsets of %s: %w", Group(job), err)
	}
	o, ok := offsets.Lookup(topic, partition)
	if !ok || o.Err != nil {
		return 0, false, o.Err
	}
	if at, err := strconv.ParseInt(o.Metadata, 10, 64); err == nil {
		return at, true, nil
	}
	return o.At, true, nil // one from before the metadata was told
}
