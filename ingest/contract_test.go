package ingest_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"
)

// contract is openapi.yaml.
var contract = sync.OnceValues(func() (routers.Router, error) {
	_, here, _, _ := runtime.Caller(0) // the gateway has changed the working directory
	text, err := os.ReadFile(filepath.Join(filepath.Dir(here), "openapi.yaml"))
	if err != nil {
		return nil, err
	}
	doc, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		return nil, err
	}
	if err := doc.Validate(context.Background()); err != nil {
		return nil, err
	}
	for _, t := range []string{"image/jpeg", "image/png", "image/gif", "image/webp", "image/avif"} {
		openapi3filter.RegisterBodyDecoder(t, openapi3filter.FileBodyDecoder)
	}
	return legacy.NewRouter(doc)
})

// conforms holds an answer against the contract: its status is one of the operation's, its headers and body fit.
func conforms(req *http.Request, a answer) error {
	router, err := contract()
	if err != nil {
		return err
	}
	plain := req.Clone(context.Background())
	plain.URL = &url.URL{Path: req.URL.Path}
	route, params, err := router.FindRoute(plain)
	if err != nil {
		if a.status == http.StatusNotFound || a.status == http.StatusMethodNotAllowed {
			return nil // the contract has no such operation, and so says the answer
		}
		return fmt.Errorf("find the operation: %w", err)
	}
	response := route.Operation.Responses.Status(a.status)
	if response == nil {
		return fmt.Errorf("the operation has no status %d", a.status)
	}
	// The library looks at neither HEAD's answers nor 304's.
	for name, h := range response.Value.Headers {
		if h.Value.Required && a.header.Get(name) == "" {
			return fmt.Errorf("header %s is missing", name)
		}
	}
	return openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: plain, PathParams: params, Route: route},
		Status:                 a.status,
		Header:                 a.header,
		Body:                   io.NopCloser(bytes.NewReader(a.body)),
		Options:                &openapi3filter.Options{IncludeResponseStatus: true},
	})
}

func TestTheContractIsServed(t *testing.T) {
	s := newRig(t).start()
	a := s.get("/openapi.yaml")
	if a.status != http.StatusOK || !strings.HasPrefix(string(a.body), "openapi: 3.0.3\n") ||
		a.header.Get("Content-Type") != "application/yaml" {
		t.Fatalf("GET /openapi.yaml: %s", a)
	}
}

// TestEveryProblemIsInTheContract holds the table of the contract's description against the problems that exist.
func TestEveryProblemIsInTheContract(t *testing.T) {
	_, here, _, _ := runtime.Caller(0)
	dir := filepath.Dir(here)
	doc, err := os.ReadFile(filepath.Join(dir, "openapi.yaml"))
	must(t, err)
	code, err := os.ReadFile(filepath.Join(dir, "problems.go"))
	must(t, err)
	slugs := 0
	for line := range strings.Lines(string(code)) {
		_, after, ok := strings.Cut(line, `Slug: "`)
		if !ok {
			continue
		}
		slugs++
		slug, _, _ := strings.Cut(after, `"`)
		if !strings.Contains(string(doc), "| `urn:darkroom:problem:"+slug+"` |") {
			t.Errorf("openapi.yaml does not say what %s means", slug)
		}
	}
	if slugs < 10 {
		t.Fatalf("only %d problems found: the test tests nothing", slugs)
	}
}
