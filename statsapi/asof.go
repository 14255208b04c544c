package statsapi

// partition is one partition of a topic.
type partition struct {
	topic string
	id    int32
}

// offsets is an offset for each partition.
type offsets map[partition]int64

// reaches reports whether all records before the given ends have been consumed.
func (o offsets) reaches(ends offsets) bool {
	for p, end := range ends {
		if o[p] < end {
			return false
		}
	}
	return true
}

// promise is a pipeline's word that every event before a time is in the tables. The changes that make it true were
// published before the word, so the copy keeps it once all that the topics held when the word was seen is consumed.
type promise struct {
	completeTo int64   // microseconds
	ends       offsets // nil until they are known
}

// promises decide when as_of moves. Two are enough, however many arrive while the consumer is behind: the one that it
// works towards, which therefore is kept at some time, and the newest.
type promises struct {
	current, newest *promise
}

// saw takes note of a promise.
func (p *promises) saw(completeTo int64) {
	switch {
	case p.current == nil:
		p.current = &promise{completeTo: completeTo}
	case p.newest != nil && p.newest.completeTo >= completeTo || p.current.completeTo >= completeTo:
		// An older word says nothing new.
	default:
		p.newest = &promise{completeTo: completeTo}
	}
}

// wantEnds reports whether a promise waits to be told where the topics end.
func (p *promises) wantEnds() bool {
	return p.current != nil && p.current.ends == nil || p.newest != nil && p.newest.ends == nil
}

// setEnds tells where the topics ended at some moment after all promises were seen.
func (p *promises) setEnds(ends offsets) {
	for _, x := range []*promise{p.current, p.newest} {
		if x != nil && x.ends == nil {
			x.ends = ends
		}
	}
}

// settle returns the greatest time whose promise is kept once everything before next is consumed, and forgets it.
func (p *promises) settle(next offsets) (completeTo int64, kept bool) {
	for p.current != nil && p.current.ends != nil && next.reaches(p.current.ends) {
		completeTo, kept = p.current.completeTo, true
		p.current, p.newest = p.newest, nil
	}
	return completeTo, kept
}
