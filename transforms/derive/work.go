package derive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"darkroom/internal/blob"
	"darkroom/internal/event"
	"darkroom/internal/pixels"
	"darkroom/internal/recipe"
	"darkroom/internal/table"
	"darkroom/transforms/deadletter"
)

// work is one image, of which variants are missing.
type work struct {
	fn      *variantsFn
	lab     *lab
	image   table.Image
	missing []recipe.Output
	outcome
}

// run makes what is missing. An *pixels.Error is about the image.
func (w *work) run(ctx context.Context) error {
	if w.image.Bytes > w.fn.Options.MaxBytes {
		return refuse(pixels.CodeTooLarge, "the image has %d bytes, and may have %d", w.image.Bytes, w.fn.Options.MaxBytes)
	}
	release, err := w.lab.room(ctx, w.image.Bytes)
	if err != nil {
		return err
	}
	defer release()
	data, err := w.read(ctx)
	if err != nil {
		return err
	}
	w.counts[BytesIn] = w.image.Bytes
	if !w.selected(data) {
		w.counts[PassedOver] = 1
		return nil
	}
	outputs := make([]pixels.Output, len(w.missing))
	for i, o := range w.missing {
		if outputs[i], err = o.Pixels(); err != nil {
			return err
		}
	}
	made, took, err := w.lab.derive(ctx, data, w.limits(), outputs)
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

// read reads the image, which must be the one that its row describes.
func (w *work) read(ctx context.Context) ([]byte, error) {
	key := event.Image{Tenant: w.image.Tenant, SHA256: w.image.SHA256}.BlobKey()
	object, err := w.fn.blobs.Open(ctx, key, "")
	if errors.Is(err, blob.ErrNotFound) {
		return nil, refuse(deadletter.CodeBlobMissing, "the bucket has no object %s", key)
	}
	if err != nil {
		return nil, err
	}
	defer object.Body.Close()
	if object.Size != w.image.Bytes {
		return nil, refuse(deadletter.CodeChecksum, "the object has %d bytes, not %d", object.Size, w.image.Bytes)
	}
	data := make([]byte, object.Size)
	if _, err := io.ReadFull(object.Body, data); err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	if sum := hash(data); sum != w.image.SHA256 {
		return nil, refuse(deadletter.CodeChecksum, "the object's SHA-256 is %s, not %s", sum, w.image.SHA256)
	}
	return data, nil
}

// selected asks the recipe again where facts were not known when it was asked first. An image of which they cannot be
// found out is left to the engine, which says why.
func (w *work) selected(data []byte) bool {
	if w.image.Format != "" {
		return true
	}
	facts, err := pixels.Probe(bytes.NewReader(data), w.limits())
	if err != nil {
		return true
	}
	w.image.Format, w.image.Width, w.image.Height = string(facts.Format), facts.Width, facts.Height
	return w.fn.Options.Recipe.Select.Selects(seen(w.image))
}

// keep puts the derivatives into the bucket and then their rows into the table store.
func (w *work) keep(ctx context.Context, made []pixels.Derivative) error {
	engine, err := w.lab.engine(ctx)
	if err != nil {
		return err
	}
	rows := make([]table.Mutation, len(made))
	size := int64(0)
	for i, d := range made {
		row := w.row(w.missing[i], table.StateMade)
		sum := sha256.Sum256(d.Data)
		row.BlobKey = w.fn.Options.Recipe.Key(seen(w.image), w.missing[i], d.Width, d.Height)
		row.Format, row.Width, row.Height, row.Frames = string(d.Format), int64(d.Width), int64(d.Height), int64(d.Frames)
		row.Bytes, row.Quality, row.SHA256, row.Engine = int64(len(d.Data)), int64(d.Quality), hex.EncodeToString(sum[:]), engine
		put := blob.PutOptions{ContentType: d.Format.MediaType(), SHA256: sum[:]}
		if _, err := w.fn.blobs.Put(ctx, row.BlobKey, d.Data, put); err != nil {
			return err
		}
		rows[i] = table.Variants.Mutation(row)
		size += row.Bytes
	}
	if err := w.fn.tables.Apply(ctx, rows); err != nil {
		return fmt.Errorf("write variants of %s: %w", w.image.ImageID, err)
	}
	w.counts[Made], w.counts[BytesOut] = int64(len(made)), size
	return nil
}

// refuse writes of each variant that is missing why it cannot be made, and makes the dead letter.
func (w *work) refuse(ctx context.Context, refused *pixels.Error, attempt int) error {
	w.counts[failedCounter(refused.Code)] = 1
	if w.fn.Options.DryRun {
		return nil
	}
	rows := make([]table.Mutation, len(w.missing))
	for i, o := range w.missing {
		row := w.row(o, table.StateFailed)
		row.Code, row.Detail = refused.Code, refused.Error()
		rows[i] = table.Variants.Mutation(row)
	}
	if err := w.fn.tables.Apply(ctx, rows); err != nil {
		return fmt.Errorf("write variants of %s: %w", w.image.ImageID, err)
	}
	letter, err := w.fn.letter(w.image, refused, attempt)
	w.letter = &letter
	return err
}

func (w *work) row(o recipe.Output, state string) table.Variant {
	r := w.fn.Options.Recipe
	return table.Variant{
		ImageID: w.image.ImageID, Name: r.VariantName(o), Tenant: w.image.Tenant, State: state,
		SourceSHA256: w.image.SHA256, RecipeHash: r.Hash(o), Version: w.fn.Options.Version,
	}
}

// sample counts what a dry run has learnt of an image.
func (w *work) sample(made []pixels.Derivative, took time.Duration) {
	w.counts[PendingImages], w.counts[PendingVariants] = 1, int64(len(w.missing))
	w.counts[SampleImages], w.counts[SampleVariants] = 1, int64(len(w.missing))
	w.counts[SampleMicros] = took.Microseconds() / int64(w.lab.size)
	for _, d := range made {
		w.counts[SampleBytes] += int64(len(d.Data))
	}
}

func refuse(code, format string, args ...any) error {
	return &pixels.Error{Code: code, Err: fmt.Errorf(format, args...)}
}

func hash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
