package cassandra_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"darkroom/internal/table"
)

// Upserts in batches as tableio makes them: of one partition, and of a partition each.
func BenchmarkApply(b *testing.B) {
	s := openStore(b, config(b, newKeyspace(b)))
	for name, mutation := range map[string]func(n int64) table.Mutation{
		"statistics": func(n int64) table.Mutation { return stats("a", n, 1) },
		"images": func(n int64) table.Mutation {
			return table.Images.Mutation(table.Image{ImageID: fmt.Sprint(n), Tenant: "acme", State: table.StateAnalysed,
				SHA256: fmt.Sprintf("%064x", n), Bytes: n, MediaType: "image/jpeg", Format: "jpeg", Version: n})
		},
	} {
		b.Run(name, func(b *testing.B) {
			const size = 500
			n := int64(0)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					muts := make([]table.Mutation, size)
					for i := range muts {
						muts[i] = mutation(time.Now().UnixNano()%1_000_000_000*1000 + int64(i))
					}
					if err := s.Apply(b.Context(), muts); err != nil {
						b.Error(err)
						return
					}
				}
			})
			n = int64(b.N) * size
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "upserts/s")
		})
	}
}

func BenchmarkGet(b *testing.B) {
	s := openStore(b, config(b, newKeyspace(b)))
	m := stats("a", 1, 1)
	if err := s.Apply(b.Context(), []table.Mutation{m}); err != nil {
		b.Fatal(err)
	}
	var took []time.Duration
	for b.Loop() {
		began := time.Now()
		if _, err := s.Get(b.Context(), m.Table, removal(m, 0).Row); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}
