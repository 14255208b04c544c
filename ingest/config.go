package ingest

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"darkroom/internal/pixels"
	"darkroom/internal/pixels/engine"
	"darkroom/internal/signedurl"
	"darkroom/internal/variant"
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

	Variants         Variants
	Keys             signedurl.Keys // that signed URLs count with; none if empty
	RequireSignature bool           // content is sent to signed URLs only
}

// Variants says which variants are made on request, and what that may take.
type Variants struct {
	engine.Choice

	Processes int           // variants made at a time
	Waiting   int           // that wait for their turn; more are refused
	Timeout   time.Duration // of making one; the wait may take as long again
	MaxPixels int64         // of an original
	MaxSide   int           // of a variant
	Sizes     []Size        // the only ones that are made; any up to MaxSide if there are none
}

// Size is a box as a request gives it. A side that is not given is 0.
type Size struct{ Width, Height int }

// UnmarshalText reads a size: 800 is a width, 300x200 a box, x200 a height.
func (s *Size) UnmarshalText(text []byte) error {
	m := sizePattern.FindStringSubmatch(string(text))
	if m == nil || m[1]+m[2] == "" {
		return fmt.Errorf("%q: must be a width such as 800, a box such as 300x200, or a height such as x200", text)
	}
	s.Width, _ = strconv.Atoi(m[1]) // digits or nothing, as the height
	s.Height, _ = strconv.Atoi(m[2])
	return nil
}

func (s Size) String() string {
	text := ""
	if s.Width > 0 {
		text = strconv.Itoa(s.Width)
	}
	if s.Height > 0 {
		text += "x" + strconv.Itoa(s.Height)
	}
	return text
}

var sizePattern = regexp.MustCompile(`^([1-9]\d{0,4})?(?:x([1-9]\d{0,4}))?$`)

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	processes, _ := variant.Share(1)
	return Config{
		MaxBytes:      64 << 20,
		SweepAfter:    30 * time.Second,
		SweepEvery:    5 * time.Second,
		LeftoverAfter: 24 * time.Hour,
		LeaseFor:      10 * time.Second,
		StallAfter:    30 * time.Second,
		KafkaWait:     time.Second,
		Variants: Variants{
			Choice: engine.Choice{Engine: engine.Auto}, Processes: processes, Waiting: 64, Timeout: 30 * time.Second,
			MaxPixels: pixels.DefaultLimits.MaxPixels, MaxSide: 4096,
		},
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
	if c.RequireSignature && len(c.Keys) == 0 {
		wrong("RequireSignature", "needs keys")
	}
	v := c.Variants
	if v.Processes < 1 {
		wrong("Variants.Processes", "is not positive")
	}
	if v.Waiting < 0 {
		wrong("Variants.Waiting", "is negative")
	}
	if v.MaxPixels < 1 {
		wrong("Variants.MaxPixels", "is not positive")
	}
	if v.MaxSide < 1 || v.MaxSide > pixels.MaxSide {
		wrong("Variants.MaxSide", fmt.Sprintf("is not between 1 and %d", pixels.MaxSide))
	}
	for _, s := range v.Sizes {
		if max(s.Width, s.Height) > v.MaxSide {
			wrong("Variants.Sizes", fmt.Sprintf("has %s, of which a side is longer than %d", s, v.MaxSide))
		}
	}
	for _, d := range []struct {
		field string
		value time.Duration
	}{
		{"SweepAfter", c.SweepAfter}, {"SweepEvery", c.SweepEvery}, {"LeftoverAfter", c.LeftoverAfter},
		{"LeaseFor", c.LeaseFor}, {"StallAfter", c.StallAfter}, {"KafkaWait", c.KafkaWait},
		{"Variants.Timeout", v.Timeout},
	} {
		if d.value <= 0 {
			wrong(d.field, "is not positive")
		}
	}
	return errors.Join(errs...)
}
