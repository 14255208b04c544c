// Package monitor watches a streaming pipeline from outside: how far its readers are behind, up to when its figures are
// complete, what its steps count, and whether it stands still. It knows Kafka and Prometheus and nothing of Beam.
package monitor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Target is a pipeline and where it leaves its traces.
type Target struct {
	Pipeline     string
	Brokers      []string
	Topic, Group string // Group holds how far the readers of Topic have come
	// CompleteTo is the event time before which all is in the tables; zero if there is none yet.
	CompleteTo func(context.Context) (time.Time, error)
	// Counters are what the steps of the running job count; nil if there is no job.
	Counters func(context.Context) ([]Counter, error)
}

// Counter is a counter of one step.
type Counter struct {
	Step, Namespace, Name string
	Value                 int64
}

// Options say how to watch.
type Options struct {
	Every      time.Duration // between two looks
	StallAfter time.Duration // how long a pipeline may stand still before it counts as stalled
}

// Monitor watches one pipeline. It is a Prometheus collector of what it saw when it looked last: a scrape asks nobody.
type Monitor struct {
	target  Target
	options Options
	log     *slog.Logger
	cl      *kgo.Client
	adm     *kadm.Client

	mu   sync.Mutex
	last sight
	stop standstill
}

// place is how far the reader of one partition is, and the log.
type place struct {
	partition     int32
	position, end int64
}

func (p place) lag() int64 { return max(0, p.end-p.position) }

// sight is what one look saw. What could not be seen is absent.
type sight struct {
	places     []place
	completeTo time.Time
	counters   []Counter
}

func (s sight) lag() (sum int64) {
	for _, p := range s.places {
		sum += p.lag()
	}
	return sum
}

// positions is where the readers are, as text to compare.
func (s sight) positions() string {
	var text []string
	for _, p := range s.places {
		text = append(text, fmt.Sprintf("%d:%d", p.partition, p.position))
	}
	return strings.Join(text, " ")
}

// standstill remembers since when what has not moved.
type standstill struct {
	stalled bool

	positions string
	lag       int64     // when they moved
	moved     time.Time // or had no more to read than then

	completeTo time.Time
	completed  time.Time // when it moved
}

// New returns a monitor. Close it.
func New(target Target, options Options, log *slog.Logger) (*Monitor, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(target.Brokers...))
	if err != nil {
		return nil, fmt.Errorf("open kafka client: %w", err)
	}
	log = log.With("pipeline", target.Pipeline)
	return &Monitor{target: target, options: options, log: log, cl: cl, adm: kadm.NewClient(cl)}, nil
}

// Close closes the monitor's own connections.
func (m *Monitor) Close() { m.cl.Close() }

// Run looks now and then, until ctx ends.
func (m *Monitor) Run(ctx context.Context) error {
	tick := time.NewTicker(m.options.Every)
	defer tick.Stop()
	for {
		m.Look(ctx, time.Now())
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Look looks once, and says in the log when the pipeline has begun to stand still, and when that has ended.
func (m *Monitor) Look(ctx context.Context, now time.Time) {
	ctx, cancel := context.WithTimeout(ctx, m.options.Every)
	defer cancel()
	seen := m.see(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stop.moved.IsZero() {
		m.stop.moved, m.stop.completed = now, now
	}
	m.last = seen
	why := m.stop.judge(seen, now, m.options.StallAfter)
	switch {
	case why != "" && !m.stop.stalled:
		m.log.Warn("the pipeline stands still: "+why, "lag", seen.lag(), "partitions", describe(seen.places),
			"complete_to", clock(m.stop.completeTo))
	case why == "" && m.stop.stalled:
		m.log.Warn("the pipeline goes on", "lag", seen.lag(), "partitions", describe(seen.places),
			"complete_to", clock(m.stop.completeTo))
	}
	m.stop.stalled = why != ""
}

// judge says why the pipeline counts as stalled; nothing if it does not.
func (s *standstill) judge(seen sight, now time.Time, after time.Duration) string {
	if at := seen.positions(); at != "" && (at != s.positions || seen.lag() <= s.lag) {
		s.positions, s.lag, s.moved = at, seen.lag(), now
	}
	if seen.completeTo.After(s.completeTo) {
		s.completeTo, s.completed = seen.completeTo, now
	}
	switch {
	case now.Sub(s.moved) >= after && seen.lag() > s.lag:
		return fmt.Sprintf("no reader has moved for %v, while the lag has grown", now.Sub(s.moved).Round(time.Second))
	case now.Sub(s.completed) >= after:
		return fmt.Sprintf("complete_to has not moved for %v", now.Sub(s.completed).Round(time.Second))
	}
	return ""
}

// see gathers what can be seen. What cannot is said at debug level: a part that is away is the business of others.
func (m *Monitor) see(ctx context.Context) (s sight) {
	var errs [3]error
	var wg sync.WaitGroup
	wg.Go(func() { s.places, errs[0] = m.places(ctx) })
	wg.Go(func() { s.completeTo, errs[1] = m.target.CompleteTo(ctx) })
	wg.Go(func() { s.counters, errs[2] = m.target.Counters(ctx) })
	wg.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		m.log.DebugContext(ctx, "look after the pipeline", "error", err)
	}
	return s
}

// places is where the readers are: those that have said so.
func (m *Monitor) places(ctx context.Context) ([]place, error) {
	told, err := m.adm.FetchOffsets(ctx, m.target.Group)
	if errors.Is(err, kerr.GroupIDNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("fetch offsets of %s: %w", m.target.Group, err)
	}
	ends, err := m.adm.ListCommittedOffsets(ctx, m.target.Topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("list ends of %s: %w", m.target.Topic, err)
	}
	var all []place
	for _, end := range ends[m.target.Topic] {
		if at, ok := told.Lookup(m.target.Topic, end.Partition); ok && at.Err == nil && at.At >= 0 {
			all = append(all, place{end.Partition, at.At, end.Offset})
		}
	}
	slices.SortFunc(all, func(a, b place) int { return cmp.Compare(a.partition, b.partition) })
	return all, nil
}

// describe is the places for a person: partition, position and end of each.
func describe(places []place) string {
	if len(places) == 0 {
		return "none is known"
	}
	var text []string
	for _, p := range places {
		text = append(text, fmt.Sprintf("%d at %d of %d", p.partition, p.position, p.end))
	}
	return strings.Join(text, ", ")
}

func clock(t time.Time) string {
	if t.IsZero() {
		return "unknown"
	}
	return t.UTC().Format(time.RFC3339)
}
