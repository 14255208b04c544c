package variant_test

import (
	"slices"
	"testing"

	"darkroom/internal/recipe"
	"darkroom/internal/table"
	"darkroom/internal/variant"
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
		for _, o := range (variant.Job{Image: image, Recipe: r}).Outdated(c.rows) {
			got = append(got, o.Name)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
