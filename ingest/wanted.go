package ingest

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"darkroom/internal/event"
	"darkroom/internal/pixels"
	"darkroom/internal/recipe"
	"darkroom/internal/signedurl"
)

const (
	formatAuto pixels.Format = "auto"
	// cacheFor is the longest that a cache may keep what a signed URL names: that long a deleted image may be in caches.
	cacheFor = time.Hour
	// qualityStep is between two qualities that are made, so that nobody mints a hundred variants of one size.
	qualityStep = 5
)

// variantParameters ask for a variant; signedurl's and the tenant do not.
var (
	variantParameters = []string{"w", "h", "fit", "gravity", "format", "q", "animate"}
	contentParameters = append([]string{
		"tenant", signedurl.ParamExpires, signedurl.ParamKey, signedurl.ParamSignature,
	}, variantParameters...)
)

// wanted is what the query of a request for content asks for.
type wanted struct {
	query   url.Values
	variant bool          // and not the original
	output  recipe.Output // of the variant, but for its name; the format may be formatAuto
}

func (w wanted) auto() bool { return w.output.Format == formatAuto }

// parse reads a query. It refuses an unknown parameter, a value that is not right, and parameters that contradict each
// other; each refusal names the parameter. One that is given twice the generated code has refused.
func (v Variants) parse(rawQuery string) (w wanted, err error) {
	if w.query, err = url.ParseQuery(rawQuery); err != nil {
		return w, refuse(kindInvalidParameter, "The query cannot be read.")
	}
	for name := range w.query {
		if !slices.Contains(contentParameters, name) {
			return w, refuse(kindInvalidParameter, "There is no parameter %.40q; there are %s.", name, strings.Join(contentParameters, ", "))
		}
		w.variant = w.variant || slices.Contains(variantParameters, name)
	}
	if !w.variant {
		return w, nil
	}
	p := parameters{query: w.query}
	w.output = recipe.Output{
		Width: p.number("w", v.MaxSide), Height: p.number("h", v.MaxSide),
		Fit:     pixels.Fit(p.word("fit", words(pixels.Fits))),
		Gravity: pixels.Gravity(p.word("gravity", words(pixels.Gravities))),
		Format:  pixels.Format(p.word("format", append([]string{string(formatAuto)}, words(pixels.EncodedFormats)...))),
		Quality: p.number("q", 100),
		Animate: p.word("animate", []string{"true", "false"}) == "true",
	}
	w.output.Format = cmp.Or(w.output.Format, formatAuto)
	if p.err != nil {
		return w, p.err
	}
	return w, w.complete(v)
}

// complete checks what single parameters do not show, and fills in what was not given, so that two ways to ask for the
// same are the same output.
func (w *wanted) complete(v Variants) error {
	o := &w.output
	o.Fit = cmp.Or(o.Fit, pixels.Inside)
	switch {
	case o.Fit != pixels.Inside && (o.Width == 0 || o.Height == 0):
		return refuse(kindInvalidParameter, "fit=%s needs w and h.", o.Fit)
	case o.Fit != pixels.Cover && o.Gravity != "":
		return refuse(kindInvalidParameter, "gravity is for fit=cover alone.")
	case o.Quality > 0 && !w.auto() && pixels.DefaultQuality(o.Format) == 0:
		return refuse(kindInvalidParameter, "q is not for format=%s, which has no quality.", o.Format)
	case o.Animate && !w.auto() && o.Format != pixels.WebP && o.Format != pixels.GIF:
		return refuse(kindInvalidParameter, "animate=true is for format=webp, gif and auto alone.")
	}
	if size := (Size{o.Width, o.Height}); len(v.Sizes) > 0 && !slices.Contains(v.Sizes, size) {
		return refuse(kindSizeNotAllowed, "The sizes (w, wxh or xh) are %s.", joined(v.Sizes))
	}
	if o.Fit == pixels.Cover {
		o.Gravity = cmp.Or(o.Gravity, pixels.Centre)
	}
	if o.Width == 0 && o.Height == 0 {
		o.Width, o.Height = v.MaxSide, v.MaxSide
	}
	return nil
}

// outputFor is the output in a format, and its name, which tells it from all others.
func (w wanted) outputFor(f pixels.Format) (recipe.Output, error) {
	o := w.output
	o.Format = f
	if def := pixels.DefaultQuality(f); def == 0 {
		o.Quality = 0
	} else if o.Quality == 0 {
		o.Quality = def
	} else {
		o.Quality = max(qualityStep, (o.Quality+qualityStep/2)/qualityStep*qualityStep)
	}
	o.Name = fmt.Sprintf("%dx%d-%s", o.Width, o.Height, o.Fit)
	if o.Gravity != "" {
		o.Name += "-" + string(o.Gravity)
	}
	o.Name += fmt.Sprintf("-%s-q%d", f, o.Quality)
	if o.Animate {
		o.Name += "-animate"
	}
	p, err := o.Pixels()
	if err == nil {
		err = p.Validate()
	}
	if err != nil {
		return o, refuse(kindInvalidParameter, "%s", err.Error())
	}
	return o, nil
}

// tenantOf is the tenant whose image is asked for: in a signed URL that of the query, which is signed, and no other.
func (w wanted) tenantOf(header *string) (*string, error) {
	if !w.query.Has("tenant") {
		if w.query.Has(signedurl.ParamSignature) && header != nil && *header != defaultTenant {
			return nil, refuse(kindInvalidParameter, "The tenant of a signed URL is its parameter tenant, not Darkroom-Tenant.")
		}
		return header, nil
	}
	tenant := w.query.Get("tenant")
	if header != nil && *header != tenant {
		return nil, refuse(kindInvalidParameter, "tenant is not what Darkroom-Tenant says.")
	}
	if !event.ValidTenant(tenant) {
		return nil, refuse(kindInvalidTenant, "tenant is 1 to 63 lower-case letters, digits and inner hyphens, not %.100q.", tenant)
	}
	return &tenant, nil
}

// authorize checks the signature of a request for content, and says how its answer may be cached. What a signed URL
// names anybody who has the URL may see, and so caches may share it; but not until the URL ends, since a deleted image
// should not stay in them for long. Without a signature the tenant may be told by a header, which caches do not look at,
// and so the client alone may keep it, and has to ask.
func (s *Service) authorize(escapedPath string, w wanted) (caching http.Header, err error) {
	now := time.Now()
	expires, err := s.cfg.Keys.Verify(escapedPath, w.query, now)
	switch {
	case errors.Is(err, signedurl.ErrMissing) && !s.cfg.RequireSignature:
		return http.Header{"Cache-Control": {"private, no-cache"}}, nil
	case errors.Is(err, signedurl.ErrMissing):
		return nil, refuse(kindSignatureMissing, "Ask who runs this service for a signed URL.")
	case errors.Is(err, signedurl.ErrExpired):
		return nil, refuse(kindSignatureExpired, "It expired at %s.", formatTime(expires))
	case err != nil:
		return nil, refuse(kindSignatureInvalid, "The URL is not as it was signed, or its key is not known here.")
	}
	age := min(expires.Sub(now), cacheFor)
	return http.Header{"Cache-Control": {fmt.Sprintf("public, max-age=%d", int(age.Seconds()))}}, nil
}

// parameters reads values, and keeps the first error.
type parameters struct {
	query url.Values
	err   error
}

// number is a number from 1 to most, or 0 if it is not given.
func (p *parameters) number(name string, most int) int {
	if !p.query.Has(name) {
		return 0
	}
	n, err := strconv.ParseUint(p.query.Get(name), 10, 31)
	if (err != nil || n < 1 || n > uint64(most)) && p.err == nil {
		p.err = refuse(kindInvalidParameter, "%s is a number from 1 to %d, not %.40q.", name, most, p.query.Get(name))
	}
	return int(n)
}

// word is one of several words, or empty if it is not given.
func (p *parameters) word(name string, words []string) string {
	word := p.query.Get(name)
	if p.query.Has(name) && !slices.Contains(words, word) && p.err == nil {
		p.err = refuse(kindInvalidParameter, "%s is one of %s, not %.40q.", name, strings.Join(words, ", "), word)
	}
	return word
}

func words[T ~string](list []T) []string {
	text := make([]string, len(list))
	for i, v := range list {
		text[i] = string(v)
	}
	return text
}

func joined(sizes []Size) string {
	text := make([]string, len(sizes))
	for i, s := range sizes {
		text[i] = s.String()
	}
	return strings.Join(text, ", ")
}
