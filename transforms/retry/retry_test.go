package retry_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"darkroom/transforms/retry"
)

var errAway = errors.New("away")

func TestDoTriesUntilItSucceeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, last := time.Now(), 0
		err := retry.Do(t.Context(), "put it", func(attempt int) error {
			if last = attempt; attempt < 3 {
				return errAway
			}
			return nil
		})
		if took := time.Since(began); err != nil || last != 3 || took != 300*time.Millisecond {
			t.Errorf("attempt %d after %s: %v", last, took, err)
		}
	})
}

func TestDoGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, last := time.Now(), 0
		err := retry.Do(t.Context(), "put it", func(attempt int) error { last = attempt; return errAway })
		if !errors.Is(err, errAway) || err.Error() != "put it, 6 times: away" || last != 6 {
			t.Errorf("attempt %d: %v", last, err)
		}
		if took := time.Since(began); took != 3100*time.Millisecond {
			t.Errorf("it took %s", took) // and no pause after the last attempt
		}
	})
}

func TestDoEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	last := 0
	err := retry.Do(ctx, "put it", func(attempt int) error { last = attempt; cancel(); return errAway })
	if !errors.Is(err, context.Canceled) || last != 1 {
		t.Errorf("attempt %d: %v", last, err)
	}
}
