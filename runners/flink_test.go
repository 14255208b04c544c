package runners_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"

	"darkroom/runners"
)

func TestFlinkOptionsNameTheFlagThatIsWrong(t *testing.T) {
	good := runners.FlinkOptions{Parallelism: 1, MaxParallelism: 128, CheckpointInterval: time.Second, BundleTime: time.Second, BundleSize: 1}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for flag, spoil := range map[string]func(*runners.FlinkOptions){
		"--parallelism":         func(o *runners.FlinkOptions) { o.Parallelism = 0 },
		"--max-parallelism":     func(o *runners.FlinkOptions) { o.Parallelism = 129 },
		"--checkpoint-interval": func(o *runners.FlinkOptions) { o.CheckpointInterval = 0 },
		"--checkpoint-dir":      func(o *runners.FlinkOptions) { o.CheckpointDir = "/checkpoints" },
		"--bundle-time":         func(o *runners.FlinkOptions) { o.BundleTime = 0 },
		"--bundle-size":         func(o *runners.FlinkOptions) { o.BundleSize = 0 },
		"--option: finish_bundle_before_checkpointing": func(o *runners.FlinkOptions) {
			o.Option = map[string]string{"finish_bundle_before_checkpointing": "false"}
		},
		"--option: checkpointing_interval": func(o *runners.FlinkOptions) {
			o.Option = map[string]string{"checkpointing_interval": "1"}
		},
	} {
		bad := good
		spoil(&bad)
		if err := bad.Validate(); err == nil || !strings.Contains(err.Error(), flag) {
			t.Errorf("%s: %v", flag, err)
		}
	}
}

// jobManager is a JobManager that answers from a table: by method and path, a status and a body.
func jobManager(t *testing.T, answers map[string]func() (int, any)) runners.FlinkREST {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, ok := answers[r.Method+" "+r.URL.RequestURI()]
		if !ok {
			t.Errorf("asked for %s %s", r.Method, r.URL)
			w.WriteHeader(http.StatusTeapot)
			return
		}
		status, body := answer()
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(body)
	}))
	t.Cleanup(server.Close)
	return runners.FlinkREST{URL: server.URL}
}

type object = map[string]any

func always(status int, body any) func() (int, any) {
	return func() (int, any) { return status, body }
}

func jobs(states ...string) func() (int, any) {
	var list []object
	for i, s := range states {
		list = append(list, object{"jid": fmt.Sprint("j", i), "name": "live", "state": s, "start-time": i})
	}
	return always(200, object{"jobs": append(list, object{"jid": "x", "name": "other", "state": "RUNNING", "start-time": 99})})
}

func TestARestartBeginsFromTheNewestCheckpointOfTheLastJob(t *testing.T) {
	checkpoint := func(id int) object { return object{"id": id, "external_path": fmt.Sprint("file:/", id)} }
	for name, c := range map[string]struct {
		jobs   func() (int, any)
		status int
		latest object
		want   string
		err    error
	}{
		"checkpoint":       {jobs("RUNNING", "CANCELED"), 200, object{"completed": checkpoint(7), "savepoint": checkpoint(3)}, "file:/7", nil},
		"savepoint":        {jobs("FAILED", "FINISHED"), 200, object{"completed": checkpoint(7), "savepoint": checkpoint(8)}, "file:/8", nil},
		"only savepoint":   {jobs("", "FAILED"), 200, object{"savepoint": checkpoint(2)}, "file:/2", nil},
		"none":             {jobs("", "FAILED"), 200, object{}, "", runners.ErrNoCheckpoint},
		"not enabled":      {jobs("", "FAILED"), 404, object{}, "", runners.ErrNoCheckpoint},
		"no such job":      {jobs(), 200, object{}, "", runners.ErrNoJob},
		"is still running": {jobs("CANCELED", "RUNNING"), 200, object{"completed": checkpoint(7)}, "", nil},
	} {
		f := jobManager(t, map[string]func() (int, any){
			"GET /jobs/overview": c.jobs, "GET /jobs/j1/checkpoints": always(c.status, object{"latest": c.latest}),
		})
		path, err := f.LastCheckpoint(t.Context(), "live")
		if path != c.want || (err == nil) != (c.want != "") || c.err != nil && !errors.Is(err, c.err) {
			t.Errorf("%s: %q, %v", name, path, err)
		}
	}
}

// TestADrainAsksTheReadersFirst has a job that ends when both its readers and Flink were asked.
func TestADrainAsksTheReadersFirst(t *testing.T) {
	asked, polls := false, 0
	f := jobManager(t, map[string]func() (int, any){
		"GET /jobs/overview": jobs("RUNNING"),
		"POST /jobs/j0/stop": func() (int, any) {
			if !asked {
				t.Error("Flink was asked before the readers")
			}
			return 202, object{"request-id": "r"}
		},
		"GET /jobs/j0/savepoints/r": func() (int, any) {
			if polls++; polls < 3 {
				return 200, object{"status": object{"id": "IN_PROGRESS"}}
			}
			return 200, object{"status": object{"id": "COMPLETED"}, "operation": object{"location": "file:/s"}}
		},
		"GET /jobs/j0": always(200, object{"jid": "j0", "name": "live", "state": "FINISHED"}),
	})
	if err := f.Drain(t.Context(), "live", func(context.Context) error { asked = true; return nil }); err != nil {
		t.Error(err)
	}
}

func TestWhatFlinkRefusesIsOneLine(t *testing.T) {
	const trace = "java.util.concurrent.CompletionException: x\n\tat a.B.c(B.java:1)\nCaused by: org.apache.flink.Failure: the disk is full\n\tat d.E.f(E.java:2)\n\t... 3 more\n"
	f := jobManager(t, map[string]func() (int, any){
		"GET /jobs/overview":         jobs("RUNNING"),
		"POST /jobs/j0/savepoints":   always(202, object{"request-id": "r"}),
		"GET /jobs/j0/savepoints/r":  always(200, object{"status": object{"id": "COMPLETED"}, "operation": object{"failure-cause": object{"stack-trace": trace}}}),
		"PATCH /jobs/j0?mode=cancel": always(500, object{"errors": []string{"Internal server error.", trace}}),
	})
	_, err := f.Savepoint(t.Context(), "live", "")
	for _, err := range []error{err, f.Cancel(t.Context(), "live")} {
		if err == nil || !strings.HasSuffix(err.Error(), "org.apache.flink.Failure: the disk is full") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v", err)
		}
	}
}

func TestAStreamIsNotRunTwice(t *testing.T) {
	p, s := beam.NewPipelineWithRoot()
	beam.Impulse(s)
	f := runners.Flink{JobServer: "127.0.0.1:1", REST: jobManager(t, map[string]func() (int, any){"GET /jobs/overview": jobs("RUNNING")})}
	if _, err := f.Submit(t.Context(), "live", p, true, "", runners.FlinkOptions{}); !errors.Is(err, runners.ErrRunning) {
		t.Errorf("beside a job that runs: %v", err)
	}
	f.REST = jobManager(t, map[string]func() (int, any){"GET /jobs/overview": jobs("CANCELED")})
	_, err := f.Submit(t.Context(), "live", p, true, "", runners.FlinkOptions{})
	if errors.Is(err, runners.ErrRunning) || err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("beside one that has ended: %v", err)
	}
}

// TestAStreamCancelsWhatWasLeft has two jobs of the name that run, one of them not the newest.
func TestAStreamCancelsWhatWasLeft(t *testing.T) {
	states := []string{"RUNNING", "FAILED", "RESTARTING"}
	end := func(i int) func() (int, any) {
		return func() (int, any) { states[i] = "CANCELED"; return 202, nil }
	}
	state := func(i int) func() (int, any) {
		return func() (int, any) {
			return 200, object{"jid": fmt.Sprint("j", i), "name": "live", "state": states[i]}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	f := runners.Flink{JobServer: "127.0.0.1:1", REST: jobManager(t, map[string]func() (int, any){
		"GET /jobs/overview":         func() (int, any) { return jobs(states...)() },
		"PATCH /jobs/j0?mode=cancel": end(0), "PATCH /jobs/j2?mode=cancel": end(2),
		"GET /jobs/j0": state(0), "GET /jobs/j2": state(2),
	})}
	err := f.Stream(ctx, runners.Streaming{Name: "live", Build: func(context.Context) (*beam.Pipeline, error) {
		cancel() // what was left is ended before anything is built
		return nil, errors.New("enough")
	}}, "", runners.FlinkOptions{}, slog.New(slog.DiscardHandler))
	if states[0] != "CANCELED" || states[2] != "CANCELED" {
		t.Errorf("%v, %v", states, err)
	}
}

func TestFlinkTellsTheCountersOfAJob(t *testing.T) {
	const analyze, decode = "0.[12]{live_Process__tableio_Write}.darkroom_analyze_analysed", "0.[4]{a}.darkroom_decode_refused"
	other := "1" + analyze[1:]
	ids := func(ids ...string) func() (int, any) {
		var list []object
		for i, id := range ids {
			list = append(list, object{"id": id, "value": fmt.Sprint(10 * (i + 1))})
		}
		return always(http.StatusOK, list)
	}
	rest := jobManager(t, map[string]func() (int, any){
		"GET /jobs/overview":               jobs("RUNNING"),
		"GET /jobs/j0":                     always(http.StatusOK, object{"vertices": []object{{"id": "v0"}, {"id": "v1"}, {"id": "v2"}}}),
		"GET /jobs/j0/vertices/v0/metrics": ids("0.numRecordsIn", analyze, other),
		"GET /jobs/j0/vertices/v1/metrics": ids(decode),
		"GET /jobs/j0/vertices/v2/metrics": ids(), // none yet
		"GET /jobs/j0/vertices/v0/metrics?get=" + url.QueryEscape(analyze) + "," + url.QueryEscape(other): ids(analyze, other),
		"GET /jobs/j0/vertices/v1/metrics?get=" + url.QueryEscape(decode):                                 ids(decode),
	})
	job, err := rest.Job(t.Context(), "live")
	if err != nil {
		t.Fatal(err)
	}
	got, err := rest.Counters(t.Context(), job)
	if err != nil {
		t.Fatal(err)
	}
	want := []runners.Counter{
		{Step: "[12]{live_Process__tableio_Write}", Namespace: "darkroom.analyze", Name: "analysed", Value: 30},
		{Step: "[4]{a}", Namespace: "darkroom.decode", Name: "refused", Value: 10},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
