// Package presum sums what a bundle holds by window and key before it is shuffled, so that what is shuffled grows with
// the keys and not with the elements. A runner need not do so by itself, and Beam's Flink runner does not for Go.
package presum

import (
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
)

// Bundle holds the sums of a bundle: for each window and key a row of as many integers as its width says. A DoFn makes
// one when its bundle starts and flushes it when the bundle ends. It is not safe for concurrent use.
type Bundle struct {
	window int64 // milliseconds
	width  int
	groups map[int64]*group
	last   *group // of the element before: most are of the same window
}

// group is the sums of one window.
type group struct {
	start int64
	at    beam.EventTime // the earliest in it, which cannot be later than the watermark allows
	index map[string]int // of a key's row
	keys  []string
	sums  []int64 // the rows, one after another
}

// NewBundle returns an empty bundle for fixed windows of the length given, with rows of width integers.
func NewBundle(window time.Duration, width int) *Bundle {
	return &Bundle{window: window.Milliseconds(), width: width, groups: map[int64]*group{}}
}

// Row returns the sums of a key in the window of an event time, to be added to before the next call.
func (b *Bundle) Row(at beam.EventTime, key []byte) []int64 { return b.group(at).row(key, b.width) }

func (g *group) row(key []byte, width int) []int64 {
	i, ok := g.index[string(key)]
	if !ok {
		i = len(g.keys)
		k := string(key)
		g.keys, g.index[k] = append(g.keys, k), i
		for range width {
			g.sums = append(g.sums, 0)
		}
	}
	return g.sums[i*width : (i+1)*width]
}

func (b *Bundle) group(at beam.EventTime) *group {
	ms := at.Milliseconds()
	start := ms - ((ms%b.window)+b.window)%b.window
	if b.last == nil || b.last.start != start {
		g, ok := b.groups[start]
		if !ok {
			g = &group{start: start, at: at, index: map[string]int{}}
			b.groups[start] = g
		}
		b.last = g
	}
	b.last.at = min(b.last.at, at)
	return b.last
}

// Each calls f with every key's sums, at an event time in their window.
func (b *Bundle) Each(f func(at beam.EventTime, key string, sums []int64)) {
	for _, g := range b.groups {
		for i, k := range g.keys {
			f(g.at, k, g.sums[i*b.width:(i+1)*b.width])
		}
	}
}
