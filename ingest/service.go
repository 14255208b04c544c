package ingest

import (
	"context"
	_ "embed"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"

	"darkroom/internal/blob"
	"darkroom/internal/service"
	"darkroom/internal/table"
)

//go:embed openapi.yaml
var contract []byte

// flushTimeout bounds what Run and Close wait for: what is not done by then, the next start finds in the journal.
const flushTimeout = time.Second

// Service is the upload service. It is safe for concurrent use.
type Service struct {
	cfg      Config
	log      *slog.Logger
	blobs    *blob.Store
	tables   table.Store // nil: no facts
	kafka    *publisher
	tidy     *tidier
	metrics  *metrics
	variants *variants
	handler  http.Handler

	busy    ids // events that this process is at
	strange ids // journal keys that cannot be read
	close   func()
}

// New returns the service. It connects to nothing: S3, Kafka and the table store may come later. The bucket must be
// there when the first upload comes, and the topic before its event can be published. Without tables, which may be nil,
// there are no facts. The metrics are registered with reg, which Handler serves at /metrics.
func New(
	cfg Config, blobs *blob.Store, tables table.Store, log *slog.Logger, reg *prometheus.Registry,
) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("check configuration: %w", err)
	}
	kafka, err := newPublisher(cfg, log)
	if err != nil {
		return nil, err
	}
	s := &Service{
		cfg: cfg, log: log, blobs: blobs, tables: tables, kafka: kafka, tidy: newTidier(blobs, log),
		metrics: newMetrics(reg, kafka),
		busy:    ids{set: map[string]struct{}{}}, strange: ids{set: map[string]struct{}{}},
	}
	s.variants = newVariants(s)
	s.close = sync.OnceFunc(func() {
		s.variants.close()
		s.flush(context.Background())
		s.tidy.close()
		s.kafka.client.Close()
	})
	engine := service.NewEngine("ingest", log, reg)
	engine.GET("/openapi.yaml", func(c *gin.Context) { c.Data(http.StatusOK, "application/yaml", contract) })
	engine.Use(joinConditions)
	RegisterHandlersWithOptions(engine, api{s}, GinServerOptions{ErrorHandler: badParameter})
	s.handler = s.withReadiness(engine)
	return s, nil
}

// Handler answers the requests of openapi.yaml.
func (s *Service) Handler() http.Handler { return s.handler }

// Close waits, shortly, for what is under way, and ends the connections to Kafka. It is called when no request is
// served and Run has returned. What it cannot finish is in the journal. A second call does nothing.
func (s *Service) Close() error {
	s.close()
	return nil
}

// flush waits until Kafka has acknowledged what was sent and what it made needless is removed, if that is soon.
func (s *Service) flush(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	s.kafka.flush(ctx)
	s.tidy.wait(ctx)
}

// joinConditions makes one line of each list that came on several (RFC 9110, section 5.3), as the generated code wants.
func joinConditions(c *gin.Context) {
	for _, name := range []string{"If-Match", "If-None-Match"} {
		if lines := c.Request.Header.Values(name); len(lines) > 1 {
			c.Request.Header.Set(name, strings.Join(lines, ", "))
		}
	}
}

// badParameter answers for a parameter that the generated code could not read.
func badParameter(c *gin.Context, err error, _ int) {
	service.Abort(c, kindInvalidParameter, "%s", err.Error())
}
