package ingest

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"darkroom/internal/event"
	"darkroom/internal/service"
)

const (
	defaultTenant = "default"
	maxKey        = 255 // bytes of an Idempotency-Key
	// requestTimeout bounds a request that has no body.
	requestTimeout = 30 * time.Second
	timeLayout     = "2006-01-02T15:04:05.000000Z"
)

// api answers the operations of openapi.yaml.
type api struct{ s *Service }

// PostImage answers POST /v1/images.
func (a api) PostImage(c *gin.Context, p PostImageParams) {
	s := a.s
	body := &bodyReader{
		r: c.Request.Body, conn: http.NewResponseController(c.Writer), stall: s.cfg.StallAfter, alive: func() {},
	}
	o, err := s.receive(c.Request, p, body)
	if err != nil {
		if !body.usable() {
			c.Header("Connection", "close") // the rest of the body is not worth reading
		}
		s.metrics.uploads.WithLabelValues(toRefusal(err).kind.Slug).Inc()
		s.fail(c, err)
		return
	}
	img := o.record.Image
	if o.replayed {
		s.metrics.uploads.WithLabelValues(resultReplayed).Inc()
		c.Header("Idempotency-Replayed", "true")
	} else {
		s.metrics.uploads.WithLabelValues(resultCreated).Inc()
		s.metrics.bytes.Add(float64(img.Bytes))
	}
	c.Header("Location", "/v1/images/"+img.ImageID)
	c.JSON(http.StatusCreated, Upload{
		Id: img.ImageID, Sha256: img.SHA256, Bytes: img.Bytes, State: UploadStateStored,
		UploadedAt: formatTime(img.UploadedAt),
	})
}

// receive takes in one upload. What was begun is finished, also when the client goes away in the meantime.
func (s *Service) receive(r *http.Request, p PostImageParams, body *bodyReader) (outcome, error) {
	tenant, err := tenantOf(p.DarkroomTenant)
	if err != nil {
		return outcome{}, err
	}
	key, err := keyOf(p.IdempotencyKey)
	if err != nil {
		return outcome{}, err
	}
	ctx := context.WithoutCancel(r.Context())
	if key != "" && r.Header.Get("Expect") != "" {
		if err := s.expect(ctx, imageID(tenant, byKey, key)); err != nil {
			return outcome{}, err
		}
	}
	im, err := s.open(r, deref(p.ContentDisposition), body)
	if err != nil {
		return outcome{}, err
	}
	return s.store(ctx, upload{tenant: tenant, key: key, image: im})
}

// DeleteImage answers DELETE /v1/images/{id}.
func (a api) DeleteImage(c *gin.Context, id Id, p DeleteImageParams) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Request.Context()), requestTimeout)
	defer cancel()
	v, err := a.s.find(ctx, id, p.DarkroomTenant)
	if err == nil {
		v, err = a.s.delete(ctx, v)
	}
	if err != nil {
		a.s.fail(c, err)
		return
	}
	c.JSON(http.StatusAccepted, Deletion{Id: id, State: DeletionStateDeleted, DeletedAt: formatTime(v.DeletedAt)})
}

// delete deletes an image, durably, unless it is deleted.
func (s *Service) delete(ctx context.Context, v version) (version, error) {
	for range maxAttempts {
		if v.deleted() {
			return v, nil
		}
		var err error
		if v, _, err = s.perform(ctx, entry{Event: event.NewDeleted(v.Image, v.next(time.Now()))}, v); err != nil {
			return v, err
		}
	}
	return v, fmt.Errorf("delete image %s: others won %d times", v.Image.ImageID, maxAttempts)
}

// find returns the record of a tenant's image, be it deleted or not.
func (s *Service) find(ctx context.Context, id string, tenant *string) (version, error) {
	name, err := tenantOf(tenant)
	if err != nil {
		return version{}, err
	}
	if !validID(id) {
		return version{}, errNotFound(id)
	}
	v, err := s.read(ctx, id)
	if err != nil {
		return version{}, err
	}
	if !v.exists() || v.Image.Tenant != name {
		return version{}, errNotFound(id)
	}
	return v, nil
}

// findStored is find for an image that is not deleted.
func (s *Service) findStored(ctx context.Context, id string, tenant *string) (record, error) {
	v, err := s.find(ctx, id, tenant)
	if err == nil && v.deleted() {
		err = refuse(kindImageDeleted, "The image was deleted at %s.", formatTime(v.DeletedAt))
	}
	return v.record, err
}

func errNotFound(id string) error {
	return refuse(service.KindNotFound, "The tenant has no image %.64q.", id)
}

func tenantOf(header *string) (string, error) {
	if header == nil {
		return defaultTenant, nil
	}
	if !event.ValidTenant(*header) {
		return "", refuse(kindInvalidTenant,
			"Darkroom-Tenant is 1 to 63 lower-case letters, digits and inner hyphens, not %.100q.", *header)
	}
	return *header, nil
}

func keyOf(header *string) (string, error) {
	if header == nil {
		return "", nil
	}
	key := *header
	if key == "" || len(key) > maxKey || strings.ContainsFunc(key, func(r rune) bool { return r < '!' || r > '~' }) {
		return "", refuse(kindInvalidParameter, "Idempotency-Key is 1 to %d visible ASCII characters without spaces.", maxKey)
	}
	return key, nil
}

func formatTime(t time.Time) string { return t.UTC().Format(timeLayout) }

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
