package statsapi

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"darkroom/internal/table"
)

// What became of an image that cannot be shown.
var (
	errNoImage = errors.New("no such image")
	errDeleted = errors.New("the image was deleted")
)

// The states of images that are shown, as the indexes of the table name them.
const shown = "state IN ('" + table.StateAnalysed + "', '" + table.StateRejected + "')"

const imageColumns = "image_id, tenant, state, code, detail, sha256, bytes, media_type, filename, format, width," +
	" height, frames, orientation, camera, taken_at, uploaded_at, duplicate"

func scanImage(row pgx.CollectableRow) (Image, error) {
	var i table.Image
	var duplicate bool
	err := row.Scan(&i.ImageID, &i.Tenant, &i.State, &i.Code, &i.Detail, &i.SHA256, &i.Bytes, &i.MediaType, &i.Filename,
		&i.Format, &i.Width, &i.Height, &i.Frames, &i.Orientation, &i.Camera, &i.TakenAt, &i.UploadedAt, &duplicate)
	if err != nil {
		return Image{}, err
	}
	return Image{
		Id: i.ImageID, Tenant: i.Tenant, State: State(i.State), Code: known(i.Code), Detail: known(i.Detail),
		Sha256: i.SHA256, Bytes: i.Bytes, MediaType: known(i.MediaType), Filename: known(i.Filename),
		Format: known(i.Format), Width: known(i.Width), Height: known(i.Height), Frames: known(i.Frames),
		Orientation: known(i.Orientation), Camera: known(i.Camera), TakenAt: known(i.TakenAt),
		UploadedAt: microTime(i.UploadedAt), Duplicate: duplicate,
	}, nil
}

// known leaves out a fact that does not apply, which the tables keep as zero.
func known[T comparable](fact T) *T {
	var zero T
	if fact == zero {
		return nil
	}
	return &fact
}

// images returns the images after a place, newest first.
func (s *store) images(ctx context.Context, p ListImagesParams, after *place, limit int) ([]Image, error) {
	var w where
	w.add(shown)
	if p.Tenant != nil {
		w.add("tenant = $%d", *p.Tenant)
	}
	if p.Format != nil {
		w.add("format = $%d", *p.Format)
	}
	if p.Camera != nil {
		w.add("camera = $%d", *p.Camera)
	}
	if p.From != nil {
		w.add("uploaded_at >= $%d", ceilMicro(*p.From))
	}
	if p.To != nil {
		w.add("uploaded_at < $%d", ceilMicro(*p.To))
	}
	if p.MinWidth != nil {
		w.add("width >= $%d", *p.MinWidth)
	}
	if p.Duplicate != nil && *p.Duplicate {
		w.add("duplicate")
	}
	if p.Duplicate != nil && !*p.Duplicate {
		w.add("NOT duplicate")
	}
	w.from(after)
	out, err := query(ctx, s, scanImage, w.page("SELECT "+imageColumns+" FROM image", limit), w.args...)
	if err != nil {
		return nil, fmt.Errorf("read images: %w", err)
	}
	return out, nil
}

// from leaves out what is not after the place.
func (w *where) from(after *place) {
	if after != nil {
		w.add("(uploaded_at, image_id) < ($%d, $%d)", after.uploadedAt, after.id)
	}
}

// page is the whole query, in the order of places.
func (w *where) page(selected string, limit int) string {
	return fmt.Sprintf("%s WHERE %s ORDER BY uploaded_at DESC, image_id DESC LIMIT %d", selected, w.sql(), limit)
}

// image returns one image, or errNoImage or errDeleted.
func (s *store) image(ctx context.Context, id string, tenant *string) (Image, error) {
	if !isText(id) {
		return Image{}, errNoImage
	}
	var w where
	w.add("image_id = $%d", id)
	w.add("NOT gone")
	if tenant != nil {
		w.add("tenant = $%d", *tenant)
	}
	rows, err := query(ctx, s, scanImage, "SELECT "+imageColumns+" FROM image WHERE "+w.sql(), w.args...)
	switch {
	case err != nil:
		return Image{}, fmt.Errorf("read image %s: %w", id, err)
	case len(rows) == 0:
		return Image{}, errNoImage
	case rows[0].State == table.StateDeleted:
		return Image{}, errDeleted
	}
	return rows[0], nil
}

// duplicates returns the other members of the bucket of the image's bytes after a place, newest first.
func (s *store) duplicates(ctx context.Context, i Image, after *place, limit int) ([]Duplicate, error) {
	if i.State != StateAnalysed {
		return nil, nil
	}
	var w where
	w.add("state = '" + table.StateAnalysed + "'")
	w.add("tenant = $%d", i.Tenant)
	w.add("sha256 = $%d", i.Sha256)
	w.add("image_id <> $%d", i.Id)
	w.add("EXISTS (SELECT FROM hash_band h WHERE (h.tenant, h.band, h.value, h.image_id) =" +
		" (image.tenant, 'sha256', image.sha256, image.image_id) AND NOT h.deleted AND NOT h.gone)")
	w.from(after)
	out, err := query(ctx, s, func(row pgx.CollectableRow) (d Duplicate, err error) {
		var uploadedAt int64
		err = row.Scan(&d.Id, &uploadedAt)
		d.Class, d.UploadedAt = DuplicateClassSameBytes, microTime(uploadedAt)
		return d, err
	}, w.page("SELECT image_id, uploaded_at FROM image", limit), w.args...)
	if err != nil {
		return nil, fmt.Errorf("read duplicates of %s: %w", i.Id, err)
	}
	return out, nil
}
