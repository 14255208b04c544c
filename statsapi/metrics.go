package statsapi

import (
	"github.com/prometheus/client_golang/prometheus"
)

// metrics are those of the consumer; the HTTP ones are the shared engine's.
type metrics struct {
	records   *prometheus.CounterVec
	reset     *prometheus.CounterVec
	lag       *prometheus.GaugeVec
	apply     prometheus.Histogram
	restarts  prometheus.Counter
	consuming prometheus.Gauge
	asOf      prometheus.Gauge
}

// What became of a record.
const (
	outcomeApplied  = "applied"  // it changed the copy
	outcomeIgnored  = "ignored"  // the copy had it already, or something newer
	outcomeRejected = "rejected" // it could not be applied, and is in cdc_rejected
)

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		records: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "darkroom_statsapi_cdc_records_total",
			Help: "Records consumed: applied, ignored (not newer than the copy) or rejected (see cdc_rejected).",
		}, []string{"topic", "outcome"}),
		reset: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "darkroom_statsapi_cdc_offset_resets_total",
			Help: "Times that records were gone from a partition before they were read. The copy may lack them.",
		}, []string{"topic"}),
		lag: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "darkroom_statsapi_cdc_lag_records",
			Help: "Records of a partition that this instance has yet to consume; only while it consumes.",
		}, []string{"topic", "partition"}),
		apply: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "darkroom_statsapi_cdc_apply_seconds", Help: "Time of one transaction that applies records.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16),
		}),
		restarts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "darkroom_statsapi_consumer_restarts_total",
			Help: "Times that consuming ended with an error and began again.",
		}),
		consuming: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "darkroom_statsapi_consuming", Help: "1 while this instance is the one that consumes.",
		}),
		asOf: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "darkroom_statsapi_as_of_timestamp_seconds",
			Help: "Event time up to which the figures are complete, as this instance set it; 0 until it did.",
		}),
	}
	reg.MustRegister(m.records, m.reset, m.lag, m.apply, m.restarts, m.consuming, m.asOf)
	return m
}
