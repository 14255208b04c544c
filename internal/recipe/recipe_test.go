package recipe_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"darkroom/internal/event"
	"darkroom/internal/pixels"
	"darkroom/internal/recipe"
)

const small = `
name: small
outputs:
  - {name: a, width: 100, format: jpeg}
`

func TestShippedRecipes(t *testing.T) {
	files, err := filepath.Glob("../../recipes/*.yaml")
	if err != nil || len(files) != 3 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		r, err := recipe.Read(f)
		if err != nil {
			t.Error(err)
		}
		if r.Name != strings.TrimSuffix(filepath.Base(f), ".yaml") {
			t.Errorf("%s is named %s", f, r.Name)
		}
	}
}

// TestShippedRecipesMakeNothingAnew has hashes and keys as they were in the first tables and buckets.
func TestShippedRecipesMakeNothingAnew(t *testing.T) {
	for name, want := range map[string]string{
		"convert-avif": "631e756766cf7c3f _variants/acme/01ab/convert-avif/full.avif",
		"sizes":        "343b122b5fd06a71 _variants/acme/01ab/sizes/w1600.jpg",
		"thumbnails":   "2fa26203ae5a3354 _variants/acme/01ab/thumbnails/square-400.webp",
	} {
		r, err := recipe.Read("../../recipes/" + name + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		o := r.Outputs[0]
		if got := r.Hash(o) + " " + r.Key(recipe.Image{ID: "01ab", Tenant: "acme"}, o, 4, 3); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func TestErrorsSayWhereAndWhat(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "name \"\": must be a word"},
		{"name: x", "outputs: there must be one at least"},
		{small + "colour: red", "colour"},
		{"name: x\noutputs:\n  - {name: a, widht: 100, format: jpeg}", "[3:15] unknown field \"widht\""},
		{"name: x\noutputs:\n  - {name: a, width: wide, format: jpeg}", "[3:22]"},
		{"name: content", "name \"content\": is that of what the upload service makes"},
		{"name: X", "name \"X\": must be a word"},
		{"name: x\noutputs: [{name: a, width: 1, format: tga}]", `outputs[0] "a": format "tga": must be one of [jpeg png webp avif gif]`},
		{"name: x\noutputs: [{name: a, format: jpeg}]", "one of them must be given"},
		{"name: x\noutputs: [{name: a, width: 1, format: jpeg, background: red}]", `background "red": must be a colour as #rrggbb`},
		{"name: x\noutputs: [{name: a, width: 1, format: jpeg}, {name: a, width: 2, format: jpeg}]", "there are two of that name"},
		{"name: x\noutputs: [{name: ../a, width: 1, format: jpeg}]", "name: must be a word"},
		{small + "target: _variants/{tenant}/{id}/{user}/{name}", "unknown placeholder {user}"},
		{small + "target: _variants/{tenant}/{id}", "needs {name}"},
		{small + "target: '_variants/{tenant}/{id}/{name}.{ext}'", "needs {recipe}"},
		{small + "target: '_variants/{tenant}/{id}/{recipe}/{name}{width}.{ext}'", "{name} must be all between two slashes"},
		{small + "target: '_variants/{tenant}/{id}/{recipe}-{name}'", "{recipe} must be all between two slashes"},
		{small + "target: '_variants/{tenant}/{id}/{recipe}/x{name}'", "{name} must be all between two slashes"},
		{small + "target: '_variants/{tenant}/{id}/{recipe}.{ext}/{name}'", "{recipe} must be all between two slashes"},
		{small + "target: _variants/../{tenant}/{id}/{name}", "must be a key"},
		{small + "target: '{tenant}/{id}/{name}'", "must begin with _variants/"},
		{small + "select: {from: 2026-01-02T00:00:00Z, to: 2026-01-01T00:00:00Z}", "from must be before to"},
		{small + "select: {from: yesterday}", "yesterday"},
		{small + "select: {formats: [jpeg, jpg]}", `select: formats: "jpg": must be one of [jpeg `},
		{small + "select: {tenants: [acme, Acme]}", `select: tenants: "Acme": must be a tenant's name`},
		{small + "select: {min_width: -1}", "select: min_width -1: must not be negative"},
		{small + "select: {min_height: -1}", "select: min_height -1: must not be negative"},
		{small + "select: {min_bytes: -1}", "select: min_bytes -1: must not be negative"},
		{small + "select: {max_bytes: -5}", "select: max_bytes -5: must not be negative"},
		{small + "select: {min_bytes: 10, max_bytes: 5}", "select: min_bytes must not be more than max_bytes"},
		{small + "select: {min_width: 10.5}", "select.min_width: 10.5: must be a whole number"},
		{"name: x\noutputs: [{name: a, width: 10.7, format: jpeg}]", "outputs[0].width: 10.7: must be a whole number"},
		{small + "---\nname: other", "there must be one document"},
		{small + "---\n", "there must be one document"},
	} {
		if _, err := recipe.Parse([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s\n-> %v\nwant %s", c.text, err, c.want)
		}
	}
}

func TestTargetsThatTellAllDerivativesApart(t *testing.T) {
	for _, target := range []string{
		recipe.DefaultTarget, "_variants/{tenant}/{id}/{recipe}/{name}",
		"_variants/{tenant}/{recipe}/{id}/{name}/{width}x{height}.{ext}",
		"_variants/{tenant}/{name}/{id}/{recipe}.{ext}",
	} {
		if _, err := recipe.Parse([]byte(small + "target: '" + target + "'")); err != nil {
			t.Errorf("%s: %v", target, err)
		}
	}
}

func TestAByteOrderMarkIsNoPartOfARecipe(t *testing.T) {
	if r, err := recipe.Parse([]byte("\ufeffname: a\r\noutputs: [{name: b, width: 1, format: jpeg}]\r\n")); err != nil || r.Name != "a" {
		t.Errorf("%q, %v", r.Name, err)
	}
}

func TestSelection(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	image := recipe.Image{ID: "i", Tenant: "acme", Format: pixels.JPEG, Bytes: 1000, Width: 640, Height: 480, UploadedAt: at}
	for text, want := range map[string]bool{
		"{}":                              true,
		"{tenants: [acme, other]}":        true,
		"{tenants: [other]}":              false,
		"{formats: [png]}":                false,
		"{formats: [png, jpeg]}":          true,
		"{from: 2026-01-02T03:04:05Z}":    true,
		"{from: 2026-01-02T03:04:06Z}":    false,
		"{to: 2026-01-02T03:04:05Z}":      false,
		"{to: 2026-01-02T03:04:06Z}":      true,
		"{min_width: 640}":                true,
		"{min_width: 641}":                false,
		"{min_height: 481}":               false,
		"{min_bytes: 1001}":               false,
		"{max_bytes: 999}":                false,
		"{max_bytes: 1000, min_bytes: 9}": true,
		"{min_bytes: 9, max_bytes: 0}":    true,
	} {
		r, err := recipe.Parse([]byte(small + "select: " + text))
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Select.Selects(image); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

func TestHashTellsWhatChangesAVariant(t *testing.T) {
	parse := func(text string) recipe.Recipe {
		r, err := recipe.Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	hash := func(text string) string { r := parse(text); return r.Hash(r.Outputs[0]) }
	same := hash(small)
	// As it was before there were efforts: a recipe that names none makes nothing anew.
	if same != "80c29e485a893128" {
		t.Errorf("the hash of a recipe that did not change is now %s", same)
	}
	for text, want := range map[string]bool{
		small + "select: {min_width: 3}":                                            true,
		strings.Replace(small, "name: small", "name: other", 1):                     true,
		small + "  - {name: b, width: 50, format: jpeg}\n":                          true,
		strings.Replace(small, "width: 100", "width: 101", 1):                       false,
		strings.Replace(small, "width: 100", "width: 100, effort: normal", 1):       true,
		strings.Replace(small, "width: 100", "width: 100, effort: low", 1):          false,
		strings.Replace(small, "width: 100", "width: 100, quality: 70", 1):          false,
		small + "target: _variants/{tenant}/{id}/{recipe}/{name}":                   false,
		strings.Replace(small, "format: jpeg", "format: jpeg, gravity: entropy", 1): false,
	} {
		if got := hash(text) == same; got != want {
			t.Errorf("%s: same is %v", text, got)
		}
	}
}

func TestPlain(t *testing.T) {
	for text, want := range map[string]bool{
		"": true, "background: '#FFFFFF'": true, "sharpen: 1": true, "background: '#fffffe'": false, "keep_copyright: true": false,
	} {
		r, err := recipe.Parse([]byte("name: n\noutputs:\n- name: o\n  width: 9\n  format: jpeg\n  " + text))
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Outputs[0].Plain(); got != want {
			t.Errorf("%q: plain is %v", text, got)
		}
	}
}

func ExampleRecipe_Key() {
	r, _ := recipe.Parse([]byte("name: small\noutputs: [{name: thumb, width: 100, format: jpeg}]"))
	fmt.Println(r.Key(recipe.Image{ID: "01ab", Tenant: "acme"}, r.Outputs[0], 100, 75))
	// Output: _variants/acme/01ab/small/thumb.jpg
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(small))
	f.Add([]byte(small + "target: _variants/{tenant}/{id}/{recipe}/{name}"))
	f.Add([]byte("a: &a [*a, *a]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := recipe.Parse(data)
		if err != nil {
			return
		}
		for _, o := range r.Outputs {
			if key := r.Key(recipe.Image{ID: "i", Tenant: "t"}, o, 1, 1); strings.Contains(key, "..") || strings.Contains(key, "//") {
				t.Fatalf("key %q", key)
			}
		}
	})
}

// TestASelectionTakesTheTenantsThatEventsCanHave sees to it that the rule, which this package may not import, stays that
// of events.
func TestASelectionTakesTheTenantsThatEventsCanHave(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.OneOf(rapid.StringMatching(`[a-z0-9]{62,64}`), rapid.StringMatching(`[a-z0-9-]{1,66}`), rapid.StringMatching(`[A-Za-z0-9_.-]{1,4}`)).Draw(t, "name")
		_, err := recipe.Parse([]byte(small + fmt.Sprintf("select: {tenants: [%q]}\n", name)))
		if (err == nil) != event.ValidTenant(name) {
			t.Fatalf("%q: %v", name, err)
		}
	})
}
