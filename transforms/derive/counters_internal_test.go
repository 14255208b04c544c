package derive

import "testing"

func TestCountersOfFailuresNameTheCode(t *testing.T) {
	if code, ok := FailedCode(failedCounter("decode-timeout")); !ok || code != "decode-timeout" {
		t.Errorf("%q, %v", code, ok)
	}
	if _, ok := FailedCode(Made); ok {
		t.Error("that counts no failures")
	}
}
