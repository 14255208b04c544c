package statsapi

import (
	"net/http"

	"darkroom/internal/service"
)

// The kinds of errors that the service answers with, beside those that all services share. openapi.yaml tells clients
// what each means.
var (
	kindInvalidParameter = service.Kind{
		Slug: "invalid-parameter", Status: http.StatusBadRequest, Title: "A parameter is not valid",
	}
	kindTooManyPoints = service.Kind{
		Slug: "too-many-points", Status: http.StatusBadRequest, Title: "The series have too many points",
	}
	kindImageDeleted = service.Kind{
		Slug: "image-deleted", Status: http.StatusGone, Title: "The image was deleted",
	}
	kindUnavailable = service.Kind{
		Slug: "unavailable", Status: http.StatusServiceUnavailable, Title: "The database is away",
	}
	kindQueryTooSlow = service.Kind{
		Slug: "query-too-slow", Status: http.StatusServiceUnavailable, Title: "The answer took too long",
	}
)
