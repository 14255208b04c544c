package service

import "time"

// SetPatience changes how long clients are waited for, and returns the way back.
func SetPatience(d time.Duration) (restore func()) {
	was := patience
	patience = d
	return func() { patience = was }
}
