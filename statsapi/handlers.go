package statsapi

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/gin-gonic/gin"

	"darkroom/internal/service"
)

const (
	defaultStep = time.Minute
	defaultSpan = time.Hour
	retryAfter  = "1" // seconds
)

// api implements the generated ServerInterface. checkQuery has seen to it that parameters are right one by one.
type api struct {
	store *store
	log   *slog.Logger
}

// GetSummary implements ServerInterface.
func (a *api) GetSummary(c *gin.Context, p GetSummaryParams) {
	out, err := a.store.summary(c.Request.Context(), p.Tenant)
	a.answer(c, out, err)
}

// GetSeries implements ServerInterface.
func (a *api) GetSeries(c *gin.Context, p GetSeriesParams) {
	q, ok := newSeriesQuery(c, p, time.Now())
	if !ok {
		return
	}
	// as_of is read first: the figures that are read after it are no older.
	asOf, err := a.store.asOf(c.Request.Context())
	if err != nil {
		a.fail(c, err)
		return
	}
	series, err := a.store.series(c.Request.Context(), q)
	a.answer(c, Series{
		Metric: q.metric, From: q.from, To: q.to, Step: formatStep(q.step), By: q.by, AsOf: asOf, Series: series,
	}, err)
}

// newSeriesQuery puts in what the request leaves out. It answers itself what is not right.
func newSeriesQuery(c *gin.Context, p GetSeriesParams, now time.Time) (q seriesQuery, ok bool) {
	q = seriesQuery{metric: p.Metric, step: defaultStep, by: p.By, tenant: p.Tenant}
	if p.Step != nil {
		var err error
		if q.step, err = parseStep(*p.Step); err != nil { // checkQuery has read it
			service.Abort(c, kindInvalidParameter, "parameter step: %s", stepRule.right)
			return q, false
		}
	}
	to := now
	if p.To != nil {
		to = *p.To
	}
	from := to.Add(-defaultSpan)
	if p.From != nil {
		from = *p.From
	}
	if !from.Before(to) {
		service.Abort(c, kindInvalidParameter, "parameter from: %s is not before to, which is %s; give an earlier time",
			from.Format(time.RFC3339), to.Format(time.RFC3339))
		return q, false
	}
	q.from, q.to = floor(from, q.step), ceil(to, q.step)
	if steps := q.steps(); steps > maxPoints {
		service.Abort(c, kindTooManyPoints,
			"parameters from, to and step: %d steps are more than %d points; give a shorter time or a longer step",
			steps, maxPoints)
		return q, false
	}
	return q, true
}

// ListImages implements ServerInterface.
func (a *api) ListImages(c *gin.Context, p ListImagesParams) {
	if p.From != nil && p.To != nil && !p.From.Before(*p.To) {
		service.Abort(c, kindInvalidParameter, "parameter from: %s is not before to, which is %s; give an earlier time",
			p.From.Format(time.RFC3339), p.To.Format(time.RFC3339))
		return
	}
	page, ok := readPage(c, p.Limit, p.Cursor)
	if !ok {
		return
	}
	images, err := a.store.images(c.Request.Context(), p, page.after, page.limit+1)
	out := ImagePage{Images: []Image{}}
	out.Images, out.NextCursor = cut(page, append(out.Images, images...), func(i Image) place {
		return place{i.UploadedAt.UnixMicro(), i.Id}
	})
	a.answer(c, out, err)
}

// GetImage implements ServerInterface.
func (a *api) GetImage(c *gin.Context, id Id, p GetImageParams) {
	out, err := a.store.image(c.Request.Context(), id, p.Tenant)
	a.answer(c, out, err)
}

// ListDuplicates implements ServerInterface.
func (a *api) ListDuplicates(c *gin.Context, id Id, p ListDuplicatesParams) {
	page, ok := readPage(c, p.Limit, p.Cursor)
	if !ok {
		return
	}
	image, err := a.store.image(c.Request.Context(), id, p.Tenant)
	if err != nil {
		a.fail(c, err)
		return
	}
	duplicates, err := a.store.duplicates(c.Request.Context(), image, page.after, page.limit+1)
	out := DuplicatePage{Duplicates: []Duplicate{}}
	out.Duplicates, out.NextCursor = cut(page, append(out.Duplicates, duplicates...), func(d Duplicate) place {
		return place{d.UploadedAt.UnixMicro(), d.Id}
	})
	a.answer(c, out, err)
}

// page is which part of a list a request asks for.
type page struct {
	after   *place
	limit   int
	filters string // what the cursor is bound to
}

// readPage reads limit and cursor. It answers itself a cursor that is not right.
func readPage(c *gin.Context, limit *int, cursor *string) (page, bool) {
	filters := c.Request.URL.Query()
	filters.Del("limit")
	filters.Del("cursor")
	p := page{limit: defaultLimit, filters: (&url.URL{Path: c.Request.URL.Path, RawQuery: filters.Encode()}).String()}
	if limit != nil {
		p.limit = *limit
	}
	if cursor != nil {
		after, err := decodeCursor(*cursor, p.filters)
		if err != nil {
			service.Abort(c, kindInvalidParameter, "parameter cursor: %q is not right; %s", clip(*cursor), cursorRule.right)
			return p, false
		}
		p.after = &after
	}
	return p, true
}

// cut takes a page of rows, of which one more was read than it may have, and the cursor of the next if there is one.
func cut[T any](p page, rows []T, at func(T) place) ([]T, *string) {
	if len(rows) <= p.limit {
		return rows, nil
	}
	rows = rows[:p.limit]
	next := at(rows[p.limit-1]).encode(p.filters)
	return rows, &next
}

// answer sends the value, or what the error means.
func (a *api) answer(c *gin.Context, value any, err error) {
	if err != nil {
		a.fail(c, err)
		return
	}
	body, err := json.Marshal(value) // before the status, which would say that all is well
	if err != nil {
		a.log.Error("an answer cannot be written", "path", c.FullPath(), "query", c.Request.URL.RawQuery, "error", err)
		service.Abort(c, service.KindInternal, "the answer could not be written; the service's log has the reason")
		return
	}
	c.Header("Cache-Control", "no-store") // the figures change all the time
	c.Data(http.StatusOK, "application/json; charset=utf-8", body)
}

func (a *api) fail(c *gin.Context, err error) {
	switch {
	case errors.Is(err, errNoImage):
		service.Abort(c, service.KindNotFound, "no image %q", clip(c.Param("id")))
	case errors.Is(err, errDeleted):
		service.Abort(c, kindImageDeleted, "the image %q was deleted", clip(c.Param("id")))
	case errors.Is(err, errTooManyPoints):
		service.Abort(c, kindTooManyPoints,
			"parameters from, to, step and by: more than %d points in all series;"+
				" give a shorter time, a longer step or a tenant", maxPoints)
	case errors.Is(c.Request.Context().Err(), context.Canceled):
		panic(http.ErrAbortHandler) // the client has gone; one that closed only its half would read an empty 200
	case isSlow(err):
		a.log.Warn("query took too long", "path", c.FullPath(), "query", c.Request.URL.RawQuery, "error", err)
		c.Header("Retry-After", retryAfter)
		service.Abort(c, kindQueryTooSlow, "the answer took too long to find; ask for less, or later")
	case isAway(err):
		a.log.Warn("database is away", "path", c.FullPath(), "error", err)
		c.Header("Retry-After", retryAfter)
		service.Abort(c, kindUnavailable, "the statistics cannot be read at the moment; try again")
	default:
		a.log.Error("query failed", "path", c.FullPath(), "query", c.Request.URL.RawQuery, "error", err)
		service.Abort(c, service.KindInternal, "the statistics could not be read; the service's log has the reason")
	}
}
