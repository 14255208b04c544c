package derive

import (
	"bytes"
	"context"
	"time"

	"darkroom/internal/pixels"
	"darkroom/internal/recipe"
	"darkroom/internal/variant"
)

// work is one image, of which variants are missing.
type work struct {
	variant.Job
	fn      *variantsFn
	lab     *variant.Lab
	missing []recipe.Output
	outcome
}

// run makes what is missing. An *pixels.Error is about the image.
func (w *work) run(ctx context.Context) error {
	if w.Image.Bytes > w.fn.Options.MaxBytes {
		return variant.Refuse(pixels.CodeTooLarge, "the image has %d bytes, and may have %d", w.Image.Bytes, w.fn.Options.MaxBytes)
	}
	release, err := w.lab.Room(ctx, w.Image.Bytes)
	if err != nil {
		return err
	}
	defer release()
	data, err := w.Read(ctx, w.fn.blobs)
	if err != nil {
		return err
	}
	w.counts[BytesIn] = w.Image.Bytes
	if !w.selected(data) {
		w.counts[PassedOver] = 1
		return nil
	}
	outputs, err := variant.Pixels(w.missing)
	if err != nil {
		return err
	}
	made, took, err := w.lab.Derive(ctx, data, w.limits(), outputs)
	if err != nil {
		return err
	}
	if w.fn.Options.DryRun {
		w.sample(made, took)
		return nil
	}
	return w.keep(ctx, made)
}

func (w *work) limits() pixels.Limits {
	limits := pixels.DefaultLimits
	limits.MaxPixels = w.fn.Options.MaxPixels
	return limits
}

// selected asks the recipe again where facts were not known when it was asked first. An image of which they cannot be
// found out is left to the engine, which says why.
func (w *work) selected(data []byte) bool {
	if w.Image.Format != "" {
		return true
	}
	facts, err := pixels.Probe(bytes.NewReader(data), w.limits())
	if err != nil {
		return true
	}
	w.Image.Format, w.Image.Width, w.Image.Height = string(facts.Format), facts.Width, facts.Height
	return w.Recipe.Select.Selects(variant.Seen(w.Image))
}

// keep puts the derivatives into the bucket and then their rows into the table store.
func (w *work) keep(ctx context.Context, made []pixels.Derivative) error {
	engine, err := w.lab.Engine(ctx)
	if err != nil {
		return err
	}
	rows, err := w.Put(ctx, w.fn.blobs, w.missing, made, engine)
	if err != nil {
		return err
	}
	if err := variant.Write(ctx, w.fn.tables, rows); err != nil {
		return err
	}
	w.counts[Made] = int64(len(rows))
	for _, row := range rows {
		w.counts[BytesOut] += row.Bytes
	}
	return nil
}

// refuse writes of each variant that is missing why it cannot be made, and makes the dead letter.
func (w *work) refuse(ctx context.Context, refused *pixels.Error, attempt int) error {
	w.counts[failedCounter(refused.Code)] = 1
	if w.fn.Options.DryRun {
		return nil
	}
	if err := variant.Write(ctx, w.fn.tables, w.Failed(w.missing, refused)); err != nil {
		return err
	}
	letter, err := w.fn.letter(w.Image, refused, attempt)
	w.letter = &letter
	return err
}

// sample counts what a dry run has learnt of an image.
func (w *work) sample(made []pixels.Derivative, took time.Duration) {
	w.counts[PendingImages], w.counts[PendingVariants] = 1, int64(len(w.missing))
	w.counts[SampleImages], w.counts[SampleVariants] = 1, int64(len(w.missing))
	w.counts[SampleMicros] = took.Microseconds() / int64(w.fn.lab.Size)
	for _, d := range made {
		w.counts[SampleBytes] += int64(len(d.Data))
	}
}
