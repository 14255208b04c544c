package statsapi

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"
)

const (
	day     = 24 * time.Hour
	maxStep = 366 * day
)

var stepForm = regexp.MustCompile(`^(?:(\d{1,4})d)?(?:(\d{1,5})h)?(?:(\d{1,6})m)?$`)

var errStep = errors.New("not a step")

// parseStep reads whole days, hours and minutes, such as 1m, 5m, 1h, 1d or 1h30m: Go's durations with days.
func parseStep(s string) (time.Duration, error) {
	parts := stepForm.FindStringSubmatch(s)
	if parts == nil {
		return 0, fmt.Errorf("parse %q: %w", s, errStep)
	}
	var d time.Duration
	for i, unit := range []time.Duration{day, time.Hour, time.Minute} {
		if parts[i+1] == "" {
			continue
		}
		n, err := strconv.Atoi(parts[i+1])
		if err != nil {
			return 0, fmt.Errorf("parse %q: %w", s, err)
		}
		d += time.Duration(n) * unit
	}
	if d < time.Minute || d > maxStep {
		return 0, fmt.Errorf("parse %q: %w", s, errStep)
	}
	return d, nil
}

// formatStep is the shortest form that parseStep reads.
func formatStep(d time.Duration) string {
	var out string
	for _, u := range []struct {
		name string
		unit time.Duration
	}{{"d", day}, {"h", time.Hour}, {"m", time.Minute}} {
		if n := d / u.unit; n > 0 {
			out += strconv.FormatInt(int64(n), 10) + u.name
			d %= u.unit
		}
	}
	return out
}

// floor is the greatest multiple of step, counted from 1970, that is not after t.
func floor(t time.Time, step time.Duration) time.Time {
	micro, s := t.UnixMicro(), step.Microseconds()
	rest := micro % s
	if rest < 0 {
		rest += s
	}
	return time.UnixMicro(micro - rest).UTC()
}

// ceil is the smallest multiple of step that is not before t.
func ceil(t time.Time, step time.Duration) time.Time {
	if f := floor(t, step); !f.Equal(t) {
		return f.Add(step)
	}
	return t.UTC()
}

// ceilMicro is the first microsecond that is not before t.
func ceilMicro(t time.Time) int64 { return ceil(t, time.Microsecond).UnixMicro() }
