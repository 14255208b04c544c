package main

import (
	"testing"

	"darkroom/pipelines"
)

func TestABoundedRunHasAJobNameOfItsOwn(t *testing.T) {
	for bounded, want := range map[bool]string{false: "live", true: "live-bounded"} {
		if got := nameOfJob(pipelines.LiveName, &pipelines.Live{Bounded: bounded}); got != want {
			t.Errorf("bounded %v: %q, want %q", bounded, got, want)
		}
	}
}
