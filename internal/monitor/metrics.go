package monitor

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	lagDesc = prometheus.NewDesc("darkroom_kafka_lag_records",
		"Records of a partition that the pipeline has not read.", []string{"pipeline", "topic", "partition"}, nil)
	positionDesc = prometheus.NewDesc("darkroom_kafka_position_offset",
		"Offset of a partition up to which the pipeline has read.", []string{"pipeline", "topic", "partition"}, nil)
	completeDesc = prometheus.NewDesc("darkroom_pipeline_complete_to_timestamp_seconds",
		"Event time before which everything is in the tables.", []string{"pipeline"}, nil)
	stalledDesc = prometheus.NewDesc("darkroom_pipeline_stalled",
		"1 while the pipeline stands still, else 0.", []string{"pipeline"}, nil)
	counterDesc = prometheus.NewDesc("darkroom_beam_counter_total",
		"Counter of a step of the running job; it begins anew with a new job.",
		[]string{"pipeline", "step", "namespace", "name"}, nil)
)

// Describe implements prometheus.Collector.
func (m *Monitor) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{lagDesc, positionDesc, completeDesc, stalledDesc, counterDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *Monitor) Collect(ch chan<- prometheus.Metric) {
	m.mu.Lock()
	seen, stalled := m.last, m.stop.stalled
	m.mu.Unlock()
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, append([]string{m.target.Pipeline}, labels...)...)
	}
	for _, p := range seen.places {
		partition := strconv.Itoa(int(p.partition))
		gauge(lagDesc, float64(p.lag()), m.target.Topic, partition)
		gauge(positionDesc, float64(p.position), m.target.Topic, partition)
	}
	if !seen.completeTo.IsZero() {
		gauge(completeDesc, float64(seen.completeTo.UnixMicro())/1e6)
	}
	value := 0.0
	if stalled {
		value = 1
	}
	gauge(stalledDesc, value)
	for _, c := range seen.counters {
		ch <- prometheus.MustNewConstMetric(counterDesc, prometheus.CounterValue, float64(c.Value),
			m.target.Pipeline, c.Step, c.Namespace, c.Name)
	}
}
