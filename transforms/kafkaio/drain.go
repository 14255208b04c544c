package kafkaio

import "sync"

var drains sync.Map // job name -> struct{}

// Drain makes the readers of the named job in this process say that nothing is left to read, so that the job ends with
// all that it has read processed and every window fired. The returned function takes it back, for a next job of that
// name. It is for runners whose own cancellation does not free what a job holds.
func Drain(job string) (undo func()) {
	drains.Store(job, struct{}{})
	return func() { drains.Delete(job) }
}

func draining(job string) bool {
	_, ok := drains.Load(job)
	return ok
}
