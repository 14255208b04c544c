package embedded

import (
	"strings"
	"testing"

	"darkroom/internal/table"
)

// What the publisher has under way is bounded in bytes as well: rows may be large, and Kafka slow.
func TestAGroupToPublishIsBounded(t *testing.T) {
	s, err := Open(t.Context(), t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.log, err = openChangeLog(s.db); err != nil {
		t.Fatal(err)
	}
	const rows = 600
	detail := strings.Repeat("x", table.MaxMutation/2)
	for range rows / 100 {
		muts := make([]table.Mutation, 100)
		for i := range muts {
			muts[i] = table.Images.Mutation(table.Image{ImageID: "a", Detail: detail, Version: int64(i)})
		}
		if err := s.Apply(t.Context(), muts); err != nil {
			t.Fatal(err)
		}
	}
	p := publisher{log: s.log}
	groups, next := 0, int64(0)
	for next < rows {
		entries, err := p.oldest()
		if err != nil || len(entries) == 0 {
			t.Fatalf("%d entries, %v", len(entries), err)
		}
		size := 0
		for _, e := range entries {
			size += len(e.data)
			next = e.position + e.count
		}
		if size > publishBytes+2*entryBytes {
			t.Errorf("%d bytes are read at once", size)
		}
		if err := s.log.forget(entries, next); err != nil {
			t.Fatal(err)
		}
		groups++
	}
	if groups < 2 {
		t.Errorf("%d groups", groups)
	}
}
