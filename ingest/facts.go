package ingest

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"darkroom/internal/table"
)

// factsTimeout bounds the wait for the table store: without it there is still an answer.
const factsTimeout = 2 * time.Second

// GetImage answers GET /v1/images/{id}.
func (a api) GetImage(c *gin.Context, id Id, p GetImageParams) {
	r, err := a.s.findStored(c.Request.Context(), id, p.DarkroomTenant)
	if err != nil {
		a.s.fail(c, err)
		return
	}
	img := r.Image
	answer := Image{
		Id: img.ImageID, Tenant: img.Tenant, State: ImageStateStored, Sha256: img.SHA256, Bytes: img.Bytes,
		MediaType: img.MediaType, Filename: unless(img.Filename), UploadedAt: formatTime(img.UploadedAt),
	}
	row, err := a.s.facts(c.Request.Context(), r)
	if err != nil {
		a.s.log.Warn("answer without facts", "image", id, "error", err)
	}
	answer.FactsAvailable = err == nil && a.s.tables != nil
	answer.add(row)
	// The state changes soon, and whose image it is may be told by a header, which caches do not look at.
	c.Header("Cache-Control", "no-store")
	c.JSON(http.StatusOK, answer)
}

// facts returns the image's row of facts, or a zero one if there is none about its last upload.
func (s *Service) facts(ctx context.Context, r record) (table.Image, error) {
	if s.tables == nil {
		return table.Image{}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, factsTimeout)
	defer cancel()
	facts, err := table.Images.Get(ctx, s.tables, table.Image{ImageID: r.Image.ImageID})
	if errors.Is(err, table.ErrNotFound) {
		return table.Image{}, nil
	}
	if err != nil || facts.Version < r.Image.UploadedAt.UnixMicro() {
		return table.Image{}, err
	}
	return facts, nil
}

// add fills in the facts, once the image has been looked at.
func (i *Image) add(row table.Image) {
	switch row.State {
	case table.StateAnalysed:
		i.State = ImageStateAnalysed
	case table.StateRejected:
		i.State = ImageStateRejected
	default:
		return
	}
	i.Code, i.Detail = unless(row.Code), unless(row.Detail)
	i.Format, i.Camera, i.TakenAt = unless(row.Format), unless(row.Camera), unless(row.TakenAt)
	i.Width, i.Height = unless(row.Width), unless(row.Height)
	i.Frames, i.Orientation = unless(row.Frames), unless(row.Orientation)
}

// unless returns nil for a zero value, which stands for a fact that does not apply.
func unless[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}
