package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/schollz/progressbar/v3"

	"darkroom/internal/deadletter"
	"darkroom/internal/event"
)

const (
	shortID   = 12 // characters of an id in a table
	detailCut = 60 // characters of a detail in a table
	namedBad  = 20 // records named that cannot be read; the others are counted
	barFrom   = 20 // letters from which on a bar shows how far a replay is
)

// deadletterCmd reads the topic of dead letters and replays them.
type deadletterCmd struct {
	List   deadletterListCmd   `cmd:"" help:"List the letters that wait to be replayed."`
	Show   deadletterShowCmd   `cmd:"" help:"Show all of a letter, with its record."`
	Replay deadletterReplayCmd `cmd:"" help:"Send the records of letters through the pipeline once more."`
}

// deadletterFlags say where the letters are.
type deadletterFlags struct {
	Kafka         []string `help:"Kafka brokers, as host:port." default:"127.0.0.1:9092" placeholder:"ADDR"`
	RejectedTopic string   `help:"Topic of dead letters." default:"images.rejected"`
}

// with opens the topic and reads its letters. It names on stderr what could not be read.
func (f deadletterFlags) with(ctx context.Context, io stdio,
	do func(*deadletter.Topic, []deadletter.Letter) error,
) error {
	topic, err := deadletter.Open(ctx, f.Kafka, f.RejectedTopic)
	if err != nil {
		return fmt.Errorf("open dead letters: %w", err)
	}
	defer topic.Close()
	letters, bad, err := topic.Letters(ctx)
	if err != nil {
		return fmt.Errorf("read dead letters: %w", err)
	}
	for _, b := range bad[:min(len(bad), namedBad)] {
		fmt.Fprintf(io.err, "cannot read %s/%d@%d: %s\n", f.RejectedTopic, b.Partition, b.Offset, printable(b.Err.Error()))
	}
	if len(bad) > 0 {
		fmt.Fprintf(io.err, "%s of %s can be read neither as letter nor as note\n", count(len(bad), "record"), f.RejectedTopic)
	}
	return do(topic, letters)
}

// letterFilter chooses letters.
type letterFilter struct {
	Stage  string    `help:"Only letters of this transform, such as analyze." placeholder:"NAME"`
	Code   string    `help:"Only letters with this reason, such as blob-missing." placeholder:"CODE"`
	Class  string    `help:"Only letters of this class: permanent or retryable." placeholder:"CLASS"`
	Tenant string    `help:"Only letters of this tenant's images." placeholder:"NAME"`
	Image  string    `help:"Only letters of this image." placeholder:"ID"`
	Since  time.Time `help:"Only records of this time or later, in RFC 3339." placeholder:"TIME"`
	Until  time.Time `help:"Only records before this time, in RFC 3339." placeholder:"TIME"`
	Limit  int       `help:"At most so many letters, those of the oldest records; 0 is all." default:"0"`
}

// Validate checks the flags. Its errors name the flag.
func (f *letterFilter) Validate() error {
	if f.Class != "" && f.Class != string(event.Permanent) && f.Class != string(event.Retryable) {
		return fmt.Errorf("--class: must be %s or %s", event.Permanent, event.Retryable)
	}
	if f.Limit < 0 {
		return errors.New("--limit: must not be negative")
	}
	if !f.Until.IsZero() && !f.Since.Before(f.Until) {
		return errors.New("--until: must be after --since")
	}
	return nil
}

func (f *letterFilter) filter() deadletter.Filter {
	return deadletter.Filter{
		Stage: f.Stage, Code: f.Code, Class: f.Class, Tenant: f.Tenant, Image: f.Image, Since: f.Since, Until: f.Until,
	}
}

type deadletterListCmd struct {
	deadletterFlags
	letterFilter
	All  bool `help:"Also letters that have been replayed."`
	JSON bool `name:"json" help:"Print one JSON object a line."`
}

// Run prints the letters, and how many they are.
func (c *deadletterListCmd) Run(ctx context.Context, io stdio) error {
	return c.with(ctx, io, func(_ *deadletter.Topic, letters []deadletter.Letter) error {
		filter := c.filter()
		filter.Replayed = c.All
		chosen := filter.Of(letters, c.Limit)
		waiting := 0
		for _, l := range chosen {
			if l.State == deadletter.Waiting {
				waiting++
			}
		}
		to, closing := io.out, fmt.Sprintf("%s, %d waiting", count(len(chosen), "letter"), waiting)
		if len(chosen) == 0 {
			closing = fmt.Sprintf("no such letter among %s", count(len(letters), "letter"))
		}
		print := printLetters
		if c.JSON {
			to, print = io.err, printLettersJSON
		}
		if err := print(io.out, chosen); err != nil {
			return fmt.Errorf("print letters: %w", err)
		}
		fmt.Fprintln(to, closing)
		return nil
	})
}

func printLetters(out io.Writer, letters []deadletter.Letter) error {
	if len(letters) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tTIME\tIMAGE\tSTAGE\tCODE\tREPLAYS\tSTATE\tDETAIL")
	for _, l := range letters {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", l.ID[:shortID], l.Timestamp.UTC().Format(time.RFC3339),
			cut(keyText(l.Key), 2*shortID+8), printable(l.Stage), printable(l.Code), l.Replays, l.State,
			cut(printable(l.Detail), detailCut))
	}
	return w.Flush()
}

// letterJSON is a letter as list --json prints it.
type letterJSON struct {
	ID        string           `json:"id"`
	State     deadletter.State `json:"state"`
	Replays   int64            `json:"replays"`
	Stage     string           `json:"stage"`
	Class     string           `json:"class"`
	Code      string           `json:"code"`
	Detail    string           `json:"detail"`
	Attempts  int              `json:"attempts"`
	Software  string           `json:"software"`
	Tenant    string           `json:"tenant,omitempty"`
	Key       string           `json:"key"` // the image's id
	Topic     string           `json:"topic"`
	Partition int32            `json:"partition"`
	Offset    int64            `json:"offset"`
	Timestamp time.Time        `json:"timestamp"`
	Truncated bool             `json:"truncated,omitempty"`
}

func printLettersJSON(out io.Writer, letters []deadletter.Letter) error {
	enc := json.NewEncoder(out)
	for _, l := range letters {
		err := enc.Encode(letterJSON{
			ID: l.ID, State: l.State, Replays: l.Replays, Stage: l.Stage, Class: string(l.Class), Code: l.Code,
			Detail: l.Detail, Attempts: l.Attempts, Software: l.Software, Tenant: l.Tenant, Key: keyText(l.Key),
			Topic: l.Topic, Partition: l.Partition, Offset: l.Offset, Timestamp: l.Timestamp, Truncated: l.Truncated,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

type deadletterShowCmd struct {
	ID string `arg:"" help:"Id of the letter, or as much of its beginning as no other has."`
	deadletterFlags
}

// Run prints the letter.
func (c *deadletterShowCmd) Run(ctx context.Context, io stdio) error {
	return c.with(ctx, io, func(topic *deadletter.Topic, letters []deadletter.Letter) error {
		l, err := deadletter.Find(letters, c.ID)
		if err != nil {
			return fmt.Errorf("show letter: %w", err)
		}
		shown := false
		err = topic.Read(ctx, []deadletter.Letter{l}, func(l deadletter.Letter) error {
			shown = true
			return c.print(io.out, l)
		})
		if err == nil && !shown {
			err = deadletter.ErrGone
		}
		if err != nil {
			return fmt.Errorf("show letter %s: %w", l.ID, err)
		}
		return nil
	})
}

func (c *deadletterShowCmd) print(out io.Writer, l deadletter.Letter) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	partition, offset := l.Place()
	for _, f := range []struct{ name, text string }{
		{"id", l.ID},
		{"state", string(l.State)},
		{"replays", fmt.Sprint(l.Replays)},
		{"stage", l.Stage},
		{"class", string(l.Class)},
		{"code", l.Code},
		{"detail", l.Detail},
		{"attempts", fmt.Sprint(l.Attempts)},
		{"software", l.Software},
		{"tenant", l.Tenant},
		{"key", keyText(l.Key)},
		{"time", l.Timestamp.UTC().Format(time.RFC3339Nano)},
		{"record", fmt.Sprintf("%s/%d@%d", l.Topic, l.Partition, l.Offset)},
		{"letter", fmt.Sprintf("%s/%d@%d", c.RejectedTopic, partition, offset)},
	} {
		fmt.Fprintf(w, "%s\t%s\n", f.name, printable(f.text))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "\n%s\n", valueText(l))
	return err
}

// valueText is a record's value for a person: JSON with its lines, anything else in hex.
func valueText(l deadletter.Letter) string {
	switch {
	case len(l.Value) == 0 && l.Truncated:
		return "the record was too large for the letter, and is there no more"
	case len(l.Value) == 0:
		return "the record has no value"
	}
	var pretty bytes.Buffer
	if json.Indent(&pretty, l.Value, "", "  ") != nil {
		return strings.TrimSuffix(hex.Dump(l.Value), "\n")
	}
	lines := strings.Split(pretty.String(), "\n")
	for i, line := range lines {
		lines[i] = printable(line)
	}
	return strings.Join(lines, "\n")
}

type deadletterReplayCmd struct {
	IDs []string `arg:"" optional:"" name:"id" help:"Ids of letters, or as much of their beginnings as no other has."`
	deadletterFlags
	letterFilter
	All    bool `help:"All letters that wait."`
	DryRun bool `help:"Only say what would be replayed."`
}

// Validate checks the flags. Its errors name the flag.
func (c *deadletterReplayCmd) Validate() error {
	filtered := !c.filter().Empty()
	switch {
	case len(c.IDs) == 0 && !filtered && !c.All:
		return errors.New("name letters by their ids, choose them with a filter such as --code, or give --all")
	case len(c.IDs) > 0 && (filtered || c.All || c.Limit > 0):
		return errors.New("give ids, or filters and --all, not both")
	}
	return c.letterFilter.Validate()
}

// Run replays the letters that wait among those chosen.
func (c *deadletterReplayCmd) Run(ctx context.Context, io stdio) error {
	return c.with(ctx, io, func(topic *deadletter.Topic, letters []deadletter.Letter) error {
		chosen, err := c.choose(io.out, letters)
		if err != nil {
			return fmt.Errorf("replay: %w", err)
		}
		if c.DryRun {
			for _, l := range chosen {
				fmt.Fprintf(io.out, "would replay %s to %s: replay %d of %s, %s\n", l.ID, printable(l.Topic), l.Replays+1,
					keyText(l.Key), printable(l.Code))
			}
			fmt.Fprintf(io.out, "would replay %s\n", count(len(chosen), "letter"))
			return nil
		}
		return c.replay(ctx, io, topic, chosen)
	})
}

// choose returns the letters to replay. It says which of those that were named do not wait.
func (c *deadletterReplayCmd) choose(out io.Writer, letters []deadletter.Letter) (chosen []deadletter.Letter, err error) {
	if len(c.IDs) == 0 {
		return c.filter().Of(letters, c.Limit), nil
	}
	for _, id := range c.IDs {
		l, err := deadletter.Find(letters, id)
		if err != nil {
			return nil, err
		}
		switch {
		case l.State != deadletter.Waiting:
			fmt.Fprintf(out, "letter %s does not wait: it has been replayed, and has not come back\n", l.ID)
		case !slices.ContainsFunc(chosen, func(other deadletter.Letter) bool { return other.ID == l.ID }):
			chosen = append(chosen, l)
		}
	}
	return chosen, nil
}

func (c *deadletterReplayCmd) replay(ctx context.Context, io stdio, topic *deadletter.Topic,
	chosen []deadletter.Letter,
) error {
	var bar *progressbar.ProgressBar
	if len(chosen) >= barFrom {
		bar = newBar(io.err, "replay", int64(len(chosen)))
	}
	done, failed := 0, 0
	err := topic.Replay(ctx, chosen, func(r deadletter.Result) {
		if bar != nil {
			_ = bar.Add(1) // a bar that cannot be drawn harms nothing
		}
		if r.Err == nil {
			done++
			return
		}
		failed++
		fmt.Fprintf(io.err, "cannot replay letter %s: %v\n", r.Letter.ID, r.Err)
	})
	fmt.Fprintf(io.out, "replayed %s\n", count(done, "letter"))
	switch {
	case err != nil:
		return fmt.Errorf("replay: %w", err)
	case failed > 0:
		return fmt.Errorf("replay: %d of %s could not be replayed", failed, count(len(chosen), "letter"))
	}
	return nil
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// keyText is a record's key for a person: an image's id as it is.
func keyText(key []byte) string { return printable(string(key)) }

// printable escapes what a terminal would act upon: letters hold what others sent.
func printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		if unicode.IsGraphic(r) {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

func cut(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}
