package stack_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// scrape reads the metrics of a pipeline's client.
func (p *process) scrape() (string, error) {
	res, err := http.Get(strings.TrimPrefix(p.line("metrics "), "metrics "))
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return string(text), err
}

// TestPartitionsThatGrow adds partitions to the topic of a job on Flink, of which it must read what comes, and then drains
// it. The metrics tell of it meanwhile.
func TestPartitionsThatGrow(t *testing.T) {
	e := shared
	events, rejected := e.topics(t)
	in := makeInput(t, e.openBlobs(t), 3, 400)
	half := len(in.records) / 2
	in.produce(t, e.kafka(t), events, 0, half)
	s := newTables(t)
	job := e.stream(t, events, rejected, s, "--metrics-listen", "127.0.0.1:0", "--parallelism", "2")
	job.afterCheckpoints(1)
	if _, err := kadm.NewClient(e.kafka(t)).CreatePartitions(t.Context(), 2, events); err != nil {
		t.Fatal(err)
	}
	in.produce(t, e.kafka(t), events, half, len(in.records))
	eventually(t, time.Minute, func() error { return in.check(t, s) })

	var text string
	eventually(t, time.Minute, func() (err error) {
		if text, err = job.client.scrape(); err != nil {
			return err
		}
		for p := range 6 {
			line := fmt.Sprintf("darkroom_kafka_lag_records{partition=%q,pipeline=\"live\",topic=%q} 0\n", fmt.Sprint(p), events)
			if !strings.Contains(text, line) {
				return fmt.Errorf("no %s in\n%s", line, text)
			}
		}
		if counter := `darkroom_beam_counter_total{name="analysed",namespace="darkroom.analyze",pipeline="live"`; !strings.Contains(text, counter) {
			return fmt.Errorf("no %s in\n%s", counter, text)
		}
		return nil
	})
	if !strings.Contains(text, `darkroom_pipeline_stalled{pipeline="live"} 0`) {
		t.Errorf("it is said to be stalled:\n%s", text)
	}
	job.drain()
	if err := in.check(t, s); err != nil {
		t.Errorf("after the drain: %v", err)
	}
}
