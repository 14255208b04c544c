package ingest

import (
	"errors"
	"fmt"
	"time"
)

// maxMaxBytes is how much S3 copies at once.
const maxMaxBytes = 5 << 30

// Config says how the service works. DefaultConfig gives every field but Brokers.
type Config struct {
	Brokers  []string // Kafka's, as host:port
	MaxBytes int64    // greatest image, in bytes

	SweepAfter    time.Duration // age at which the sweeper takes over an entry of the journal
	SweepEvery    time.Duration // between two sweeps
	LeftoverAfter time.Duration // age at which a body that belongs to no upload is removed

	LeaseFor   time.Duration // how long a dead upload keeps others off its Idempotency-Key
	StallAfter time.Duration // a body of which no byte arrives for this long is refused
	KafkaWait  time.Duration // how long an upload waits for Kafka before it leaves its event to the sweeper
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{
		MaxBytes:      64 << 20,
		SweepAfter:    30 * time.Second,
		SweepEvery:    5 * time.Second,
		LeftoverAfter: 24 * time.Hour,
		LeaseFor:      10 * time.Second,
		StallAfter:    30 * time.Second,
		KafkaWait:     time.Second,
	}
}

// Validate reports every field that cannot be right, by its name.
func (c Config) Validate() error {
	var errs []error
	wrong := func(field, what string) { errs = append(errs, fmt.Errorf("%s %s", field, what)) }
	if len(c.Brokers) == 0 {
		wrong("Brokers", "names no broker")
	}
	if c.MaxBytes <= 0 || c.MaxBytes > maxMaxBytes {
		wrong("MaxBytes", fmt.Sprintf("is not between 1 and %d", maxMaxBytes))
	}
	for _, d := range []struct {
		field string
		value time.Duration
	}{
		{"SweepAfter", c.SweepAfter}, {"SweepEvery", c.SweepEvery}, {"LeftoverAfter", c.LeftoverAfter},
		{"LeaseFor", c.LeaseFor}, {"StallAfter", c.StallAfter}, {"KafkaWait", c.KafkaWait},
	} {
		if d.value <= 0 {
			wrong(d.field, "is not positive")
		}
	}
	return errors.Join(errs...)
}
