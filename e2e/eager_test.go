package e2e_test

import (
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"darkroom/internal/table"
	"darkroom/internal/table/open"
)

// variants are the rows of variants, by image and name.
func (p *process) variants() (map[string]table.Variant, error) {
	_, dsn, _ := strings.Cut(p.output.String(), " table=")
	dsn, _, _ = strings.Cut(dsn, "\n")
	store, err := open.Open(p.t.Context(), dsn)
	if err != nil {
		return nil, err
	}
	defer store.Close()
	all := map[string]table.Variant{}
	for v, err := range table.Variants.Scan(p.t.Context(), store, table.Query{}) {
		if err != nil {
			return nil, err
		}
		all[v.ImageID+" "+v.Name] = v
	}
	return all, nil
}

// TestUpDerivesAsPhotosArrive uploads photographs, and some more after a restart, which makes nothing twice.
func TestUpDerivesAsPhotosArrive(t *testing.T) {
	recipe, err := filepath.Abs("../recipes/thumbnails.yaml")
	if err != nil {
		t.Fatal(err)
	}
	data, all := t.TempDir(), readPhotos(t)
	half := len(all) / 2
	p := up(t, data, "--eager", recipe)
	derived := func(photos []photo) (rows map[string]table.Variant) {
		t.Helper()
		eventually(t, 30*time.Second, func() (err error) {
			if rows, err = p.variants(); err != nil {
				return err
			}
			for key, v := range rows {
				if v.State != table.StateMade || v.BlobKey == "" || v.Bytes == 0 {
					return fmt.Errorf("%s: %+v", key, v)
				}
			}
			if len(rows) != 3*len(photos) {
				return fmt.Errorf("%d variants of %d photographs", len(rows), len(photos))
			}
			return same(p.summary(), expect(photos))
		})
		return rows
	}
	send := func(photos []photo) {
		t.Helper()
		for _, photo := range photos {
			if a, err := p.upload(photo.body, photo.name); err != nil || a.status != http.StatusCreated {
				t.Fatalf("upload %s: %+v %v", photo.name, a, err)
			}
		}
	}
	send(all[:half])
	before := derived(all[:half])
	p.stop()

	p = up(t, data, "--eager", recipe)
	send(all[half:])
	after := derived(all)
	maps.DeleteFunc(after, func(key string, _ table.Variant) bool { _, ok := before[key]; return !ok })
	if !maps.Equal(before, after) { // with the times of their making
		t.Errorf("variants of before the restart are %v, were %v", after, before)
	}
	p.stop()
}
