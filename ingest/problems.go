package ingest

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"darkroom/internal/service"
)

// The kinds of errors that the service answers with, beside those that all services share. openapi.yaml tells clients
// what each means.
var (
	kindEmptyBody = service.Kind{
		Slug: "empty-body", Status: http.StatusBadRequest, Title: "The upload is empty",
	}
	kindBodyCut = service.Kind{
		Slug: "body-cut", Status: http.StatusBadRequest, Title: "The body ended too early",
	}
	kindMalformedMultipart = service.Kind{
		Slug: "malformed-multipart", Status: http.StatusBadRequest, Title: "The form is not right",
	}
	kindInvalidTenant = service.Kind{
		Slug: "invalid-tenant", Status: http.StatusBadRequest, Title: "The tenant's name is not valid",
	}
	kindInvalidParameter = service.Kind{
		Slug: "invalid-parameter", Status: http.StatusBadRequest, Title: "A parameter is not valid",
	}
	kindBodyStalled = service.Kind{
		Slug: "body-stalled", Status: http.StatusRequestTimeout, Title: "The body stopped arriving",
	}
	kindInProgress = service.Kind{
		Slug: "upload-in-progress", Status: http.StatusConflict, Title: "An upload with this key is running",
	}
	kindImageDeleted = service.Kind{
		Slug: "image-deleted", Status: http.StatusGone, Title: "The image was deleted",
	}
	kindPrecondition = service.Kind{
		Slug: "precondition-failed", Status: http.StatusPreconditionFailed, Title: "The image is another",
	}
	kindTooLarge = service.Kind{
		Slug: "too-large", Status: http.StatusRequestEntityTooLarge, Title: "The image is too large",
	}
	kindNotAnImage = service.Kind{
		Slug: "not-an-image", Status: http.StatusUnsupportedMediaType, Title: "The upload is no image",
	}
	kindTypeMismatch = service.Kind{
		Slug: "media-type-mismatch", Status: http.StatusUnsupportedMediaType, Title: "The declared type is not the real one",
	}
	kindInvalidRange = service.Kind{
		Slug: "invalid-range", Status: http.StatusRequestedRangeNotSatisfiable, Title: "The range is outside the image",
	}
	kindKeyReused = service.Kind{
		Slug: "idempotency-mismatch", Status: http.StatusUnprocessableEntity, Title: "The key was used for other bytes",
	}
	kindSizeNotAllowed = service.Kind{
		Slug: "size-not-allowed", Status: http.StatusBadRequest, Title: "No variants of this size are made",
	}
	kindSignatureMissing = service.Kind{
		Slug: "signature-missing", Status: http.StatusForbidden, Title: "The URL is not signed",
	}
	kindSignatureInvalid = service.Kind{
		Slug: "signature-invalid", Status: http.StatusForbidden, Title: "The signature is not right",
	}
	kindSignatureExpired = service.Kind{
		Slug: "signature-expired", Status: http.StatusForbidden, Title: "The signed URL has expired",
	}
	kindNotDerivable = service.Kind{
		Slug: "not-derivable", Status: http.StatusUnprocessableEntity, Title: "No such variant can be made of the image",
	}
	kindTooBusy = service.Kind{
		Slug: "too-busy", Status: http.StatusServiceUnavailable, Title: "Too many variants are being made",
	}
	kindStorageAway = service.Kind{
		Slug: "storage-unavailable", Status: http.StatusServiceUnavailable, Title: "Storage is away",
	}
)

const (
	retryUpload  = 2 * time.Second // an upload takes about as long
	retryStorage = 5 * time.Second
	retryVariant = 2 * time.Second // that many variants are made in it that there is room for others
)

// refusal is an error that the client is told of as it is.
type refusal struct {
	kind   service.Kind
	detail string
	retry  time.Duration // 0: repeating the same request does not help
	code   string        // why, where the kind has several reasons
}

func (r *refusal) Error() string { return r.kind.Slug + ": " + r.detail }

func refuse(k service.Kind, detail string, args ...any) *refusal {
	return &refusal{kind: k, detail: fmt.Sprintf(detail, args...)}
}

func refuseTooLarge(limit int64) *refusal {
	return refuse(kindTooLarge, "An image may have at most %d bytes.", limit)
}

func refuseBusy(detail string) *refusal {
	r := refuse(kindTooBusy, "%s", detail)
	r.retry = retryVariant
	return r
}

// toRefusal is what the client is told of an error. Any other error than a refusal is one of storage: nothing else that
// a request needs can fail.
func toRefusal(err error) *refusal {
	var r *refusal
	if errors.As(err, &r) {
		return r
	}
	if errors.Is(err, errCorrupt) {
		return refuse(service.KindInternal, "What is stored of the image cannot be read.")
	}
	r = refuse(kindStorageAway, "The request could not be finished. It is safe to repeat it.")
	r.retry = retryStorage
	return r
}

// fail answers with the problem that the error stands for.
func (s *Service) fail(c *gin.Context, err error) {
	r := toRefusal(err)
	switch where := slog.Group("request", "method", c.Request.Method, "path", c.Request.URL.Path); {
	case c.Request.Context().Err() != nil: // the client has gone, which may be all that is wrong
	case r.kind == kindStorageAway:
		s.log.Warn("storage failed a request", where, "error", err)
	case r.kind == service.KindInternal:
		s.log.Error("request failed", where, "error", err)
	}
	if r.retry > 0 {
		c.Header("Retry-After", strconv.Itoa(int(math.Ceil(r.retry.Seconds()))))
	}
	service.AbortWith(c, r.kind, service.Problem{Detail: r.detail, Code: r.code})
}
