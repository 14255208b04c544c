// Package recipe reads recipes: which images, and what is to be made of each.
package recipe

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"image/color"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/parser"

	"darkroom/internal/pixels"
)

// Recipe says what is made of which images.
type Recipe struct {
	Name    string    `yaml:"name"`   // a word; it is part of each variant's name
	Select  Selection `yaml:"select"` // all images if it is absent
	Outputs []Output  `yaml:"outputs"`
	// Target is the pattern of the keys in the bucket: {tenant}, {id} (of the image), {recipe}, {name} (of the output),
	// {width} and {height} (of the derivative), {ext}. It has the first four, and {recipe} and {name} between slashes, or
	// before .{ext} at the end, so that no two derivatives have the same key. DefaultTarget unless given.
	Target string `yaml:"target"`
}

// DefaultTarget is where derivatives go unless a recipe says otherwise. No tenant's name begins with an underscore.
const DefaultTarget = "_variants/{tenant}/{id}/{recipe}/{name}.{ext}"

// ContentName is the name of the recipe by which the upload service makes what clients ask it for. No other has it.
const ContentName = "content"

// Selection is which images a recipe is for. What is absent selects all.
type Selection struct {
	Tenants   []string        `yaml:"tenants"`
	Formats   []pixels.Format `yaml:"formats"`
	From      Time            `yaml:"from"` // uploaded at this time or later
	To        Time            `yaml:"to"`   // uploaded before this time
	MinWidth  int64           `yaml:"min_width"`
	MinHeight int64           `yaml:"min_height"`
	MinBytes  int64           `yaml:"min_bytes"`
	MaxBytes  int64           `yaml:"max_bytes"`
}

// Time is a time as RFC 3339 writes it.
type Time struct{ time.Time }

// UnmarshalYAML implements yaml.InterfaceUnmarshaler.
func (t *Time) UnmarshalYAML(unmarshal func(any) error) error {
	var text string
	if err := unmarshal(&text); err != nil {
		return err
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return fmt.Errorf("%q: must be a time such as 2026-01-31T00:00:00Z", text)
	}
	t.Time = at
	return nil
}

// Output is one derivative of each image. Its fields are those of pixels.Output.
type Output struct {
	Name        string         `yaml:"name"`
	Width       int            `yaml:"width"`
	Height      int            `yaml:"height"`
	Fit         pixels.Fit     `yaml:"fit"`
	Gravity     pixels.Gravity `yaml:"gravity"`
	Enlarge     bool           `yaml:"enlarge"`
	Format      pixels.Format  `yaml:"format"`
	Quality     int            `yaml:"quality"`
	TargetBytes int            `yaml:"target_bytes"`
	Effort      pixels.Effort  `yaml:"effort" json:",omitempty"`
	Background  string         `yaml:"background"` // #rrggbb
	Sharpen     float64        `yaml:"sharpen"`
	Animate     bool           `yaml:"animate"`
	Copyright   bool           `yaml:"keep_copyright"`
}

// maxOutputs bounds what one decoded image is asked for.
const maxOutputs = 100

var (
	word        = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)
	placeholder = regexp.MustCompile(`\{[^}]*\}`)
	keyText     = regexp.MustCompile(`^[A-Za-z0-9_.=-]+(/[A-Za-z0-9_.=-]+)*$`)
)

// tenant is what event.ValidTenant allows.
var tenant = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// formats are those of images that are taken in.
var formats = []pixels.Format{
	pixels.JPEG, pixels.PNG, pixels.GIF, pixels.WebP, pixels.TIFF, pixels.BMP, pixels.AVIF, pixels.HEIC, pixels.JXL,
}

// placeholders are those of a target, with a sample each.
var placeholders = map[string]string{
	"{tenant}": "acme", "{id}": "id", "{recipe}": "recipe", "{name}": "name", "{width}": "1", "{height}": "1", "{ext}": "jpg",
}

// Read reads the recipe in a file.
func Read(path string) (Recipe, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Recipe{}, fmt.Errorf("read recipe: %w", err)
	}
	r, err := Parse(data)
	if err != nil {
		return Recipe{}, fmt.Errorf("read recipe %s: %w", path, err)
	}
	return r, nil
}

// Parse reads a recipe from YAML. A field that it does not know is an error, which names line and column.
func Parse(data []byte) (r Recipe, err error) {
	data = bytes.TrimPrefix(data, []byte("\ufeff")) // which some editors put there, unseen: it would be a part of the first field
	if err := yaml.UnmarshalWithOptions(data, &r, yaml.Strict()); err != nil {
		return Recipe{}, errors.New(strings.TrimSpace(yaml.FormatError(err, false, false)))
	}
	if err := checkText(data); err != nil {
		return Recipe{}, err
	}
	if r.Target == "" {
		r.Target = DefaultTarget
	}
	return r, r.validate()
}

// checkText finds what the YAML library passes over: a second document, and what is behind a whole number's point.
func checkText(data []byte) error {
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		return err
	}
	if n := len(file.Docs); n > 1 {
		return fmt.Errorf("there must be one document in a recipe, not %d", n)
	}
	var all struct {
		Select  map[string]any   `yaml:"select"`
		Outputs []map[string]any `yaml:"outputs"`
	}
	if err := yaml.Unmarshal(data, &all); err != nil {
		return err
	}
	errs := checkWhole("select", all.Select)
	for i, o := range all.Outputs {
		errs = append(errs, checkWhole(fmt.Sprintf("outputs[%d]", i), o)...)
	}
	return errors.Join(errs...)
}

// checkWhole sees to it that all numbers are whole ones, but that of sharpen.
func checkWhole(at string, fields map[string]any) (errs []error) {
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if n, ok := fields[name].(float64); ok && name != "sharpen" && n != float64(int64(n)) {
			errs = append(errs, fmt.Errorf("%s.%s: %v: must be a whole number", at, name, n))
		}
	}
	return errs
}

// validate says all that is wrong.
func (r Recipe) validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(word.MatchString(r.Name), "name %q: must be a word of a-z, 0-9, '.', '_' and '-'", r.Name)
	check(r.Name != ContentName, "name %q: is that of what the upload service makes on request", r.Name)
	check(len(r.Outputs) > 0, "outputs: there must be one at least")
	check(len(r.Outputs) <= maxOutputs, "outputs: %d are more than the %d of one recipe", len(r.Outputs), maxOutputs)
	errs = append(errs, r.Select.validate()...)
	names := map[string]bool{}
	for i, o := range r.Outputs {
		at := fmt.Sprintf("outputs[%d] %q", i, o.Name)
		check(word.MatchString(o.Name), "%s: name: must be a word of a-z, 0-9, '.', '_' and '-'", at)
		check(!names[o.Name], "%s: name: there are two of that name", at)
		names[o.Name] = true
		if out, err := o.Pixels(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", at, err))
		} else if err := out.Validate(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", at, err))
		}
	}
	return errors.Join(append(errs, r.checkTarget())...)
}

// validate finds what would select nothing.
func (s Selection) validate() (errs []error) {
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("select: "+format, args...))
		}
	}
	for _, t := range s.Tenants {
		check(tenant.MatchString(t), "tenants: %q: must be a tenant's name: lower-case letters, digits and inner hyphens", t)
	}
	for _, f := range s.Formats {
		check(slices.Contains(formats, f), "formats: %q: must be one of %v", f, formats)
	}
	check(s.From.IsZero() || s.To.IsZero() || s.From.Before(s.To.Time), "from must be before to")
	check(s.MinWidth >= 0, "min_width %d: must not be negative", s.MinWidth)
	check(s.MinHeight >= 0, "min_height %d: must not be negative", s.MinHeight)
	check(s.MinBytes >= 0, "min_bytes %d: must not be negative", s.MinBytes)
	check(s.MaxBytes >= 0, "max_bytes %d: must not be negative", s.MaxBytes)
	check(s.MaxBytes <= 0 || s.MinBytes <= s.MaxBytes, "min_bytes must not be more than max_bytes")
	return errs
}

// checkTarget sees to it that no two derivatives have the same key, and that no key is one of an original.
func (r Recipe) checkTarget() error {
	var errs []error
	sample := placeholder.ReplaceAllStringFunc(r.Target, func(p string) string {
		if v, ok := placeholders[p]; ok {
			return v
		}
		errs = append(errs, fmt.Errorf("target: unknown placeholder %s", p))
		return "x"
	})
	if !keyText.MatchString(sample) || slices.ContainsFunc(strings.Split(sample, "/"), func(s string) bool { return s == "." || s == ".." }) {
		errs = append(errs, fmt.Errorf("target %q: must be a key such as %s", r.Target, DefaultTarget))
	}
	if !strings.HasPrefix(r.Target, "_variants/") {
		errs = append(errs, fmt.Errorf("target %q: must begin with _variants/, which no tenant's originals do", r.Target))
	}
	for _, p := range []string{"{tenant}", "{id}", "{recipe}", "{name}"} {
		if !strings.Contains(r.Target, p) {
			errs = append(errs, fmt.Errorf("target %q: needs %s, else two derivatives would have the same key", r.Target, p))
		}
	}
	// Of {name}{width}, w1 with a width of 60 and w with one of 160 would be the same.
	parts := strings.Split(strings.TrimSuffix(r.Target, ".{ext}"), "/")
	for _, p := range []string{"{recipe}", "{name}"} {
		if strings.Contains(r.Target, p) && !slices.Contains(parts, p) {
			errs = append(errs, fmt.Errorf(
				"target %q: %s must be all between two slashes, else two derivatives could have the same key", r.Target, p))
		}
	}
	return errors.Join(errs...)
}

// Pixels is the output as the pixel engines take it.
func (o Output) Pixels() (pixels.Output, error) {
	out := pixels.Output{
		Width: o.Width, Height: o.Height, Fit: o.Fit, Gravity: o.Gravity, Enlarge: o.Enlarge, Format: o.Format,
		Quality: o.Quality, TargetBytes: o.TargetBytes, Effort: o.Effort, Sharpen: o.Sharpen, Animate: o.Animate, Copyright: o.Copyright,
	}
	background, err := Colour(o.Background)
	out.Background = background
	return out, err
}

// Plain reports whether the output keeps nothing of the metadata, and has white where the image is transparent.
func (o Output) Plain() bool {
	background, err := Colour(o.Background)
	return err == nil && background == color.RGBA{255, 255, 255, 255} && !o.Copyright
}

// Colour reads #rrggbb; nothing is white.
func Colour(s string) (color.RGBA, error) {
	if s == "" {
		return color.RGBA{255, 255, 255, 255}, nil
	}
	b, err := hex.DecodeString(strings.TrimPrefix(s, "#"))
	if err != nil || len(b) != 3 || s[0] != '#' {
		return color.RGBA{}, fmt.Errorf("background %q: must be a colour as #rrggbb", s)
	}
	return color.RGBA{b[0], b[1], b[2], 255}, nil
}

// Hash tells what an output makes and where it goes: a variant that was made with another hash is out of date.
func (r Recipe) Hash(o Output) string {
	if o.Effort == pixels.Normal {
		o.Effort = "" // the same
	}
	text, err := json.Marshal(struct {
		Target string
		Output Output
	}{r.Target, o})
	if err != nil {
		panic(err) // strings, numbers and booleans only
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// VariantName is the name of an output's variant among all variants of an image.
func (r Recipe) VariantName(o Output) string { return r.Name + "/" + o.Name }

// Image is what a recipe's selection and target look at.
type Image struct {
	ID, Tenant    string
	Format        pixels.Format // empty where it is not known: then it is not held against the selection
	Bytes         int64
	Width, Height int64 // as stored; zero where they are not known
	UploadedAt    time.Time
}

// Selects reports whether the recipe is for an image.
func (s Selection) Selects(i Image) bool {
	among := func(list []string, v string) bool { return len(list) == 0 || slices.Contains(list, v) }
	switch {
	case !among(s.Tenants, i.Tenant),
		i.Format != "" && len(s.Formats) > 0 && !slices.Contains(s.Formats, i.Format),
		!s.From.IsZero() && i.UploadedAt.Before(s.From.Time),
		!s.To.IsZero() && !i.UploadedAt.Before(s.To.Time),
		i.Bytes < s.MinBytes,
		s.MaxBytes > 0 && i.Bytes > s.MaxBytes,
		i.Width > 0 && i.Width < s.MinWidth,
		i.Height > 0 && i.Height < s.MinHeight:
		return false
	}
	return true
}

// Key is the key of a derivative in the bucket.
func (r Recipe) Key(i Image, o Output, width, height int) string {
	return strings.NewReplacer("{tenant}", i.Tenant, "{id}", i.ID, "{recipe}", r.Name, "{name}", o.Name,
		"{width}", fmt.Sprint(width), "{height}", fmt.Sprint(height), "{ext}", o.Format.Extension()).Replace(r.Target)
}
