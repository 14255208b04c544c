package derive

import (
	"math"
	"runtime"
	"slices"
	"testing"

	"darkroom/internal/recipe"
	"darkroom/internal/table"
)

func TestOutdated(t *testing.T) {
	r := recipe.Recipe{Name: "r", Target: recipe.DefaultTarget, Outputs: []recipe.Output{
		{Name: "a", Width: 1, Format: "jpeg"}, {Name: "b", Width: 2, Format: "jpeg"},
	}}
	image := table.Image{ImageID: "i", SHA256: "s"}
	made := func(n int) table.Variant {
		return table.Variant{
			ImageID: "i", Name: r.VariantName(r.Outputs[n]), State: table.StateMade, SourceSHA256: "s", RecipeHash: r.Hash(r.Outputs[n]),
		}
	}
	with := func(v table.Variant, change func(*table.Variant)) table.Variant {
		change(&v)
		return v
	}
	for name, c := range map[string]struct {
		rows []table.Variant
		want []string
	}{
		"nothing there":       {nil, []string{"a", "b"}},
		"all there":           {[]table.Variant{made(0), made(1)}, nil},
		"one there":           {[]table.Variant{made(1)}, []string{"a"}},
		"of another recipe":   {[]table.Variant{made(0), with(made(1), func(v *table.Variant) { v.Name = "q/b" })}, []string{"b"}},
		"by other rules":      {[]table.Variant{with(made(0), func(v *table.Variant) { v.RecipeHash = "x" }), made(1)}, []string{"a"}},
		"of other bytes":      {[]table.Variant{with(made(0), func(v *table.Variant) { v.SourceSHA256 = "x" }), made(1)}, []string{"a"}},
		"failed":              {[]table.Variant{with(made(0), func(v *table.Variant) { v.State = table.StateFailed }), made(1)}, []string{"a"}},
		"and one of no use":   {[]table.Variant{made(0), made(1), with(made(0), func(v *table.Variant) { v.Name = "r/c" })}, nil},
		"the hash of another": {[]table.Variant{with(made(0), func(v *table.Variant) { v.RecipeHash = made(1).RecipeHash }), made(1)}, []string{"a"}},
	} {
		var got []string
		for _, o := range outdated(r, image, c.rows) {
			got = append(got, o.Name)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestShare(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	for of, want := range map[float64]struct {
		size int
		duty float64
	}{1: {4, 1}, 0.5: {2, 1}, 0.25: {1, 1}, 0.1: {1, 0.4}, 0.6: {3, 0.8}} {
		if size, duty := share(of); size != want.size || math.Abs(duty-want.duty) > 1e-9 {
			t.Errorf("share %v: %d at a time, %v of the time; want %+v", of, size, duty, want)
		}
	}
}

func TestALabIsSharedUntilItIsIdle(t *testing.T) {
	o := Options{Engine: "go", MaxShare: 1}
	a, err := enter(o)
	if err != nil {
		t.Fatal(err)
	}
	b, err := enter(o)
	if err != nil || a != b {
		t.Errorf("%p and %p, %v", a, b, err)
	}
	b.leave()
	a.close() // too early: it is in use
	c, err := enter(o)
	if err != nil || a != c {
		t.Errorf("%p and %p, %v", a, c, err)
	}
	c.leave()
	a.leave()
	a.close()
	if d, err := enter(o); err != nil || d == a {
		t.Errorf("a closed lab is entered, %v", err)
	} else {
		d.leave()
		d.close()
	}
}

func TestCountersOfFailuresNameTheCode(t *testing.T) {
	if code, ok := FailedCode(failedCounter("decode-timeout")); !ok || code != "decode-timeout" {
		t.Errorf("%q, %v", code, ok)
	}
	if _, ok := FailedCode(Made); ok {
		t.Error("that counts no failures")
	}
}
