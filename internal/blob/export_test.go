package blob

import "time"

// SetCallTimeout changes how long a small call may take, and returns the way back.
func SetCallTimeout(d time.Duration) (restore func()) {
	was := callTimeout
	callTimeout = d
	return func() { callTimeout = was }
}
