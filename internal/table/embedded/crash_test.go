package embedded_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"darkroom/internal/table"
	"darkroom/internal/table/embedded"
)

const childEnv = "DARKROOM_TABLE_TEST_CHILD"

func TestMain(m *testing.M) {
	if arg := os.Getenv(childEnv); arg != "" {
		if err := writeUntilKilled(strings.Split(arg, "|")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// writeUntilKilled is the child: it upserts ever new rows from several goroutines, and prints each when Apply has
// returned.
func writeUntilKilled(arg []string) error {
	dir, brokers, round := arg[0], arg[1], arg[2]
	s, err := embedded.Open(context.Background(), dir, embedded.Options{Brokers: []string{brokers}})
	if err != nil {
		return err
	}
	failed := make(chan error)
	var out sync.Mutex
	for writer := range 4 {
		go func() {
			for i := 0; ; i++ {
				image := fmt.Sprintf("%s-%d-%d", round, writer, i)
				if err := s.Apply(context.Background(), []table.Mutation{band(image, 1), band(image, 2)}); err != nil {
					failed <- err
					return
				}
				out.Lock()
				fmt.Println(image)
				out.Unlock()
			}
		}()
	}
	return <-failed
}

// After kill -9 at any moment, every acknowledged row is there, and every acknowledged change is published.
func TestKill9(t *testing.T) {
	b := startBroker(t)
	dir := t.TempDir()
	var acknowledged []string
	for round := range 3 {
		if round == 1 {
			b.stop() // what was logged while Kafka was away survives as well
		}
		acknowledged = append(acknowledged, killedChild(t, fmt.Sprintf("%s|%s|%d", dir, b.addr(), round), 150+100*round)...)
		if round == 1 {
			b.start()
		}
	}
	s := openStore(t, dir, embedded.Options{Brokers: []string{b.addr()}})
	for _, image := range acknowledged {
		row, err := s.Get(t.Context(), "hash_band", table.HashBands.Key(table.HashBand{Tenant: "t", Band: "sha256", Value: "v",
			ImageID: image}))
		if err != nil || row["version"] != int64(2) {
			t.Fatalf("the acknowledged row %s is %v, %v", image, row, err)
		}
	}
	eventually(t, "an empty backlog", noBacklog(s))
	b.consume(func(all []published) bool {
		seen := map[string]int64{}
		for _, r := range all {
			image := r.Row["image_id"].(string)
			if r.Version > seen[image]+1 {
				t.Fatalf("version %d of %s is published before the one that was applied before it", r.Version, image)
			}
			seen[image] = max(seen[image], r.Version)
		}
		for _, image := range acknowledged {
			if seen[image] != 2 {
				return false
			}
		}
		return true
	})
}

// killedChild runs this test binary as a child, kills it when it has acknowledged so many rows, and returns all that it
// acknowledged.
func killedChild(t *testing.T, arg string, rows int) (acknowledged []string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), childEnv+"="+arg)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(stdout)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			break // what is cut was not acknowledged
		}
		if acknowledged = append(acknowledged, strings.TrimSuffix(line, "\n")); len(acknowledged) == rows {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil || len(acknowledged) < rows {
		t.Fatalf("the child ended by itself after %d rows: %v", len(acknowledged), err)
	}
	return acknowledged
}
