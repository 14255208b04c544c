package kafkaio

import (
	"testing"
	"time"
)

func TestAWatermarkIsInWholeSeconds(t *testing.T) {
	var w watermark
	for _, c := range []struct{ advance, want int64 }{
		{1_700_000_000_999, 1_700_000_000_000}, {1_700_000_001_000, 1_700_000_001_000}, {1_700_000_000_500, 1_700_000_001_000},
	} {
		w.advance(c.advance)
		if got := w.CurrentWatermark(); !got.Equal(time.UnixMilli(c.want)) {
			t.Errorf("after %d: %d, want %d", c.advance, got.UnixMilli(), c.want)
		}
	}
	// The time before all others does not become a later one.
	before := watermark{}
	before.ms.Store(-9_223_372_036_854_775)
	if got := before.CurrentWatermark().UnixMilli(); got > -9_223_372_036_854_775 {
		t.Errorf("the least watermark became %d", got)
	}
}
