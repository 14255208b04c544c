package runners

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	restTimeout   = 10 * time.Second
	pollSavepoint = 200 * time.Millisecond
)

// ErrNoJob is returned when Flink knows no job of a name, or none that runs.
var ErrNoJob = errors.New("no such job")

// ErrNoCheckpoint is returned when a job has completed no checkpoint that is still there.
var ErrNoCheckpoint = errors.New("no checkpoint is known")

// FlinkREST speaks with Flink's JobManager (Flink 1.19, REST API v1). A job is named as its pipeline; of several with
// one name the newest is meant.
type FlinkREST struct{ URL string }

// FlinkJob is a job as Flink sees it.
type FlinkJob struct {
	ID        string `json:"jid"`
	Name      string `json:"name"`
	State     string `json:"state"`
	StartTime int64  `json:"start-time"` // milliseconds since 1970
	Duration  int64  `json:"duration"`   // milliseconds
}

// Running reports whether the job has not ended.
func (j FlinkJob) Running() bool {
	switch j.State {
	case "FINISHED", "CANCELED", "FAILED":
		return false
	}
	return true
}

// Checkpoint is a checkpoint or savepoint that a job can begin from.
type Checkpoint struct {
	ID        int64  `json:"id"`
	Path      string `json:"external_path"`
	Completed int64  `json:"latest_ack_timestamp"` // milliseconds since 1970
	Size      int64  `json:"state_size"`           // bytes
	Duration  int64  `json:"end_to_end_duration"`  // milliseconds
}

// Checkpoints is what a job has to begin from again.
type Checkpoints struct {
	Counts struct {
		Completed, Failed, Restored int64
	} `json:"counts"`
	Latest struct {
		Completed *Checkpoint `json:"completed"`
		Savepoint *Checkpoint `json:"savepoint"`
	} `json:"latest"`
}

// Newest is the newest of the completed ones, nil if there is none.
func (c Checkpoints) Newest() *Checkpoint {
	newest := c.Latest.Completed
	if s := c.Latest.Savepoint; s != nil && (newest == nil || s.ID > newest.ID) {
		newest = s
	}
	return newest
}

// Jobs lists the jobs, the newest first.
func (f FlinkREST) Jobs(ctx context.Context) ([]FlinkJob, error) {
	var answer struct{ Jobs []FlinkJob }
	if err := f.call(ctx, http.MethodGet, "/jobs/overview", nil, &answer); err != nil {
		return nil, fmt.Errorf("list Flink's jobs: %w", err)
	}
	slices.SortFunc(answer.Jobs, func(a, b FlinkJob) int { return cmp.Compare(b.StartTime, a.StartTime) })
	return answer.Jobs, nil
}

// Job finds the newest job of a name, running or not.
func (f FlinkREST) Job(ctx context.Context, name string) (FlinkJob, error) {
	jobs, err := f.Jobs(ctx)
	if err != nil {
		return FlinkJob{}, err
	}
	for _, j := range jobs {
		if j.Name == name {
			return j, nil
		}
	}
	return FlinkJob{}, fmt.Errorf("find job %s on Flink: %w", name, ErrNoJob)
}

// running finds the newest job of a name that runs.
func (f FlinkREST) running(ctx context.Context, name string) (FlinkJob, error) {
	jobs, err := f.Jobs(ctx)
	if err != nil {
		return FlinkJob{}, err
	}
	last := ""
	for _, j := range jobs {
		switch {
		case j.Name != name:
		case j.Running():
			return j, nil
		case last == "":
			last = ": the last one is " + strings.ToLower(j.State)
		}
	}
	return FlinkJob{}, fmt.Errorf("find job %s on Flink: %w%s", name, ErrNoJob, last)
}

// Checkpoints returns what a job, also one that has ended, has to begin from again: nothing if it makes none.
func (f FlinkREST) Checkpoints(ctx context.Context, j FlinkJob) (Checkpoints, error) {
	var c Checkpoints
	err := f.call(ctx, http.MethodGet, "/jobs/"+j.ID+"/checkpoints", nil, &c)
	var refused *restError
	if errors.As(err, &refused) && refused.status == http.StatusNotFound {
		return c, nil
	}
	if err != nil {
		return c, fmt.Errorf("list checkpoints of %s: %w", j.Name, err)
	}
	return c, nil
}

// LastCheckpoint returns where the next job of a name can begin, by the last one, which must have ended.
func (f FlinkREST) LastCheckpoint(ctx context.Context, name string) (string, error) {
	j, err := f.Job(ctx, name)
	if err != nil {
		return "", err
	}
	if j.Running() {
		return "", fmt.Errorf("restart job %s: it is %s; cancel it first", name, strings.ToLower(j.State))
	}
	c, err := f.Checkpoints(ctx, j)
	if err != nil {
		return "", err
	}
	newest := c.Newest()
	if newest == nil || newest.Path == "" {
		return "", fmt.Errorf("restart job %s: %w", name, ErrNoCheckpoint)
	}
	return newest.Path, nil
}

// Cancel ends a job at once. What it had checkpointed stays.
func (f FlinkREST) Cancel(ctx context.Context, name string) error {
	j, err := f.running(ctx, name)
	if err != nil {
		return err
	}
	return f.cancel(ctx, j)
}

func (f FlinkREST) cancel(ctx context.Context, j FlinkJob) error {
	if err := f.call(ctx, http.MethodPatch, "/jobs/"+j.ID+"?mode=cancel", nil, nil); err != nil {
		return fmt.Errorf("cancel job %s: %w", j.Name, err)
	}
	_, err := f.wait(ctx, j)
	return err
}

// next is the first job of a name since the list was made, running or not.
func (f FlinkREST) next(ctx context.Context, name string, since []FlinkJob) (FlinkJob, error) {
	jobs, err := f.Jobs(ctx)
	if err != nil {
		return FlinkJob{}, err
	}
	for _, j := range slices.Backward(jobs) { // the newest is the first
		if j.Name == name && !slices.ContainsFunc(since, func(o FlinkJob) bool { return o.ID == j.ID }) {
			return j, nil
		}
	}
	return FlinkJob{}, fmt.Errorf("find job %s on Flink: %w", name, ErrNoJob)
}

// cancelAll ends every job of a name that runs, if any does.
func (f FlinkREST) cancelAll(ctx context.Context, name string) error {
	for {
		err := f.Cancel(ctx, name)
		if errors.Is(err, ErrNoJob) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// Drain ends a job when all that it has read has gone through and every window has fired. end must make the job's
// readers end: Flink's own drain waits for them, and its sources wait for that.
func (f FlinkREST) Drain(ctx context.Context, name string, end func(context.Context) error) error {
	j, err := f.running(ctx, name)
	if err != nil {
		return err
	}
	if err := end(ctx); err != nil {
		return err
	}
	if _, err := f.savepoint(ctx, j, "stop", map[string]any{"drain": true}); err != nil {
		return fmt.Errorf("drain job %s: %w", name, err)
	}
	if j, err = f.wait(ctx, j); err == nil && j.State != "FINISHED" {
		err = fmt.Errorf("drain job %s: it is %s", name, strings.ToLower(j.State))
	}
	return err
}

// wait waits until a job has ended.
func (f FlinkREST) wait(ctx context.Context, j FlinkJob) (FlinkJob, error) {
	for j.Running() {
		if err := pause(ctx, pollSavepoint); err != nil {
			return j, fmt.Errorf("wait for the end of job %s: %w", j.Name, err)
		}
		if err := f.call(ctx, http.MethodGet, "/jobs/"+j.ID, nil, &j); err != nil {
			return j, fmt.Errorf("wait for the end of job %s: %w", j.Name, err)
		}
	}
	return j, nil
}

// Savepoint makes a savepoint of a running job in a folder, given as a URL, or in Flink's own if it is empty, and
// returns where it is.
func (f FlinkREST) Savepoint(ctx context.Context, name, dir string) (string, error) {
	j, err := f.running(ctx, name)
	if err != nil {
		return "", err
	}
	body := map[string]any{"cancel-job": false}
	if dir != "" {
		body["target-directory"] = dir
	}
	path, err := f.savepoint(ctx, j, "savepoints", body)
	if err != nil {
		return "", fmt.Errorf("make a savepoint of %s: %w", name, err)
	}
	return path, nil
}

// savepoint asks for what makes a savepoint and waits for it.
func (f FlinkREST) savepoint(ctx context.Context, j FlinkJob, what string, body map[string]any) (string, error) {
	var asked struct {
		ID string `json:"request-id"`
	}
	if err := f.call(ctx, http.MethodPost, "/jobs/"+j.ID+"/"+what, body, &asked); err != nil {
		return "", err
	}
	for {
		var answer struct {
			Status    struct{ ID string }
			Operation struct {
				Location     string
				FailureCause struct {
					StackTrace string `json:"stack-trace"`
				} `json:"failure-cause"`
			}
		}
		if err := f.call(ctx, http.MethodGet, "/jobs/"+j.ID+"/savepoints/"+asked.ID, nil, &answer); err != nil {
			return "", err
		}
		if answer.Status.ID == "COMPLETED" {
			if trace := answer.Operation.FailureCause.StackTrace; trace != "" {
				return "", errors.New(cause(trace))
			}
			return answer.Operation.Location, nil
		}
		if err := pause(ctx, pollSavepoint); err != nil {
			return "", err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// call makes one request.
func (f FlinkREST) call(ctx context.Context, method, path string, body, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, restTimeout)
	defer cancel()
	var sent io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
		sent = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(f.URL, "/")+path, sent)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("ask Flink's JobManager: %w", err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(io.LimitReader(res.Body, 16<<20))
	if err != nil {
		return fmt.Errorf("read the answer of Flink's JobManager: %w", err)
	}
	if res.StatusCode/100 != 2 {
		return &restError{res.StatusCode, problem(data)}
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(data, answer); err != nil {
		return fmt.Errorf("read the answer of Flink's JobManager: %w", err)
	}
	return nil
}

// restError is a refusal by the JobManager.
type restError struct {
	status int
	text   string
}

func (e *restError) Error() string {
	return fmt.Sprintf("ask Flink's JobManager: %d: %s", e.status, e.text)
}

// problem is what Flink says is wrong, in one line.
func problem(data []byte) string {
	var p struct{ Errors []string }
	if json.Unmarshal(data, &p) == nil && len(p.Errors) > 0 {
		return cause(p.Errors[len(p.Errors)-1])
	}
	return cause(string(data[:min(len(data), 200)]))
}
