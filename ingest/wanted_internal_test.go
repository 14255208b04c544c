package ingest

import (
	"cmp"
	"net/url"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"darkroom/internal/pixels"
	"darkroom/internal/recipe"
)

func TestChooseFormat(t *testing.T) {
	all := pixels.EncodedFormats
	for _, c := range []struct {
		accept   string
		original pixels.Format
		animate  bool
		encodes  []pixels.Format
		want     pixels.Format
	}{
		{"", pixels.JPEG, false, all, pixels.JPEG},
		{"*/*", pixels.JPEG, false, all, pixels.JPEG},
		{"image/*", pixels.HEIC, false, all, pixels.JPEG},
		{"text/html", pixels.JPEG, false, all, pixels.JPEG},
		{"*/*", pixels.PNG, false, all, pixels.PNG},
		{"*/*", pixels.WebP, false, all, pixels.PNG},
		{"image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8", pixels.JPEG, false, all, pixels.AVIF},
		{"image/webp,image/avif", pixels.JPEG, false, all, pixels.AVIF},
		{"image/webp,image/avif", pixels.JPEG, false, []pixels.Format{pixels.JPEG, pixels.WebP}, pixels.WebP},
		{"image/avif;q=0.5,image/webp", pixels.JPEG, false, all, pixels.WebP},
		{"IMAGE/WebP ; Q=1.000 , */*;q=0.9", pixels.JPEG, false, all, pixels.WebP},
		{"image/webp;q=0.5,*/*", pixels.JPEG, false, all, pixels.JPEG},
		{"image/webp;q=0.5,image/jpeg;q=0.4,*/*", pixels.JPEG, false, all, pixels.WebP},
		{"image/webp;q=0.5,image/*;q=0.4,*/*", pixels.JPEG, false, all, pixels.WebP},
		{"image/webp;q=0,image/avif;q=0.0", pixels.JPEG, false, all, pixels.JPEG},
		{"image/webp;q=2,image/avif;q=-1", pixels.JPEG, false, all, pixels.JPEG},
		{"image/webp;q=0.1234,image/avif;q=x", pixels.JPEG, false, all, pixels.JPEG},
		{"image/webp", pixels.GIF, true, all, pixels.WebP},
		{"image/avif", pixels.GIF, true, all, pixels.GIF},
		{",;,image/webp,", pixels.JPEG, false, all, pixels.WebP},
	} {
		if got := chooseFormat(c.accept, c.original, c.animate, c.encodes); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

// TestSameRequestsAreTheSameOutput holds that no order and no default makes another variant, and that all others differ.
func TestSameRequestsAreTheSameOutput(t *testing.T) {
	limits := DefaultConfig().Variants
	output := func(query string, f pixels.Format) (recipe.Output, bool) {
		w, err := limits.parse(query)
		if err != nil {
			return recipe.Output{}, false
		}
		if w.auto() {
			w.output.Format = f
		}
		o, err := w.outputFor(w.output.Format)
		return o, err == nil
	}
	draw := func(t *rapid.T) url.Values {
		if rapid.Bool().Draw(t, "cover") { // which few drawn freely would be
			q := url.Values{"w": {"40"}, "h": {"40"}, "fit": {"cover"}}
			if rapid.Bool().Draw(t, "explicit") {
				q.Set("gravity", "centre")
			}
			return q
		}
		q := url.Values{"w": {rapid.SampledFrom([]string{"1", "40", "4096"}).Draw(t, "w")}}
		for name, values := range map[string][]string{
			"h": {"", "1", "40"}, "fit": {"", "inside", "cover", "exact"}, "gravity": {"", "centre", "entropy"},
			"format": {"", "auto", "jpeg", "png", "webp", "gif"}, "q": {"", "80", "78", "1", "100"}, "animate": {"", "true", "false"},
		} {
			if v := rapid.SampledFrom(values).Draw(t, name); v != "" {
				q.Set(name, v)
			}
		}
		return q
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := draw(t), draw(t)
		one, okA := output(a.Encode(), pixels.JPEG)
		two, okB := output(b.Encode(), pixels.JPEG)
		if !okA {
			return
		}
		if okB && (one == two) != (one.Name == two.Name) {
			t.Fatalf("%v and %v are %+v and %+v", a, b, one, two)
		}
		explicit := url.Values{
			"w": a["w"], "h": a["h"], "fit": {string(one.Fit)}, "format": {string(one.Format)},
		}
		if one.Fit == pixels.Cover {
			explicit.Set("gravity", cmp.Or(a.Get("gravity"), "centre"))
		}
		if one.Quality > 0 {
			explicit["q"] = []string{a.Get("q")}
			if !a.Has("q") {
				explicit.Set("q", "80")
			}
		}
		if one.Animate {
			explicit.Set("animate", "true")
		}
		if explicit["h"] == nil {
			delete(explicit, "h")
		}
		if again, ok := output(explicit.Encode(), pixels.AVIF); !ok || again != one {
			t.Fatalf("%v is %+v, and %v %+v", a, one, explicit, again)
		}
	})
}

func FuzzWanted(f *testing.F) {
	f.Add("w=400&h=300&fit=cover&gravity=attention&format=auto&q=80", "image/avif,image/webp,*/*;q=0.8")
	f.Add("format=webp&animate=true&tenant=a&expires=1&key=k&signature=s", "*/*;q=0.5, image/webp;q=1")
	f.Add("w=%31&%68=2;", `image/webp;a="b,c";q=0.1`)
	limits := DefaultConfig().Variants
	f.Fuzz(func(t *testing.T, query, accept string) {
		for r, weight := range parseAccept(accept) {
			if !(weight >= 0 && weight <= 1) || !strings.Contains(r, "/") {
				t.Fatalf("%q weighs %v", r, weight)
			}
		}
		format := chooseFormat(accept, pixels.PNG, false, pixels.EncodedFormats)
		w, err := limits.parse(query)
		if err != nil || !w.variant {
			return
		}
		if !w.auto() {
			format = w.output.Format
		} else if w.output.Animate {
			format = chooseFormat(accept, pixels.PNG, true, pixels.EncodedFormats)
		}
		o, err := w.outputFor(format)
		if err != nil {
			t.Fatalf("%q is taken, and then %v", query, err)
		}
		if max(o.Width, o.Height) > limits.MaxSide || min(o.Width, o.Height) < 0 || !slices.Contains(pixels.EncodedFormats, o.Format) {
			t.Fatalf("%q is %+v", query, o)
		}
		r := jobOf(record{Image: testImage(0)}, o)
		key := r.Recipe.Key(recipe.Image{ID: testID, Tenant: "default"}, o, 0, 0)
		if !strings.HasPrefix(key, "_variants/default/"+testID+"/content/") || strings.Contains(key, "..") || strings.Count(key, "/") != 4 {
			t.Fatalf("%q is kept at %s", query, key)
		}
	})
}
