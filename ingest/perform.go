package ingest

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"

	"darkroom/internal/blob"
)

// perform makes an event happen for a request: durable first, then published. It returns the image's record as it then
// is. With superseded another event was first; the bytes at e.Incoming are still there.
func (s *Service) perform(ctx context.Context, e entry, v version) (version, verdict, error) {
	id := e.Event.ID
	s.busy.add(id)
	v, is, err := s.commit(ctx, e, v)
	switch {
	case err != nil:
		s.abandon(e, err)
	case is == superseded:
		s.tidy.remove([]string{e.key()}, func() { s.busy.remove(id) })
	default:
		s.publish(e)
	}
	return v, is, err
}

// abandon leaves an event that could not be made durable to the sweeper, or to nobody if it can never be.
func (s *Service) abandon(e entry, err error) {
	done := func() { s.busy.remove(e.Event.ID) }
	switch {
	case errors.Is(err, blob.ErrChecksum), errors.Is(err, blob.ErrNotFound):
		s.log.Error("drop an upload whose bytes are not in storage as they came", "event", e.Event.ID, "error", err)
		s.tidy.remove(e.keys(), done)
	case errors.Is(err, errCorrupt): // the record, which people must look at before anything can happen to the image
		s.tidy.remove(e.keys(), done)
	case errors.Is(err, errNotJournaled) && e.Incoming != "":
		// The entry itself must stay, if S3 has it after all: somebody may be at it. Without bytes it will be dropped.
		s.tidy.remove([]string{e.Incoming}, done)
	default:
		done()
	}
}

// publish says to Kafka that the event happened, or leaves that to the sweeper while Kafka is away.
func (s *Service) publish(e entry) {
	if up, _ := s.kafka.state(); !up {
		s.busy.remove(e.Event.ID)
	} else if s.kafka.deliver(e.Event, s.published(e, "request")) == nil {
		return
	}
	if e.Incoming != "" { // its bytes are in their place by now
		s.tidy.remove([]string{e.Incoming}, nil)
	}
}

// published returns what is to be done when Kafka has answered: with its acknowledgement the entry has served.
func (s *Service) published(e entry, by string) func(error) {
	return func(err error) {
		if err != nil {
			s.busy.remove(e.Event.ID)
			return
		}
		s.metrics.published.WithLabelValues(by).Inc()
		s.tidy.remove(e.keys(), func() { s.busy.remove(e.Event.ID) })
	}
}

// ids is a set of events that this process is at, which its own sweeper leaves alone.
type ids struct {
	mu  sync.Mutex
	set map[string]struct{}
}

// add reports false if the id is there already.
func (s *ids) add(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, there := s.set[id]; there {
		return false
	}
	s.set[id] = struct{}{}
	return true
}

func (s *ids) remove(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.set, id)
}

// parseSHA reads a SHA-256 in hexadecimal.
func parseSHA(s string) (sum [32]byte, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(sum) {
		return sum, fmt.Errorf("%q is no SHA-256", s)
	}
	return [32]byte(b), nil
}
