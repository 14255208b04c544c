package variant

import (
	"math"
	"testing"

	"darkroom/internal/pixels/engine"
)

func TestShare(t *testing.T) {
	for of, want := range map[float64]struct {
		size int
		duty float64
	}{1: {4, 1}, 0.5: {2, 1}, 0.25: {1, 1}, 0.1: {1, 0.4}, 0.6: {3, 0.8}} {
		if size, duty := share(of, 4); size != want.size || math.Abs(duty-want.duty) > 1e-9 {
			t.Errorf("share %v: %d at a time, %v of the time; want %+v", of, size, duty, want)
		}
	}
}

func TestALabIsSharedUntilItIsIdle(t *testing.T) {
	o := LabConfig{Choice: engine.Choice{Engine: engine.Go}, Size: 1, Duty: 1}
	a, err := Enter(o)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Enter(o)
	if err != nil || a != b {
		t.Errorf("%p and %p, %v", a, b, err)
	}
	b.Leave()
	a.close() // too early: it is in use
	c, err := Enter(o)
	if err != nil || a != c {
		t.Errorf("%p and %p, %v", a, c, err)
	}
	c.Leave()
	a.Leave()
	a.close()
	if d, err := Enter(o); err != nil || d == a {
		t.Errorf("a closed lab is entered, %v", err)
	} else {
		d.Leave()
		d.close()
	}
}
