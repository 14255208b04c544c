package stack_test

import (
	"os"
	"os/exec"
	"testing"
)

// TestTheCassandraStore runs the store's own tests, the conformance suite among them, on the stack's Cassandra.
func TestTheCassandraStore(t *testing.T) {
	if err := shared.up(t.Context(), "cassandra"); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-timeout=10m", "darkroom/internal/table/cassandra")
	cmd.Env = append(os.Environ(), "DARKROOM_CASSANDRA="+shared.stack.Addr("cassandra"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
