package stack_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/apache/beam/sdks/v2/go/pkg/beam"

	windowed "darkroom/bench/sums"
	"darkroom/runners"
)

// freshStarts is how often TestEveryStartIsExact starts the job, unless DARKROOM_STACK_STARTS says otherwise.
const freshStarts = 10

// TestEveryStartIsExact starts a streaming job anew again and again, which reads a full topic with a checkpoint each 300
// milliseconds: a checkpoint that meets a source in the middle of a bundle may lose what is left of its range, and then
// the job hangs or its sums are short. Its workers are in this process.
func TestEveryStartIsExact(t *testing.T) {
	e := shared
	in := windowed.Input{Events: 2_000_000, Keys: 100}
	want := in.Expected()
	topic, brokers := "sums", []string{e.stack.Addr("kafka")}
	if err := in.Fill(t.Context(), brokers, topic); err != nil {
		t.Fatal(err)
	}
	var o runners.FlinkOptions
	if err := kong.ApplyDefaults(&o); err != nil {
		t.Fatal(err)
	}
	o.Parallelism, o.CheckpointInterval = 2, 300*time.Millisecond
	flink := runners.Flink{JobServer: e.stack.Addr("flink-jobserver"), REST: runners.FlinkREST{URL: e.flinkURL()}}

	for i := range fromEnv(t, "DARKROOM_STACK_STARTS", freshStarts) {
		job := windowed.Job{Name: fmt.Sprint("sums-", i), Brokers: brokers, Topic: topic, Buckets: 16}
		results := windowed.Collect(job.Name, int64(in.Events), func() {})
		pipeline, s := beam.NewPipelineWithRoot()
		job.Build(s)
		running, err := flink.Submit(t.Context(), job.Name, pipeline, true, "", o)
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-results.Done:
		case <-time.After(2 * time.Minute):
			t.Fatalf("start %d: it hangs at %+v", i, results.Total())
		}
		jobs, err := flink.REST.Jobs(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		checkpoints, err := flink.REST.Checkpoints(t.Context(), jobs[0])
		if err != nil {
			t.Fatal(err)
		}
		if err := running.Cancel(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := results.Total(); got != want {
			t.Fatalf("start %d: %+v instead of %+v", i, got, want)
		}
		t.Logf("start %d: exact after %.1f s and %d checkpoints", i, results.Took.Seconds(), checkpoints.Counts.Completed)
	}
}
