package statsapi

import (
	"context"
	_ "embed"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/gin-gonic/gin"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"darkroom/internal/service"
)

//go:embed openapi.yaml
var contract []byte

// Service is the statistics service. It is safe for concurrent use.
type Service struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics
	pool    *pgxpool.Pool
	handler http.Handler
}

// New connects to the database and brings the schema to its newest version. It does not need Kafka: Run connects to it.
// The metrics are registered with reg, and Handler serves reg at /metrics.
func New(ctx context.Context, cfg Config, log *slog.Logger, reg *prometheus.Registry) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("check configuration: %w", err)
	}
	if err := migrate(ctx, cfg, schemaLive); err != nil {
		return nil, err
	}
	pool, err := openPool(ctx, cfg)
	if err != nil {
		return nil, err
	}
	s := &Service{cfg: cfg, log: log, metrics: newMetrics(reg), pool: pool}
	engine := service.NewEngine("statsapi", log, reg, service.Check{Name: "postgres", Ping: s.ping})
	engine.GET("/openapi.yaml", func(c *gin.Context) { c.Data(http.StatusOK, "application/yaml", contract) })
	answers := &api{store: &store{pool: pool, timeout: cfg.QueryTimeout + connectTimeout}, log: log}
	RegisterHandlersWithOptions(engine.Group("", checkQuery), answers, GinServerOptions{ErrorHandler: badParameter})
	s.handler = engine
	return s, nil
}

// Handler answers the requests of openapi.yaml.
func (s *Service) Handler() http.Handler { return s.handler }

// Close ends the connections of queries. It is called when no request is served and Run has returned.
func (s *Service) Close() { s.pool.Close() }

// ping reports whether the database answers a query of the copy.
func (s *Service) ping(ctx context.Context) error {
	var n int
	if err := s.pool.QueryRow(ctx, "SELECT count(*) FROM freshness").Scan(&n); err != nil {
		return fmt.Errorf("query PostgreSQL: %w", err)
	}
	return nil
}
