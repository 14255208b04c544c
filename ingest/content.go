package ingest

import (
	"bytes"
	"context"
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
	"darkroom/internal/variant"
)

// sendPiece is how much of a body has a deadline of its own.
const sendPiece = 32 << 10

// served is bytes that are to be sent: those of an image or of a variant.
type served struct {
	key       string // of the object that they are in
	data      []byte // themselves, where they are at hand
	size      int64
	sha256    string
	mediaType string
	label     string
	variant   *variant.Job // of which they are; nil for the original
}

// etag is the strong ETag: the hash of the bytes.
func (f served) etag() string { return `"` + f.sha256 + `"` }

func original(r record) served {
	i := r.Image
	return served{key: i.BlobKey(), size: i.Bytes, sha256: i.SHA256, mediaType: i.MediaType, label: i.Filename}
}

// contentRequest is what GET and HEAD of content have in common.
type contentRequest struct {
	id                   string
	tenant               *string
	ifMatch, ifNoneMatch *string
	byteRange, ifRange   *string
}

// GetContent answers GET /v1/images/{id}/content.
func (a api) GetContent(c *gin.Context, id Id, p GetContentParams) {
	a.s.serveContent(c, contentRequest{id, p.DarkroomTenant, p.IfMatch, p.IfNoneMatch, p.Range, p.IfRange})
}

// HeadContent answers HEAD /v1/images/{id}/content.
func (a api) HeadContent(c *gin.Context, id Id, p HeadContentParams) {
	a.s.serveContent(c, contentRequest{id: id, tenant: p.DarkroomTenant, ifMatch: p.IfMatch, ifNoneMatch: p.IfNoneMatch})
}

func (s *Service) serveContent(c *gin.Context, q contentRequest) {
	f, caching, err := s.findContent(c, q)
	if err == nil {
		err = s.send(c, q, f, caching)
	}
	if err != nil {
		s.fail(c, err)
	}
}

// findContent finds out what is to be sent, and makes it where it has to be made.
func (s *Service) findContent(c *gin.Context, q contentRequest) (f served, caching http.Header, err error) {
	w, err := s.cfg.Variants.parse(c.Request.URL.RawQuery)
	if err != nil {
		return f, nil, err
	}
	caching, err = s.authorize(c.Request.URL.EscapedPath(), w)
	if err != nil {
		return f, nil, err
	}
	if q.tenant, err = w.tenantOf(q.tenant); err != nil {
		return f, nil, err
	}
	r, err := s.findStored(c.Request.Context(), q.id, q.tenant)
	if err != nil || !w.variant {
		return original(r), caching, err
	}
	if w.auto() {
		caching.Set("Vary", "Accept")
	}
	o, err := w.outputFor(s.variants.format(c, w, r))
	if err != nil {
		return f, nil, err
	}
	f, err = s.variants.get(c.Request.Context(), r, o)
	return f, caching, err
}

// send sends a file, the part of it that is asked for, or that the client has it.
func (s *Service) send(c *gin.Context, q contentRequest, f served, caching http.Header) error {
	if q.ifMatch != nil && !matches(*q.ifMatch, f.etag(), false) {
		return refuse(kindPrecondition, "The ETag is %s.", f.etag())
	}
	unchanged := q.ifNoneMatch != nil && matches(*q.ifNoneMatch, f.etag(), true)
	part, whole := span{0, f.size}, true
	if !unchanged && q.byteRange != nil && (q.ifRange == nil || *q.ifRange == f.etag()) {
		var err error
		if part, whole, err = parseRange(*q.byteRange, f.size); err != nil {
			c.Header("Content-Range", fmt.Sprintf("bytes */%d", f.size))
			return err
		}
	}
	body, err := s.openFile(c.Request, f, part, whole, unchanged)
	if missing := errors.Is(err, blob.ErrNotFound) || errors.Is(err, errSize); missing && f.variant != nil {
		if f, err = s.variants.make(c.Request.Context(), *f.variant); err == nil {
			return s.send(c, q, f, caching) // it is at hand now, and cannot be missing again
		}
		return err
	} else if missing {
		return s.lost(f, err)
	} else if err != nil {
		return err
	}
	defer body.Close()
	for name, values := range caching {
		c.Header(name, values[0])
	}
	c.Header("ETag", f.etag())
	if unchanged {
		c.Status(http.StatusNotModified)
		return nil
	}
	describe(c, f, part)
	c.Status(http.StatusOK)
	if !whole {
		c.Header("Content-Range", fmt.Sprintf("bytes %d-%d/%d", part.from, part.to-1, f.size))
		c.Status(http.StatusPartialContent)
	}
	if c.Request.Method != http.MethodHead {
		s.sendBody(c, body)
	}
	return nil
}

// openFile opens what is to be sent of a file, which is nothing where only the headers are.
func (s *Service) openFile(r *http.Request, f served, part span, whole, unchanged bool) (io.ReadCloser, error) {
	switch {
	case unchanged:
		return http.NoBody, nil
	case f.data != nil:
		return io.NopCloser(bytes.NewReader(f.data[part.from:part.to])), nil
	case r.Method == http.MethodHead:
		info, err := s.blobs.Stat(r.Context(), f.key)
		if err == nil && info.Size != f.size {
			err = fmt.Errorf("stat %s: %w", f.key, errSize)
		}
		return http.NoBody, err
	}
	header := ""
	if !whole {
		header = fmt.Sprintf("bytes=%d-%d", part.from, part.to-1)
	}
	o, err := s.openObject(r.Context(), f.key, header)
	if err != nil {
		return nil, err
	}
	if o.Size != part.to-part.from {
		return nil, errors.Join(fmt.Errorf("open %s: %w", f.key, errSize), o.Body.Close())
	}
	return o.Body, nil
}

// openObject opens an object whose body is given up when S3 sends none of it for a while.
func (s *Service) openObject(ctx context.Context, key, byteRange string) (*blob.Object, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	o, err := s.blobs.Open(ctx, key, byteRange)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	watch := time.AfterFunc(s.cfg.StallAfter, func() { cancel(errS3Stalled) })
	watch.Stop()
	o.Body = &watched{ReadCloser: o.Body, watch: watch, after: s.cfg.StallAfter, cancel: cancel}
	return o, nil
}

// errS3Stalled counts as an outage of S3, as the client's own going away does not.
var errS3Stalled = fmt.Errorf("S3 stalled: %w", context.DeadlineExceeded)

// watched is a body whose reads may take only so long each.
type watched struct {
	io.ReadCloser
	watch  *time.Timer
	after  time.Duration
	cancel context.CancelCauseFunc
}

func (w *watched) Read(p []byte) (int, error) {
	w.watch.Reset(w.after)
	defer w.watch.Stop() // between two reads a slow client is waited for
	return w.ReadCloser.Read(p)
}

func (w *watched) Close() error {
	w.watch.Stop()
	defer w.cancel(nil)
	return w.ReadCloser.Close()
}

// lost is the error for bytes that are not there, though the upload was acknowledged: that is nothing that a client may
// wait for.
func (s *Service) lost(f served, err error) error {
	s.log.Error("an image's bytes are not in storage", "key", f.key, "error", err)
	return refuse(service.KindInternal, "The image's bytes are not where they should be.")
}

// errSize says that an object is not as long as the image is.
var errSize = errors.New("the object has another size")

// describe sets the headers of the content. The bytes are a stranger's: no browser may take them for anything else than
// an image, nor run what is in them.
func describe(c *gin.Context, f served, part span) {
	for k, v := range map[string]string{
		"Content-Type":            f.mediaType,
		"Content-Length":          strconv.FormatInt(part.to-part.from, 10),
		"Content-Disposition":     contentDisposition(f.label),
		"Accept-Ranges":           "bytes",
		"X-Content-Type-Options":  "nosniff",
		"Content-Security-Policy": "sandbox; default-src 'none'",
	} {
		c.Header(k, v)
	}
}

// sendBody sends an object's bytes. A client that takes none for a while is cut off, as is one whose bytes end early.
func (s *Service) sendBody(c *gin.Context, body io.Reader) {
	conn := http.NewResponseController(c.Writer)
	to := writerFunc(func(p []byte) (n int, err error) {
		for n < len(p) && err == nil { // in pieces, so that a slow client takes one in time
			_ = conn.SetWriteDeadline(time.Now().Add(s.cfg.StallAfter)) // a connection without deadlines has none
			var k int
			k, err = c.Writer.Write(p[n:min(len(p), n+sendPiece)])
			n += k
		}
		return n, err
	})
	err := move(to, body) // net/http takes the deadline back when all is sent
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
