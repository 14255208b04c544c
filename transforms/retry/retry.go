// Package retry tries again what needs a store: one may be away for a moment.
package retry

import (
	"context"
	"fmt"
	"time"

	"github.com/sethvargo/go-retry"
)

const (
	attempts   = 6
	firstPause = 100 * time.Millisecond // doubles with each attempt: about three seconds in all
)

// Do calls do, with the number of the attempt from 1, until it returns nil; the last error says what was tried how often.
// When ctx ends in a pause, its cause is the error.
func Do(ctx context.Context, what string, do func(attempt int) error) error {
	attempt := 0
	err := retry.Do(ctx, retry.WithMaxRetries(attempts-1, retry.NewExponential(firstPause)), func(context.Context) error {
		attempt++
		return retry.RetryableError(do(attempt))
	})
	switch {
	case err == nil:
		return nil
	case attempt < attempts: // ctx has ended
		return fmt.Errorf("%s: %w", what, err)
	}
	return fmt.Errorf("%s, %d times: %w", what, attempts, err)
}
