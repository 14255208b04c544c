package ingest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"darkroom/internal/blob"
)

const (
	probeEvery     = 250 * time.Millisecond // while Kafka is away
	lookEvery      = 5 * time.Second        // while it is not
	maxPause       = 10 * time.Second
	leftoversEvery = time.Hour
	sweepers       = 8 // images at once
	// onlyCount is an age that no entry has.
	onlyCount = time.Duration(math.MaxInt64)
)

// Run finishes what crashes and outages of Kafka left in the journal, until ctx ends; then it waits, shortly, for what
// is under way. It returns nil.
func (s *Service) Run(ctx context.Context) error {
	s.look(ctx)
	_, _ = s.sweep(ctx, 0) // what is there from before belongs to nobody, or to another instance that will not mind
	s.removeLeftovers(ctx)
	sweep, probe, look := time.NewTicker(s.cfg.SweepEvery), time.NewTicker(probeEvery), time.NewTicker(lookEvery)
	leftovers := time.NewTicker(leftoversEvery)
	var patience backoff
	defer func() {
		for _, t := range []*time.Ticker{sweep, probe, look, leftovers} {
			t.Stop()
		}
	}()
	for {
		select {
		case <-ctx.Done():
			s.flush(context.WithoutCancel(ctx))
			return nil
		case <-s.kafka.rose:
			_, _ = s.sweep(ctx, 0)
		case <-probe.C:
			s.comeback(ctx, &patience)
		case <-look.C:
			s.look(ctx)
		case <-sweep.C:
			minAge := s.cfg.SweepAfter
			if up, _ := s.kafka.state(); !up {
				minAge = onlyCount
			}
			_, _ = s.sweep(ctx, minAge)
		case <-leftovers.C:
			s.removeLeftovers(ctx)
		}
	}
}

// comeback looks whether Kafka is back while it is away. Only an event that it takes proves that: it may answer and
// still refuse, and then the journal must not be read over and over.
func (s *Service) comeback(ctx context.Context, b *backoff) {
	if up, _ := s.kafka.state(); up {
		*b = backoff{}
		return
	}
	if time.Now().Before(b.until) || s.kafka.probe(ctx) != nil {
		return
	}
	if left, err := s.sweep(ctx, 0); err == nil && left == 0 {
		s.kafka.set(true, nil) // nothing waits that could prove it
		return
	}
	b.pause = min(max(2*b.pause, probeEvery), maxPause)
	b.until = time.Now().Add(b.pause)
}

// backoff is a pause that grows.
type backoff struct {
	pause time.Duration
	until time.Time
}

// look asks Kafka how it is, before an upload has to find out.
func (s *Service) look(ctx context.Context) {
	if up, _ := s.kafka.state(); up {
		if err := s.kafka.probe(ctx); err != nil && ctx.Err() == nil {
			s.kafka.set(false, err)
		}
	}
}

// journalled is an entry of the journal as the listing shows it.
type journalled struct {
	key string
	age time.Duration
}

// sweep finishes the entries of at least some age and returns how many it left. An image's entries are finished in
// their order, and images side by side. When Kafka does not answer it stops with errAway. It logs what goes wrong, so
// that a caller that comes again need not look.
func (s *Service) sweep(ctx context.Context, minAge time.Duration) (left int, err error) {
	var total, open atomic.Int64
	var oldest time.Duration
	group, working := errgroup.WithContext(ctx)
	group.SetLimit(sweepers)
	var mine []journalled // the entries of one image, which follow each other in the listing
	finish := func() {
		if batch := mine; len(batch) > 0 && working.Err() == nil {
			group.Go(func() error { return s.finishAll(working, batch, &open) })
		}
		mine = nil
	}
	var failed error
	for info, err := range s.blobs.List(ctx, prefixJournal) {
		if err != nil {
			failed = err
			break
		}
		total.Add(1)
		open.Add(1)
		age := time.Since(info.ModTime)
		oldest = max(oldest, age)
		if len(mine) > 0 && imageOfKey(mine[0].key) != imageOfKey(info.Key) {
			finish()
		}
		if age >= minAge {
			mine = append(mine, journalled{info.Key, age})
		}
	}
	finish()
	err = errors.Join(failed, group.Wait())
	if err != nil && ctx.Err() == nil && !errors.Is(err, errAway) {
		s.log.Warn("sweep the journal", "error", err)
	}
	s.metrics.journalEntries.Set(float64(open.Load()))
	s.metrics.journalOldest.Set(oldest.Seconds())
	return int(open.Load()), err
}

// finishAll finishes the entries of one image in the order of their events.
func (s *Service) finishAll(ctx context.Context, entries []journalled, open *atomic.Int64) error {
	slices.SortFunc(entries, func(a, b journalled) int { return timeOfID(a.key).Compare(timeOfID(b.key)) })
	for _, e := range entries {
		done, err := s.finishEntry(ctx, e)
		if err != nil {
			return err
		}
		if done {
			open.Add(-1)
		}
	}
	return nil
}

// finishEntry does what is left to do of an entry: whatever happened to the process that put it, the image's bytes are
// whole, so it is made durable, as if by that process, and published.
func (s *Service) finishEntry(ctx context.Context, j journalled) (done bool, err error) {
	id := j.key[len(prefixJournal):]
	if !s.busy.add(id) {
		return false, nil // a request of this process is at it
	}
	ours := true
	defer func() {
		if ours {
			s.busy.remove(id)
		}
	}()
	data, _, err := s.blobs.Get(ctx, j.key)
	if errors.Is(err, blob.ErrNotFound) {
		return true, nil // another instance was faster
	}
	if err != nil {
		return false, fmt.Errorf("read journal: %w", err)
	}
	e, err := decodeEntry(j.key, data)
	if err != nil {
		s.unreadable(j.key, err)
		return false, nil
	}
	is, err := s.redo(ctx, e)
	if errors.Is(err, errCorrupt) {
		s.unreadable(j.key, err)
		return false, nil
	}
	if errors.Is(err, blob.ErrNotFound) || errors.Is(err, blob.ErrChecksum) {
		ours = false
		s.abandon(e, err)
		return true, nil
	}
	if err != nil {
		return false, err
	}
	ours = false
	if is == superseded {
		s.log.Info("drop a journal entry of an upload that another one forestalled", "event", id)
		s.tidy.remove(e.keys(), func() { s.busy.remove(id) })
		return true, nil
	}
	return true, s.kafka.deliver(e.Event, s.published(e, "sweeper"))
}

// redo makes an entry's event durable unless it is.
func (s *Service) redo(ctx context.Context, e entry) (verdict, error) {
	v, err := s.read(ctx, e.Event.Image.ImageID)
	if err != nil {
		return happens, err
	}
	if _, is := v.take(e.Event); is != happens {
		return is, nil
	}
	if err := s.promote(ctx, e); err != nil {
		return happens, err
	}
	_, is, err := s.settle(ctx, e.Event, v)
	return is, err
}

// unreadable says so, once, of an entry that is none of ours, or whose image's record is not. It is left for people to
// look at.
func (s *Service) unreadable(key string, err error) {
	if s.strange.add(key) {
		s.log.Error("leave a journal entry that cannot be finished", "key", key, "error", err)
	}
}
