package ingest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"darkroom/internal/blob"
)

// lease says that an upload under an Idempotency-Key is running.
type lease struct {
	Owner string    `json:"owner"` // random
	Until time.Time `json:"until"` // then others take its owner for dead
}

// held is a lease that we have and refresh.
type held struct {
	s    *Service
	key  string
	mine lease
	stop func() // ends the refreshing and waits for it

	// For the refreshing alone until it ended.
	etag string
	lost bool
}

func inProgress() error {
	r := refuse(kindInProgress, "An upload with this Idempotency-Key is running. Repeat the request when it is over.")
	r.retry = retryUpload
	return r
}

// acquire takes the lease on an image. It refuses while another holds it.
func (s *Service) acquire(ctx context.Context, id string) (*held, error) {
	h := &held{s: s, key: prefixLeases + id, mine: lease{Owner: rand.Text()}}
	err := h.take(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var refreshing sync.WaitGroup
	refreshing.Go(func() { h.refresh(ctx) })
	h.stop = func() {
		cancel()
		refreshing.Wait()
	}
	return h, nil
}

// take puts the lease where there is none, or a dead one.
func (h *held) take(ctx context.Context) error {
	for range maxAttempts {
		err := h.put(ctx, blob.PutOptions{IfAbsent: true})
		if !errors.Is(err, blob.ErrExists) {
			return err
		}
		there, etag, err := h.look(ctx)
		if errors.Is(err, blob.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if there.Owner == h.mine.Owner { // ours, from an attempt whose answer was lost
			h.mine, h.etag = there, etag
			return nil
		}
		if time.Now().Before(there.Until) {
			return inProgress()
		}
		if err = h.put(ctx, blob.PutOptions{IfMatch: etag}); !errors.Is(err, blob.ErrChanged) {
			return err
		}
	}
	return inProgress()
}

func (h *held) put(ctx context.Context, o blob.PutOptions) error {
	next := lease{Owner: h.mine.Owner, Until: time.Now().Add(h.s.cfg.LeaseFor).UTC()}
	data, err := json.Marshal(next)
	if err != nil {
		return fmt.Errorf("encode lease: %w", err)
	}
	o.ContentType = jsonType
	etag, err := h.s.blobs.Put(ctx, h.key, data, o)
	if err != nil {
		return fmt.Errorf("put lease: %w", err)
	}
	h.mine, h.etag = next, etag
	return nil
}

func (h *held) look(ctx context.Context) (lease, string, error) {
	data, etag, err := h.s.blobs.Get(ctx, h.key)
	if err != nil {
		return lease{}, "", fmt.Errorf("read lease: %w", err)
	}
	return decodeLease(data), etag, nil
}

// decodeLease reads a lease. One that cannot be read is dead: nothing but the answer 409 depends on it.
func decodeLease(data []byte) lease {
	var l lease
	if json.Unmarshal(data, &l) != nil {
		return lease{}
	}
	return l
}

// expect refuses an upload whose client waits with the body (RFC 9110, section 10.1.1) while another has the key.
func (s *Service) expect(ctx context.Context, id string) error {
	v, err := s.read(ctx, id)
	if err != nil || v.stored() {
		return err
	}
	there, _, err := (&held{s: s, key: prefixLeases + id}).look(ctx)
	if errors.Is(err, blob.ErrNotFound) {
		return nil
	}
	if err == nil && time.Now().Before(there.Until) {
		return inProgress()
	}
	return err
}

// refresh keeps the lease alive until ctx ends or it is another's.
func (h *held) refresh(ctx context.Context) {
	tick := time.NewTicker(h.s.cfg.LeaseFor / 3)
	defer tick.Stop()
	for !h.lost {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := h.put(ctx, blob.PutOptions{IfMatch: h.etag})
		if !errors.Is(err, blob.ErrChanged) {
			continue // done, or S3 is away: the next tick tries again
		}
		there, etag, err := h.look(ctx)
		switch {
		case err == nil && there.Owner == h.mine.Owner: // an attempt whose answer was lost
			h.mine, h.etag = there, etag
		case err == nil || errors.Is(err, blob.ErrNotFound):
			h.lost = true
		}
	}
}

// end stops the refreshing and returns the lease's key, for removal; none if it may be another's by now.
func (h *held) end() []string {
	h.stop()
	if h.lost || !time.Now().Before(h.mine.Until) {
		return nil
	}
	return []string{h.key}
}
