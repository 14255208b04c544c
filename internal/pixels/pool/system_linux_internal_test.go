package pool

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestForgetStart(t *testing.T) {
	before := residentFile(t)
	if err := forgetStart(); err != nil {
		t.Fatal(err)
	}
	if after := residentFile(t); after > before*3/4 {
		t.Errorf("%d kB of files are in the process, %d kB were", after, before)
	}
}

// residentFile is how many kB of files are in this process.
func residentFile(t *testing.T) (kB int) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), "RssFile:")
	if _, err := fmt.Sscanf(after, "%d kB", &kB); err != nil {
		t.Fatalf("read resident files: %v", err)
	}
	return kB
}
