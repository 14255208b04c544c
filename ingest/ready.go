package ingest

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"

	"darkroom/internal/service"
)

// withReadiness answers /readyz in the engine's place. To the engine everything that is checked is needed; here an
// outage of Kafka or of the table store stops no upload, so it must not take every instance away from its clients.
func (s *Service) withReadiness(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" || r.Method != http.MethodGet {
			next.ServeHTTP(w, r)
			return
		}
		status, answer := s.readiness(r.Context())
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(answer) // a client that is gone does not mind
	})
}

// readiness is the answer of /readyz.
type readiness struct {
	Status   string            `json:"status"`
	NotReady []string          `json:"not_ready,omitempty"`
	Degraded []string          `json:"degraded,omitempty"`
	Checks   map[string]string `json:"checks"`
}

func (s *Service) readiness(ctx context.Context) (status int, answer readiness) {
	checks := []service.Check{{Name: "s3", Ping: s.blobs.Ping}, {Name: "kafka", Ping: s.kafka.probe}}
	if s.tables != nil {
		checks = append(checks, service.Check{Name: "table", Ping: s.tables.Ping})
	}
	results, missing := service.Ready(ctx, checks)
	answer = readiness{Status: "ready", Checks: results}
	if slices.Contains(missing, "s3") {
		answer.Status, answer.NotReady = "not ready", []string{"s3"}
		status = http.StatusServiceUnavailable
	}
	for _, name := range missing {
		if name != "s3" {
			answer.Degraded = append(answer.Degraded, name)
		}
	}
	if status == 0 {
		status = http.StatusOK
	}
	return status, answer
}
