package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// rules is the table of what each package may import of Darkroom's own packages and of the libraries that divide them.
// A package that is not here may import nothing of ours.
var rules = map[string]struct {
	ours []string // packages, or folders of packages with a trailing slash
	not  []string // module prefixes that must not appear in the package's own imports
}{
	"internal/event":      {not: []string{"github.com/apache/beam", "github.com/twmb", "github.com/gin-gonic"}},
	"internal/pixels":     {not: []string{"github.com/apache/beam", "github.com/twmb", "github.com/gin-gonic", "net/http", "net"}},
	"internal/deadletter": {ours: []string{"internal/event"}, not: []string{"github.com/apache/beam", "github.com/gin-gonic"}},
	"internal/recipe":     {ours: []string{"internal/pixels"}, not: []string{"github.com/apache/beam", "github.com/gin-gonic"}},
	"internal/variant":    {ours: []string{"internal/event", "internal/blob", "internal/table", "internal/recipe", "internal/pixels", "internal/pixels/"}, not: []string{"github.com/apache/beam", "github.com/gin-gonic"}},
	"internal/monitor":    {not: []string{"github.com/apache/beam", "github.com/gin-gonic"}},
	"internal/service":    {not: []string{"github.com/apache/beam"}},
	"internal/blob":       {not: []string{"github.com/apache/beam", "github.com/gin-gonic"}},
	"internal/table":      {not: []string{"github.com/apache/beam", "github.com/gin-gonic"}},
	"internal/pixels/":    {ours: []string{"internal/pixels", "internal/pixels/"}, not: []string{"github.com/apache/beam", "github.com/twmb", "github.com/gin-gonic", "net"}},
	"internal/table/":     {ours: []string{"internal/patient", "internal/table", "internal/table/"}, not: []string{"github.com/apache/beam", "github.com/gin-gonic"}},
	"internal/local":      {ours: []string{"internal/blob", "internal/patient"}, not: []string{"github.com/apache/beam", "github.com/gin-gonic"}},
	"internal/local/":     {ours: []string{"internal/local", "internal/blob"}, not: []string{"github.com/apache/beam", "github.com/gin-gonic"}},
	"transforms/":         {ours: []string{"internal/", "transforms/"}, not: []string{"flag", "os", "github.com/gin-gonic", "github.com/apache/beam/sdks/v2/go/pkg/beam/x/beamx"}},
	"pipelines":           {ours: []string{"internal/blob", "internal/pixels/engine", "internal/recipe", "internal/table", "internal/table/", "transforms/", "runners"}, not: []string{"flag", "os", "github.com/gin-gonic"}},
	"runners":             {not: []string{"github.com/gin-gonic", "github.com/apache/beam/sdks/v2/go/pkg/beam/x/beamx"}},
	"ingest":              {ours: []string{"internal/event", "internal/blob", "internal/table", "internal/pixels", "internal/pixels/engine", "internal/recipe", "internal/service", "internal/signedurl", "internal/variant"}, not: []string{"github.com/apache/beam"}},
	"statsapi":            {ours: []string{"internal/event", "internal/blob", "internal/table", "internal/service"}, not: []string{"github.com/apache/beam"}},
}

func TestPackagesImportOnlyWhatTheyMay(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-f", "{{.ImportPath}} {{join .Imports \" \"}}", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		pkg := strings.TrimPrefix(fields[0], "darkroom/")
		if pkg == "darkroom" || strings.HasPrefix(pkg, "bench") || strings.HasPrefix(pkg, "e2e") {
			continue // the command line and the tests of the whole wire everything
		}
		rule := rules[pkg]
		for folder, r := range rules {
			if strings.HasSuffix(folder, "/") && strings.HasPrefix(pkg, folder) {
				rule = r
			}
		}
		for _, imp := range fields[1:] {
			if own, ok := strings.CutPrefix(imp, "darkroom/"); ok && !allowed(own, rule.ours) {
				t.Errorf("%s imports %s", pkg, own)
			}
			if slices.ContainsFunc(rule.not, func(p string) bool { return imp == p || strings.HasPrefix(imp, p+"/") }) {
				t.Errorf("%s imports %s", pkg, imp)
			}
		}
	}
}

func allowed(pkg string, list []string) bool {
	return slices.ContainsFunc(list, func(p string) bool {
		return pkg == p || strings.HasSuffix(p, "/") && strings.HasPrefix(pkg, p)
	})
}
