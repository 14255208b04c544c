package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestAwaitFigures has statistics that come to a time after longer than they may stand still, and others that stop on the way.
func TestAwaitFigures(t *testing.T) {
	t.Parallel()
	to := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	const within = 10 * seenEvery
	await := func(stopAt int) error {
		asked := 0
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			asked = min(asked+1, stopAt)
			fmt.Fprintf(w, `{"as_of":%q,"images":%d}`, to.Add(time.Duration(asked-20)*time.Second).Format(time.RFC3339), asked)
		}))
		defer server.Close()
		return awaitFigures(t.Context(), server.URL, to, within)
	}
	if err := await(30); err != nil {
		t.Errorf("figures that move: %v", err)
	}
	if err := await(3); err == nil || !strings.Contains(err.Error(), "have not moved") {
		t.Errorf("figures that stand still: %v", err)
	}
}
