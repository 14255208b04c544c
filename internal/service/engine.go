// Package service holds what the HTTP services share: errors as problem+json (RFC 9457), health and readiness, metrics,
// and a server that stops cleanly.
package service

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// checkTimeout bounds one readiness check, so that /readyz answers while a part hangs.
const checkTimeout = 2 * time.Second

// Check is one thing that a service needs in order to serve.
type Check struct {
	Name string
	Ping func(context.Context) error
}

// NewRegistry returns a metrics registry with the process's own metrics.
func NewRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// NewEngine returns a Gin engine with /healthz (the process answers), /readyz (every check passes; it names those that
// do not), /metrics (Prometheus), a problem for each unknown path, wrong method and panic, and request metrics named
// darkroom_http_*, labelled with the service's name.
func NewEngine(name string, log *slog.Logger, reg *prometheus.Registry, checks ...Check) *gin.Engine {
	gin.SetMode(gin.ReleaseMode)
	e := gin.New()
	e.HandleMethodNotAllowed = true
	e.RedirectTrailingSlash = false // the contracts know no such paths: a GET of no id would be answered with the list
	e.Use(measure(name, reg), recovery(log))
	e.NoRoute(func(c *gin.Context) { Abort(c, KindNotFound, "no resource at %s", c.Request.URL.Path) })
	e.NoMethod(func(c *gin.Context) {
		if c.Request.Method == http.MethodHead {
			asGET(e, c)
			return
		}
		if allow := c.Writer.Header().Get("Allow"); strings.Contains(allow, "GET") && !strings.Contains(allow, "HEAD") {
			c.Header("Allow", allow+", HEAD")
		}
		Abort(c, KindMethodNotAllowed, "%s has no %s", c.Request.URL.Path, c.Request.Method)
	})
	e.GET("/healthz", func(c *gin.Context) { c.JSON(http.StatusOK, gin.H{"status": "ok"}) })
	e.GET("/readyz", func(c *gin.Context) {
		status, missing := Ready(c, checks)
		if len(missing) > 0 {
			c.JSON(http.StatusServiceUnavailable, gin.H{"status": "not ready", "not_ready": missing, "checks": status})
			return
		}
		c.JSON(http.StatusOK, gin.H{"status": "ready", "checks": status})
	})
	e.GET("/metrics", gin.WrapH(promhttp.HandlerFor(reg, promhttp.HandlerOpts{Registry: reg})))
	return e
}

// asGET answers HEAD as GET, which is to be there wherever that is (RFC 9110, section 9.1). net/http leaves out the body.
func asGET(e *gin.Engine, c *gin.Context) {
	get := *c.Request // net/http's own says what came
	get.Method = http.MethodGet
	c.Request = &get
	c.Status(http.StatusOK) // 405 until here
	c.Writer.Header().Del("Allow")
	e.HandleContext(c)
}

// Ready runs the checks side by side. It returns "ok" or the error for each name, and the names that failed, in order.
func Ready(ctx context.Context, checks []Check) (status map[string]string, missing []string) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	results := make([]error, len(checks))
	var wg sync.WaitGroup
	for i, c := range checks {
		wg.Go(func() { results[i] = c.Ping(ctx) })
	}
	wg.Wait()
	status = make(map[string]string, len(checks))
	for i, c := range checks {
		status[c.Name] = "ok"
		if results[i] != nil {
			status[c.Name] = results[i].Error()
			missing = append(missing, c.Name)
		}
	}
	return status, missing
}

// recovery makes a problem of a panic. Gin's own takes http.ErrAbortHandler for a connection that is broken already, and
// lets net/http end the answer as if it were whole.
func recovery(log *slog.Logger) gin.HandlerFunc {
	return func(c *gin.Context) {
		defer func() {
			cause := recover()
			if cause == nil {
				return
			}
			if err, ok := cause.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(http.ErrAbortHandler) // net/http's own way to cut a connection
			}
			log.Error("request panicked", "path", c.Request.URL.Path, "panic", cause, "stack", string(debug.Stack()))
			if c.Writer.Written() {
				panic(http.ErrAbortHandler) // what was begun must not look whole
			}
			Abort(c, KindInternal, "the request could not be served; the service's log has the reason")
		}()
		c.Next()
	}
}

func measure(name string, reg *prometheus.Registry) gin.HandlerFunc {
	labels := prometheus.Labels{"service": name}
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "darkroom_http_request_seconds", Help: "Time from a request's first byte to its answer.",
		ConstLabels: labels, Buckets: prometheus.ExponentialBuckets(0.001, 2, 15),
	}, []string{"method", "route", "status"})
	inFlight := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "darkroom_http_requests_in_flight", Help: "Requests being served.", ConstLabels: labels,
	})
	reg.MustRegister(seconds, inFlight)
	return func(c *gin.Context) {
		inFlight.Inc()
		defer inFlight.Dec()
		start, method := time.Now(), c.Request.Method
		c.Next()
		if method != c.Request.Method {
			return // it was answered as another
		}
		route := c.FullPath()
		if route == "" {
			route = "unknown" // one label for every wrong path, so that a scanner cannot make a million series
		}
		seconds.WithLabelValues(methodLabel(method), route, strconv.Itoa(c.Writer.Status())).
			Observe(time.Since(start).Seconds())
	}
}

// methodLabel keeps invented methods from making series of their own.
func methodLabel(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
		http.MethodOptions:
		return m
	}
	return "other"
}
