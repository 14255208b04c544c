// Package variant makes the variants of images and keeps them: it reads and checks an original, derives it in processes
// that all of this process share, puts what was made into the bucket and then says so in the table store.
package variant

import (
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
)

// Job is an image and the recipe by which variants of it are made.
type Job struct {
	Image   table.Image
	Recipe  recipe.Recipe
	Version int64 // of the rows: the time of the job's making in microseconds
}

// Uploaded is the row of an image as far as its upload tells it.
func Uploaded(i event.Image) table.Image {
	return table.Image{
		ImageID: i.ImageID, Tenant: i.Tenant, SHA256: i.SHA256, Bytes: i.Bytes, MediaType: i.MediaType, Filename: i.Filename,
		UploadedAt: i.UploadedAt.UnixMicro(), Version: i.UploadedAt.UnixMicro(),
	}
}

// Seen is an image as recipes see it.
func Seen(i table.Image) recipe.Image {
	return recipe.Image{
		ID: i.ImageID, Tenant: i.Tenant, Format: pixels.Format(i.Format), Bytes: i.Bytes, Width: i.Width, Height: i.Height,
		UploadedAt: time.UnixMicro(i.UploadedAt),
	}
}

// Rows are the variants that an image has.
func Rows(ctx context.Context, tables table.Store, imageID string) ([]table.Variant, error) {
	var rows []table.Variant
	query := table.Query{Partition: table.Row{"image_id": imageID}}
	for row, err := range table.Variants.Scan(ctx, tables, query) {
		if err != nil {
			return nil, fmt.Errorf("read variants of %s: %w", imageID, err)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// Outdated are the outputs that are missing among the variants of the image, or were made of other bytes or by other
// rules.
func (j Job) Outdated(rows []table.Variant) (missing []recipe.Output) {
	current := map[string]bool{}
	for _, v := range rows {
		if v.State == table.StateMade && v.SourceSHA256 == j.Image.SHA256 {
			current[v.Name+" "+v.RecipeHash] = true
		}
	}
	for _, o := range j.Recipe.Outputs {
		if !current[j.Recipe.VariantName(o)+" "+j.Recipe.Hash(o)] {
			missing = append(missing, o)
		}
	}
	return missing
}

// Load reads the image when the lab has room for it, which release gives back. A *pixels.Error says that it has more bytes
// than it may, or that it is not there, or not the one that its row describes.
func (j Job) Load(ctx context.Context, l *Lab, blobs *blob.Store, maxBytes int64) (data []byte, release func(), err error) {
	if j.Image.Bytes > maxBytes {
		return nil, nil, refuse(pixels.CodeTooLarge, "the image has %d bytes, and may have %d", j.Image.Bytes, maxBytes)
	}
	if release, err = l.room(ctx, j.Image.Bytes); err != nil {
		return nil, nil, err
	}
	if data, err = j.read(ctx, blobs); err != nil {
		release()
		return nil, nil, err
	}
	return data, release, nil
}

func (j Job) read(ctx context.Context, blobs *blob.Store) ([]byte, error) {
	key := event.Image{Tenant: j.Image.Tenant, SHA256: j.Image.SHA256}.BlobKey()
	object, err := blobs.Open(ctx, key, "")
	if errors.Is(err, blob.ErrNotFound) {
		return nil, refuse(event.CodeBlobMissing, "the bucket has no object %s", key)
	}
	if err != nil {
		return nil, err
	}
	defer object.Body.Close()
	if object.Size != j.Image.Bytes {
		return nil, refuse(event.CodeChecksum, "the object has %d bytes, not %d", object.Size, j.Image.Bytes)
	}
	data := make([]byte, object.Size)
	if _, err := io.ReadFull(object.Body, data); err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != j.Image.SHA256 {
		return nil, refuse(event.CodeChecksum, "the object's SHA-256 is %x, not %s", sum, j.Image.SHA256)
	}
	return data, nil
}

// Pixels are outputs as the pixel engines take them.
func Pixels(outputs []recipe.Output) ([]pixels.Output, error) {
	out := make([]pixels.Output, len(outputs))
	for i, o := range outputs {
		var err error
		if out[i], err = o.Pixels(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Put puts the derivatives that were made for the outputs into the bucket. It returns their rows, which are to be
// written after it. The engine is that of Lab.Engine.
func (j Job) Put(
	ctx context.Context, blobs *blob.Store, outputs []recipe.Output, made []pixels.Derivative, engine string,
) ([]table.Variant, error) {
	rows := make([]table.Variant, len(made))
	for i, d := range made {
		row := j.row(outputs[i], table.StateMade)
		sum := sha256.Sum256(d.Data)
		row.BlobKey = j.Recipe.Key(Seen(j.Image), outputs[i], d.Width, d.Height)
		row.Format, row.Width, row.Height, row.Frames = string(d.Format), int64(d.Width), int64(d.Height), int64(d.Frames)
		row.Plain = outputs[i].Plain()
		row.Bytes, row.Quality, row.SHA256, row.Engine = int64(len(d.Data)), int64(d.Quality), hex.EncodeToString(sum[:]), engine
		put := blob.PutOptions{ContentType: d.Format.MediaType(), SHA256: sum[:]}
		if _, err := blobs.Put(ctx, row.BlobKey, d.Data, put); err != nil {
			return nil, err
		}
		rows[i] = row
	}
	return rows, nil
}

// Failed are the rows which say why the outputs cannot be made.
func (j Job) Failed(outputs []recipe.Output, why *pixels.Error) []table.Variant {
	rows := make([]table.Variant, len(outputs))
	for i, o := range outputs {
		rows[i] = j.row(o, table.StateFailed)
		rows[i].Code, rows[i].Detail = why.Code, why.Error()
	}
	return rows
}

func (j Job) row(o recipe.Output, state string) table.Variant {
	return table.Variant{
		ImageID: j.Image.ImageID, Name: j.Recipe.VariantName(o), Tenant: j.Image.Tenant, State: state,
		SourceSHA256: j.Image.SHA256, RecipeHash: j.Recipe.Hash(o), Version: j.Version,
	}
}

// Write writes rows of one image.
func Write(ctx context.Context, tables table.Store, rows []table.Variant) error {
	mutations := make([]table.Mutation, len(rows))
	for i, r := range rows {
		mutations[i] = table.Variants.Mutation(r)
	}
	if err := tables.Apply(ctx, mutations); err != nil {
		return fmt.Errorf("write variants of %s: %w", rows[0].ImageID, err)
	}
	return nil
}

// refuse is the error for an image that will not do.
func refuse(code, format string, args ...any) error {
	return &pixels.Error{Code: code, Err: fmt.Errorf(format, args...)}
}
