package deadletter

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"darkroom/internal/event"
)

const (
	// Records and bytes that wait for their acknowledgement together. A record of more bytes is alone.
	batchRecords = 500
	batchBytes   = 512 << 10
	// A batch that is not acknowledged within this has lost its broker.
	batchWait = 30 * time.Second
)

// The reasons for which a letter alone cannot be replayed.
var (
	ErrGone     = errors.New("the record is there no more")
	ErrNoValue  = errors.New("the record has no value")
	ErrTooOften = fmt.Errorf("it has been replayed %d times", event.MaxReplays)
	ErrTooLarge = errors.New("the record is too large for its topic")
)

// Result is what became of a letter that was to be replayed.
type Result struct {
	Letter Letter
	Err    error // why it was not
}

// Replay produces the records of letters that wait to their topics once more, and notes it. A letter is noted only when
// its record is acknowledged by all in-sync replicas, and reported only when the note is. So what is cut short is at
// worst repeated by the next Replay, as the replay of the same number, which is known as a repeat wherever it arrives.
// A letter that cannot be replayed is reported with the reason and does not keep the others; an error ends all.
func (t *Topic) Replay(ctx context.Context, letters []Letter, report func(Result)) error {
	if err := t.destinations(ctx, letters); err != nil {
		return err
	}
	found := map[string]bool{}
	b := batch{topic: t, report: report}
	err := t.Read(ctx, letters, func(l Letter) error {
		found[l.ID] = true
		return b.add(ctx, l)
	})
	if err == nil {
		err = b.flush(ctx)
	}
	if err != nil {
		return err
	}
	for _, l := range letters {
		if !found[l.ID] {
			report(Result{l, ErrGone})
		}
	}
	return nil
}

// destinations fails unless every topic that a letter goes to exists.
func (t *Topic) destinations(ctx context.Context, letters []Letter) error {
	checked := map[string]bool{}
	for _, l := range letters {
		if checked[l.Topic] {
			continue
		}
		checked[l.Topic] = true
		if err := t.exists(ctx, l.Topic); err != nil {
			return fmt.Errorf("replay letter %s: %w", l.ID, err)
		}
	}
	return nil
}

// batch are letters that are replayed and noted together.
type batch struct {
	topic   *Topic
	report  func(Result)
	letters []Letter
	bytes   int
}

func (b *batch) add(ctx context.Context, l Letter) error {
	switch {
	case len(l.Value) == 0 && l.Truncated:
		b.report(Result{l, ErrGone})
		return nil
	case len(l.Value) == 0:
		b.report(Result{l, ErrNoValue})
		return nil
	case l.Replays >= event.MaxReplays:
		b.report(Result{l, ErrTooOften})
		return nil
	}
	size := len(l.recordKey) + len(l.Value)
	if len(b.letters) == batchRecords || b.bytes+size > batchBytes {
		if err := b.flush(ctx); err != nil {
			return err
		}
	}
	b.letters, b.bytes = append(b.letters, l), b.bytes+size
	return nil
}

// flush produces the records, then a note of each that was acknowledged.
func (b *batch) flush(ctx context.Context) error {
	records := make([]*kgo.Record, len(b.letters))
	for i, l := range b.letters {
		records[i] = replay(l)
	}
	failed, err := b.topic.produce(ctx, records)
	if err != nil {
		return err
	}
	var notes []*kgo.Record
	var noted []Letter
	for i, l := range b.letters {
		if failed[i] != nil {
			b.report(Result{l, failed[i]})
			continue
		}
		value, err := event.Replayed{ID: l.ID, Time: time.Now(), Replays: l.Replays + 1}.Encode()
		if err != nil {
			return err
		}
		notes = append(notes, &kgo.Record{Topic: b.topic.name, Key: l.Key, Value: value})
		noted = append(noted, l)
	}
	failed, err = b.topic.produce(ctx, notes)
	if err != nil {
		return err
	}
	for i, l := range noted {
		b.report(Result{l, failed[i]})
	}
	b.letters, b.bytes = b.letters[:0], 0
	return nil
}

// replay is the letter's record once more.
func replay(l Letter) *kgo.Record {
	return &kgo.Record{
		Topic: l.Topic, Key: l.recordKey, Value: l.Value, Timestamp: l.Timestamp,
		Headers: []kgo.RecordHeader{
			{Key: event.HeaderLetter, Value: []byte(l.ID)},
			{Key: event.HeaderReplay, Value: strconv.AppendInt(nil, l.Replays+1, 10)},
		},
	}
}

// produce writes records and waits for all of them. A record that is itself at fault fails alone. There is no delivery
// timeout: the client would count it from the record's timestamp, which is old.
func (t *Topic) produce(ctx context.Context, records []*kgo.Record) (failed []error, err error) {
	wait, cancel := context.WithTimeout(ctx, batchWait)
	defer cancel()
	index := make(map[*kgo.Record]int, len(records))
	for i, r := range records {
		index[r] = i
	}
	failed = make([]error, len(records))
	for _, res := range t.cl.ProduceSync(wait, records...) {
		err := res.Err
		if errors.Is(err, kerr.MessageTooLarge) && len(records) > 1 {
			err = t.cl.ProduceSync(wait, res.Record).FirstErr() // others may have made the batch too large
		}
		switch {
		case err == nil:
		case errors.Is(err, kerr.MessageTooLarge):
			failed[index[res.Record]] = ErrTooLarge
		case ctx.Err() != nil:
			return nil, ctx.Err()
		default:
			return nil, fmt.Errorf("write to %s: %w", res.Record.Topic, t.away(err))
		}
	}
	return failed, nil
}
