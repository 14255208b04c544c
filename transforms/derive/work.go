package derive

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	"darkroom/internal/pixels"
	"darkroom/internal/recipe"
	"darkroom/internal/table"
	"darkroom/internal/variant"
)

// work is one image, of which variants are missing.
type work struct {
	fn      *deriver
	lab     *variant.Lab
	image   table.Image
	attempt int
	parts   []part
	outcome
}

// part is what one recipe misses of the image.
type part struct {
	variant.Job
	missing []recipe.Output
}

// run makes what is missing, of all recipes at once. When that cannot be, each is tried by itself, since it may be
// another that is at fault.
func (w *work) run(ctx context.Context) error {
	data, release, err := w.parts[0].Load(ctx, w.lab, w.fn.blobs, w.fn.Options.MaxBytes)
	if err == nil {
		defer release()
		w.counts[BytesIn] = w.image.Bytes
		w.parts = w.selected(data)
		if len(w.parts) == 0 {
			w.counts[PassedOver] = 1
			return nil
		}
		err = w.make(ctx, data, w.parts)
	}
	var refused *pixels.Error
	if !errors.As(err, &refused) {
		return err
	}
	for _, p := range w.parts {
		if data != nil && len(w.parts) > 1 {
			if err = w.make(ctx, data, []part{p}); err == nil {
				continue
			}
			if refused = nil; !errors.As(err, &refused) {
				return err
			}
		}
		if err := w.refuse(ctx, p, refused); err != nil {
			return err
		}
	}
	return nil
}

// make derives once for all parts.
func (w *work) make(ctx context.Context, data []byte, parts []part) error {
	var outputs []pixels.Output
	for _, p := range parts {
		some, err := variant.Pixels(p.missing)
		if err != nil {
			return err
		}
		outputs = append(outputs, some...)
	}
	made, took, err := w.lab.Derive(ctx, data, w.limits(), outputs)
	if err != nil {
		return err
	}
	if w.fn.Options.DryRun {
		w.sample(made, took)
		return nil
	}
	return w.keep(ctx, parts, made)
}

func (w *work) limits() pixels.Limits {
	limits := pixels.DefaultLimits
	limits.MaxPixels = w.fn.Options.MaxPixels
	return limits
}

// selected asks the recipes again where facts were not known when they were asked first. An image of which they cannot
// be found out is left to the engine, which says why.
func (w *work) selected(data []byte) []part {
	if w.image.Format != "" {
		return w.parts
	}
	facts, err := pixels.Probe(bytes.NewReader(data), w.limits())
	if err != nil {
		return w.parts
	}
	w.image.Format, w.image.Width, w.image.Height = string(facts.Format), facts.Width, facts.Height
	return slices.DeleteFunc(w.parts, func(p part) bool { return !p.Recipe.Select.Selects(variant.Seen(w.image)) })
}

// keep puts the derivatives into the bucket and then their rows into the table store.
func (w *work) keep(ctx context.Context, parts []part, made []pixels.Derivative) error {
	engine, err := w.lab.Engine(ctx)
	if err != nil {
		return err
	}
	var rows []table.Variant
	for _, p := range parts {
		n := len(p.missing)
		some, err := p.Put(ctx, w.fn.blobs, p.missing, made[:n], engine)
		if err != nil {
			return err
		}
		rows, made = append(rows, some...), made[n:]
	}
	if err := variant.Write(ctx, w.fn.tables, rows); err != nil {
		return err
	}
	w.counts[Made] += int64(len(rows))
	for _, row := range rows {
		w.counts[BytesOut] += row.Bytes
	}
	return nil
}

// refuse writes of each variant that a recipe misses why it cannot be made, and makes the dead letter.
func (w *work) refuse(ctx context.Context, p part, refused *pixels.Error) error {
	w.counts[failedCounter(refused.Code)] = 1
	if w.fn.Options.DryRun {
		return nil
	}
	if err := variant.Write(ctx, w.fn.tables, p.Failed(p.missing, refused)); err != nil {
		return err
	}
	letter, err := w.fn.letter(p.Job, refused, w.attempt)
	w.letters = append(w.letters, letter)
	return err
}

// pending counts what a dry run would make.
func (w *work) pending() {
	w.counts[PendingImages] = 1
	for _, p := range w.parts {
		w.counts[PendingVariants] += int64(len(p.missing))
	}
}

// sample counts what a dry run has learnt of an image.
func (w *work) sample(made []pixels.Derivative, took time.Duration) {
	w.pending()
	w.counts[SampleImages], w.counts[SampleVariants] = 1, w.counts[PendingVariants]
	w.counts[SampleMicros] = took.Microseconds() / int64(w.fn.lab.Size)
	for _, d := range made {
		w.counts[SampleBytes] += int64(len(d.Data))
	}
}
