package cassandra

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
)

// What may work a moment later is asked again for retryFor, with pauses that double: a node may restart meanwhile. Within
// each of these the driver itself asks one more node.
const (
	retryFor   = 15 * time.Second
	firstPause = 20 * time.Millisecond
	longPause  = time.Second
)

// retry calls do until it succeeds, fails for good, or time is up. Whatever it is used for may be done twice.
func retry(ctx context.Context, do func() error) error {
	deadline := time.Now().Add(retryFor)
	for pause := firstPause; ; pause = min(2*pause, longPause) {
		err := do()
		if err == nil || !transient(err) || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; before: %w", ctx.Err(), err)
		case <-time.After(pause/2 + rand.N(pause)):
		}
	}
}

// retry tells the operator that the cluster does not answer, and that it does again.
func (s *Store) retry(ctx context.Context, do func() error) error {
	return retry(ctx, func() error {
		err := do()
		switch {
		case err == nil && s.away.CompareAndSwap(true, false):
			s.config.Logger.Info("Cassandra answers again")
		case err != nil && transient(err) && s.away.CompareAndSwap(false, true):
			s.config.Logger.Warn("Cassandra does not answer, asking again", "error", err)
		}
		return err
	})
}

// transient reports whether the same request may succeed later. What a node answers says so by its code; all else is
// the network's doing.
func transient(err error) bool {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, gocql.ErrSessionClosed) || errors.Is(err, gocql.ErrNotFound) {
		return false
	}
	if marshal := gocql.MarshalError(""); errors.As(err, &marshal) {
		return false
	}
	if unmarshal := gocql.UnmarshalError(""); errors.As(err, &unmarshal) {
		return false
	}
	var answer gocql.RequestError
	if !errors.As(err, &answer) {
		return true
	}
	switch answer.Code() {
	case gocql.ErrCodeProtocol, gocql.ErrCodeCredentials, gocql.ErrCodeFunctionFailure, gocql.ErrCodeSyntax,
		gocql.ErrCodeUnauthorized, gocql.ErrCodeInvalid, gocql.ErrCodeConfig, gocql.ErrCodeAlreadyExists:
		return false
	}
	return true
}
