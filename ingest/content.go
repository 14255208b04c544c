package ingest

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"darkroom/internal/blob"
	"darkroom/internal/service"
)

// GetContent answers GET /v1/images/{id}/content.
func (a api) GetContent(c *gin.Context, id Id, p GetContentParams) {
	r, ok := a.s.mayRead(c, id, p.DarkroomTenant, deref(p.IfMatch), deref(p.IfNoneMatch))
	if !ok {
		return
	}
	all := span{0, r.Image.Bytes}
	part, whole := all, true
	if p.Range != nil && (p.IfRange == nil || *p.IfRange == etagOf(r)) {
		var err error
		if part, whole, err = parseRange(*p.Range, r.Image.Bytes); err != nil {
			c.Header("Content-Range", fmt.Sprintf("bytes */%d", r.Image.Bytes))
			a.s.fail(c, err)
			return
		}
	}
	header := ""
	if !whole {
		header = fmt.Sprintf("bytes=%d-%d", part.from, part.to-1)
	}
	o, err := a.s.blobs.Open(c.Request.Context(), r.Image.BlobKey(), header)
	if err == nil && o.Size != part.to-part.from {
		err = errors.Join(fmt.Errorf("open %s: %w", r.Image.BlobKey(), errSize), o.Body.Close())
	}
	if err != nil {
		a.s.fail(c, a.s.lost(r, err))
		return
	}
	defer o.Body.Close()
	describe(c, r, part)
	if whole {
		c.Status(http.StatusOK)
	} else {
		c.Header("Content-Range", fmt.Sprintf("bytes %d-%d/%d", part.from, part.to-1, r.Image.Bytes))
		c.Status(http.StatusPartialContent)
	}
	a.s.sendBody(c, o.Body)
}

// HeadContent answers HEAD /v1/images/{id}/content.
func (a api) HeadContent(c *gin.Context, id Id, p HeadContentParams) {
	r, ok := a.s.mayRead(c, id, p.DarkroomTenant, deref(p.IfMatch), deref(p.IfNoneMatch))
	if !ok {
		return
	}
	if _, err := a.s.blobs.Stat(c.Request.Context(), r.Image.BlobKey()); err != nil {
		a.s.fail(c, a.s.lost(r, err))
		return
	}
	describe(c, r, span{0, r.Image.Bytes})
	c.Status(http.StatusOK)
}

// mayRead returns the record of an image whose content is to be sent. Otherwise it has answered the request.
func (s *Service) mayRead(c *gin.Context, id string, tenant *string, ifMatch, ifNoneMatch string) (record, bool) {
	r, err := s.findStored(c.Request.Context(), id, tenant)
	if err == nil && ifMatch != "" && !matches(ifMatch, etagOf(r), false) {
		err = refuse(kindPrecondition, "The image's ETag is %s.", etagOf(r))
	}
	if err != nil {
		s.fail(c, err)
		return record{}, false
	}
	if ifNoneMatch != "" && matches(ifNoneMatch, etagOf(r), true) {
		c.Header("ETag", etagOf(r))
		c.Header("Cache-Control", cacheControl)
		c.Status(http.StatusNotModified)
		return record{}, false
	}
	return r, true
}

// lost is the error for bytes that cannot be read. That they are not there, though the upload was acknowledged, is
// nothing that a client may wait for.
func (s *Service) lost(r record, err error) error {
	if !errors.Is(err, blob.ErrNotFound) && !errors.Is(err, errSize) {
		return err
	}
	s.log.Error("an image's bytes are not in storage", "image", r.Image.ImageID, "key", r.Image.BlobKey(), "error", err)
	return refuse(service.KindInternal, "The image's bytes are not where they should be.")
}

// errSize says that an object is not as long as the image is.
var errSize = errors.New("the object has another size")

// cacheControl lets caches keep the bytes, but ask each time whether the image is still there.
const cacheControl = "private, no-cache"

// etagOf is the content's strong ETag: the hash of the bytes.
func etagOf(r record) string { return `"` + r.Image.SHA256 + `"` }

// describe sets the headers of the content. The bytes are a stranger's: no browser may take them for anything else than
// an image, nor run what is in them.
func describe(c *gin.Context, r record, part span) {
	for k, v := range map[string]string{
		"Content-Type":            r.Image.MediaType,
		"Content-Length":          strconv.FormatInt(part.to-part.from, 10),
		"Content-Disposition":     contentDisposition(r.Image.Filename),
		"Accept-Ranges":           "bytes",
		"ETag":                    etagOf(r),
		"Cache-Control":           cacheControl,
		"X-Content-Type-Options":  "nosniff",
		"Content-Security-Policy": "sandbox; default-src 'none'",
	} {
		c.Header(k, v)
	}
}

// sendBody sends an object's bytes. A client that takes none for a while is cut off, as is one whose bytes end early.
func (s *Service) sendBody(c *gin.Context, body io.Reader) {
	conn := http.NewResponseController(c.Writer)
	to := writerFunc(func(p []byte) (int, error) {
		_ = conn.SetWriteDeadline(time.Now().Add(s.cfg.StallAfter)) // a connection without deadlines has none
		return c.Writer.Write(p)
	})
	err := move(to, body)
	_ = conn.SetWriteDeadline(time.Time{})
	if blob.Unavailable(err) {
		s.log.Warn("content was cut", "path", c.Request.URL.Path, "error", err)
	}
	if err != nil {
		panic(http.ErrAbortHandler) // the headers are gone: nothing else tells the client
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// span is the bytes from from to before to.
type span struct{ from, to int64 }

// parseRange reads a Range header (RFC 9110, section 14.2) for an object of size bytes. One that asks for several
// ranges, or that is not understood, counts for nothing, as the RFC allows. It refuses one outside the object.
func parseRange(header string, size int64) (part span, whole bool, err error) {
	all := span{0, size}
	unit, spec, ok := strings.Cut(header, "=")
	if !ok || !strings.EqualFold(textproto.TrimString(unit), "bytes") {
		return all, true, nil
	}
	first, last, ok := strings.Cut(textproto.TrimString(spec), "-")
	from, fromOK := parseByte(first)
	to, toOK := parseByte(last)
	switch {
	case !ok, first != "" && !fromOK, last != "" && !toOK, first == "" && last == "":
		return all, true, nil
	case first == "": // the last bytes
		from, to = max(0, size-to), size
	case last == "":
		to = size
	case to < from:
		return all, true, nil
	default:
		to = min(to+1, size)
	}
	if from >= size || from >= to {
		return all, false, refuse(kindInvalidRange, "The image has %d bytes.", size)
	}
	return span{from, to}, false, nil
}

// parseByte reads the number of a byte: digits alone. One beyond int64 is beyond every image, too.
func parseByte(s string) (int64, bool) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 63)
	if err != nil {
		return 1<<62 - 1, true
	}
	return n, true
}

// matches reports whether a list of ETags (RFC 9110, section 8.8.3), or the star, holds the strong ETag. A weak one
// counts only where that is asked for.
func matches(list, etag string, weak bool) bool {
	if textproto.TrimString(list) == "*" {
		return true
	}
	for item := range strings.SplitSeq(list, ",") {
		item = textproto.TrimString(item)
		if weak {
			item = strings.TrimPrefix(item, "W/")
		}
		if item == etag {
			return true
		}
	}
	return false
}
