package ingest

import "github.com/prometheus/client_golang/prometheus"

// metrics are the service's own, beside those that all services share.
type metrics struct {
	uploads        *prometheus.CounterVec
	bytes          prometheus.Counter
	published      *prometheus.CounterVec
	journalEntries prometheus.Gauge
	journalOldest  prometheus.Gauge
	variants       *prometheus.CounterVec
	variantSeconds prometheus.Histogram
	variantsMaking prometheus.Gauge
}

// Results of an upload that are no problem's slug.
const (
	resultCreated  = "created"
	resultReplayed = "replayed"
)

// Results of a request for a variant that are no code of a failure.
const (
	variantStored = "stored" // it was there
	variantMade   = "made"
	variantShared = "shared" // it was made for another request at the same time
	variantBusy   = "too-busy"
	variantError  = "error" // of what making it takes, such as storage
)

func newMetrics(reg *prometheus.Registry, kafka *publisher) *metrics {
	m := &metrics{
		uploads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "darkroom_ingest_uploads_total",
			Help: "Uploads that were answered, by result: created, replayed, or the slug of the problem.",
		}, []string{"result"}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "darkroom_ingest_stored_bytes_total", Help: "Bytes of the uploads that created an image.",
		}),
		published: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "darkroom_ingest_events_published_total",
			Help: "Events that Kafka has acknowledged, by who sent them: request or sweeper.",
		}, []string{"by"}),
		journalEntries: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "darkroom_ingest_journal_entries", Help: "Events that wait in the journal, as the last sweep left it.",
		}),
		journalOldest: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "darkroom_ingest_journal_oldest_seconds",
			Help: "Age of the oldest event in the journal, as the last sweep found it; 0 when there is none.",
		}),
	}
	m.variants = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "darkroom_ingest_variants_total",
		Help: "Requests for variants, by result: stored, made, shared, too-busy, error, or the code of why none can be made.",
	}, []string{"result"})
	m.variantSeconds = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "darkroom_ingest_variant_seconds", Help: "Time that making a variant took, with the wait for its turn.",
		Buckets: prometheus.ExponentialBuckets(0.005, 2, 14),
	})
	m.variantsMaking = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "darkroom_ingest_variants_making", Help: "Variants that are being made, or wait for their turn.",
	})
	for _, result := range []string{variantStored, variantMade, variantShared, variantBusy, variantError} {
		m.variants.WithLabelValues(result)
	}
	up := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "darkroom_ingest_kafka_up", Help: "1 while Kafka answers, else 0.",
	}, func() float64 {
		if up, _ := kafka.state(); up {
			return 1
		}
		return 0
	})
	m.uploads.WithLabelValues(resultCreated) // there from the start, so that a rate can be taken of the first one
	m.uploads.WithLabelValues(resultReplayed)
	reg.MustRegister(m.uploads, m.bytes, m.published, m.journalEntries, m.journalOldest, up,
		m.variants, m.variantSeconds, m.variantsMaking)
	return m
}
