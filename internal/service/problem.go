package service

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/gin-gonic/gin"
)

// Kind is one kind of error that a service answers with. A service keeps all of its kinds in one catalogue.
type Kind struct {
	Slug   string // the stable part of the problem's type
	Status int
	Title  string
}

// The kinds that every service has.
var (
	KindNotFound         = Kind{"not-found", http.StatusNotFound, "There is no such resource"}
	KindMethodNotAllowed = Kind{"method-not-allowed", http.StatusMethodNotAllowed, "The resource has no such method"}
	KindInternal         = Kind{"internal", http.StatusInternalServerError, "The service made a mistake"}
)

// Problem is an error as RFC 9457 gives it to a client.
type Problem struct {
	Type   string `json:"type"` // urn:darkroom:problem:<slug>; never changes its meaning
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	Code   string `json:"code,omitempty"` // why, as a stable word, where one type has several reasons
}

// Abort answers the request with a problem and ends its handlers. The detail is for the client to read: it names what
// was wrong with the request, never an inner error of ours.
func Abort(c *gin.Context, k Kind, detail string, args ...any) {
	if len(args) > 0 {
		detail = fmt.Sprintf(detail, args...)
	}
	AbortWith(c, k, Problem{Detail: detail})
}

// AbortWith is Abort with the members of a problem that its kind does not give.
func AbortWith(c *gin.Context, k Kind, p Problem) {
	p.Type, p.Title, p.Status = "urn:darkroom:problem:"+k.Slug, k.Title, k.Status
	body, err := json.Marshal(p)
	if err != nil { // plain fields: cannot happen, and must not be hidden if it does
		panic(fmt.Errorf("encode problem: %w", err))
	}
	c.Abort()
	// Caches keep 404, 405 and 410 unless they are told not to, and do not look at the header that says whose image it is.
	c.Header("Cache-Control", "no-store")
	c.Data(k.Status, "application/problem+json", body)
}
