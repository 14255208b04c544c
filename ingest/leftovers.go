package ingest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"darkroom/internal/blob"
)

// deadLease is how long after its end a lease is removed.
const deadLease = time.Hour

// removeLeftovers removes bodies that belong to no upload, be they whole or not, and leases of the dead.
func (s *Service) removeLeftovers(ctx context.Context) {
	bodies, err := s.oldBodies(ctx)
	if err == nil && len(bodies) > 0 {
		err = s.blobs.Delete(ctx, bodies...)
	}
	leases, lerr := s.deadLeases(ctx)
	if lerr == nil && len(leases) > 0 {
		lerr = s.blobs.Delete(ctx, leases...)
	}
	uerr := s.blobs.AbortUploads(ctx, prefixIncoming, s.cfg.LeftoverAfter)
	if err := errors.Join(err, lerr, uerr); err != nil && ctx.Err() == nil {
		s.log.Warn("remove leftovers", "error", err)
	}
}

// oldBodies returns the bodies that came long ago and that no entry of the journal names.
func (s *Service) oldBodies(ctx context.Context) ([]string, error) {
	old := map[string]bool{}
	for info, err := range s.blobs.List(ctx, prefixIncoming) {
		if err != nil {
			return nil, fmt.Errorf("look for old bodies: %w", err)
		}
		if time.Since(info.ModTime) >= s.cfg.LeftoverAfter {
			old[info.Key] = true
		}
	}
	if len(old) == 0 {
		return nil, nil
	}
	// A body gets its entry within a minute of its last byte, so an entry for one of these is there by now.
	for info, err := range s.blobs.List(ctx, prefixJournal) {
		if err != nil {
			return nil, fmt.Errorf("look for old bodies: %w", err)
		}
		data, _, err := s.blobs.Get(ctx, info.Key)
		if errors.Is(err, blob.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("look for old bodies: %w", err)
		}
		e, err := decodeEntry(info.Key, data)
		if err != nil {
			return nil, fmt.Errorf("keep all old bodies: %w", err) // one of them may be its
		}
		delete(old, e.Incoming)
	}
	return slices.Collect(maps.Keys(old)), nil
}

// deadLeases returns the leases that ran out long ago. One that is refreshed is put anew, so its time shows it.
func (s *Service) deadLeases(ctx context.Context) (keys []string, err error) {
	for info, err := range s.blobs.List(ctx, prefixLeases) {
		if err != nil {
			return nil, fmt.Errorf("look for dead leases: %w", err)
		}
		if time.Since(info.ModTime) >= deadLease+s.cfg.LeaseFor {
			keys = append(keys, info.Key)
		}
	}
	return keys, nil
}
