package monitor_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"darkroom/internal/monitor"
)

const topic, group = "events", "darkroom-live"

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// watched is a pipeline of two partitions that the test plays.
type watched struct {
	t   *testing.T
	cl  *kgo.Client
	log *bytes.Buffer
	*monitor.Monitor
	server *httptest.Server

	completeTo time.Time
	failing    error
}

func newWatched(t *testing.T) *watched {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, topic))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	w := &watched{t: t, log: &bytes.Buffer{}, completeTo: noon}
	if w.cl, err = kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.cl.Close)
	w.Monitor, err = monitor.New(monitor.Target{
		Pipeline: "live", Brokers: c.ListenAddrs(), Topic: topic, Group: group,
		CompleteTo: func(context.Context) (time.Time, error) { return w.completeTo, w.failing },
		Counters: func(context.Context) ([]monitor.Counter, error) {
			return []monitor.Counter{{Step: "read", Namespace: "darkroom.kafkaio", Name: "lost", Value: 7}}, nil
		},
	}, monitor.Options{Every: 10 * time.Second, StallAfter: time.Minute}, slog.New(slog.NewTextHandler(w.log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(w)
	w.server = httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	t.Cleanup(w.server.Close)
	return w
}

func (w *watched) produce(partition int32, n int) {
	w.t.Helper()
	for range n {
		r := &kgo.Record{Topic: topic, Partition: partition, Value: []byte("x")}
		if err := w.cl.ProduceSync(w.t.Context(), r).FirstErr(); err != nil {
			w.t.Fatal(err)
		}
	}
}

// read plays the reader.
func (w *watched) read(partition int32, to int64) {
	w.t.Helper()
	place := kadm.Offsets{}
	place.Add(kadm.Offset{Topic: topic, Partition: partition, At: to, LeaderEpoch: -1})
	if err := kadm.NewClient(w.cl).CommitAllOffsets(w.t.Context(), group, place); err != nil {
		w.t.Fatal(err)
	}
}

// look looks so many seconds after noon, and returns what a scrape gives.
func (w *watched) look(second int) string {
	w.t.Helper()
	w.Look(w.t.Context(), noon.Add(time.Duration(second)*time.Second))
	res, err := http.Get(w.server.URL)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		w.t.Fatalf("scrape: %s %v\n%s", res.Status, err, text)
	}
	return string(text)
}

func (w *watched) wantStalled(second int, want bool) {
	w.t.Helper()
	line := `darkroom_pipeline_stalled{pipeline="live"} 0`
	if want {
		line = `darkroom_pipeline_stalled{pipeline="live"} 1`
	}
	if text := w.look(second); !strings.Contains(text, line) {
		w.t.Errorf("after %d s no %s in\n%s", second, line, text)
	}
}

// logged returns the lines since it was called last.
func (w *watched) logged() []string {
	text := strings.TrimSpace(w.log.String())
	w.log.Reset()
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

func TestAScrapeTellsWhereAPipelineIs(t *testing.T) {
	w := newWatched(t)
	w.produce(0, 5)
	w.produce(1, 3)
	if text := w.look(0); strings.Contains(text, "darkroom_kafka") {
		t.Errorf("no reader has said anything, and yet:\n%s", text)
	}
	w.read(0, 2)
	w.read(1, 3)
	text := w.look(1)
	for _, line := range []string{
		`darkroom_kafka_lag_records{partition="0",pipeline="live",topic="events"} 3`,
		`darkroom_kafka_lag_records{partition="1",pipeline="live",topic="events"} 0`,
		`darkroom_kafka_position_offset{partition="0",pipeline="live",topic="events"} 2`,
		`darkroom_kafka_position_offset{partition="1",pipeline="live",topic="events"} 3`,
		`darkroom_pipeline_complete_to_timestamp_seconds{pipeline="live"} 1.7672688e+09`,
		`darkroom_pipeline_stalled{pipeline="live"} 0`,
		`darkroom_beam_counter_total{name="lost",namespace="darkroom.kafkaio",pipeline="live",step="read"} 7`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no %s in\n%s", line, text)
		}
	}
}

func TestAStallIsSaidOnceAndSoIsItsEnd(t *testing.T) {
	w := newWatched(t)
	complete := func(second int) { w.completeTo = noon.Add(time.Duration(second) * time.Second) }
	w.produce(0, 5)
	w.read(0, 2)
	w.wantStalled(0, false)
	w.produce(0, 1)
	complete(50)
	w.wantStalled(59, false)
	w.wantStalled(60, true)
	w.produce(0, 1)
	complete(70)
	w.wantStalled(70, true)
	if lines := w.logged(); len(lines) != 1 || !strings.Contains(lines[0], "no reader has moved for 1m0s, while the lag has grown") ||
		!strings.Contains(lines[0], `pipeline=live lag=4 partitions="0 at 2 of 6" complete_to=2026-01-01T12:00:50Z`) {
		t.Errorf("logged %q", lines)
	}
	w.read(0, 3)
	w.wantStalled(80, false)
	if lines := w.logged(); len(lines) != 1 || !strings.Contains(lines[0], "the pipeline goes on") {
		t.Errorf("logged %q", lines)
	}
	// Nothing to read, or the same lag for long, is no stall.
	complete(140)
	w.wantStalled(150, false)
	w.read(0, 7)
	complete(210)
	w.wantStalled(220, false)
	complete(280)
	w.wantStalled(290, false)
	if lines := w.logged(); lines != nil {
		t.Errorf("logged %q", lines)
	}
}

// What comes after a quiet hour, the moment before a look, has not been waiting since then.
func TestTheFirstRecordAfterAQuietTimeIsNoStall(t *testing.T) {
	w := newWatched(t)
	complete := func(second int) { w.completeTo = noon.Add(time.Duration(second) * time.Second) }
	w.produce(0, 5)
	w.read(0, 5)
	for second := 0; second <= 3600; second += 10 {
		complete(second)
		w.wantStalled(second, false)
	}
	w.produce(0, 2)
	for second := 3610; second < 3660; second += 10 {
		complete(second)
		w.wantStalled(second, false)
	}
	complete(3660)
	w.wantStalled(3660, true)
	if lines := w.logged(); len(lines) != 1 || !strings.Contains(lines[0], "no reader has moved for 1m0s, while the lag has grown") {
		t.Errorf("logged %q", lines)
	}
}

func TestFiguresThatStandStillAreAStall(t *testing.T) {
	w := newWatched(t)
	w.wantStalled(0, false)
	for i, second := range []int{30, 59} { // the readers read on
		w.produce(0, 1)
		w.read(0, int64(i+1))
		w.wantStalled(second, false)
	}
	w.failing = errors.New("the table store is away")
	w.completeTo = time.Time{}
	w.wantStalled(60, true)
	if lines := w.logged(); len(lines) != 1 || !strings.Contains(lines[0], "complete_to has not moved for 1m0s") ||
		!strings.Contains(lines[0], "complete_to=2026-01-01T12:00:00Z") {
		t.Errorf("logged %q", lines)
	}
	w.failing, w.completeTo = nil, noon.Add(time.Second)
	w.wantStalled(61, false)
}
