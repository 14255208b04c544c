package runners

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
)

// TestABatchEndsItsOwnJob has jobs of one name that ran before it was submitted, its own, and one that came after.
func TestABatchEndsItsOwnJob(t *testing.T) {
	jobs := []FlinkJob{
		{ID: "later", Name: "derive", State: "RUNNING", StartTime: 4}, {ID: "other", Name: "live", State: "RUNNING", StartTime: 3},
		{ID: "own", Name: "derive", State: "RUNNING", StartTime: 2}, {ID: "earlier", Name: "derive", State: "RUNNING", StartTime: 1},
	}
	var known []FlinkJob
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/jobs/overview":
			_ = json.NewEncoder(w).Encode(map[string]any{"jobs": known})
		case r.URL.Path != "/jobs/own":
			t.Errorf("%s %s", r.Method, r.URL)
		case r.Method == http.MethodPatch:
			jobs[2].State = "CANCELED"
			_, _ = w.Write([]byte("{}"))
		default:
			_ = json.NewEncoder(w).Encode(jobs[2])
		}
	}))
	t.Cleanup(server.Close)
	rest := FlinkREST{server.URL}
	known = jobs[3:]
	before, err := rest.Jobs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rest.next(t.Context(), "derive", before); !errors.Is(err, ErrNoJob) {
		t.Errorf("before it is there: %v", err)
	}
	known = jobs
	own, err := rest.next(t.Context(), "derive", before)
	if err != nil || own.ID != "own" {
		t.Fatalf("its own is %+v, %v", own, err)
	}
	if err := rest.cancel(t.Context(), own); err != nil {
		t.Fatal(err)
	}
	if jobs[2].State != "CANCELED" {
		t.Error("it runs on")
	}
}
