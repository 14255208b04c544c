// Package e2e_test runs Darkroom as its users do: as a process, over HTTP.
package e2e_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"darkroom/internal/locked"
)

// binary is the program under test: DARKROOM_BIN, else built for this run.
var binary = sync.OnceValues(func() (string, error) {
	if b := os.Getenv("DARKROOM_BIN"); b != "" {
		return b, nil
	}
	dir, err := os.MkdirTemp("", "darkroom-e2e")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "darkroom")
	build := exec.Command("go", "build", "-o", bin, "darkroom")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return bin, nil
})

// process is one run of `darkroom up`.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	output *locked.Buffer
	ended  chan error

	ingest, stats, kafka, postgres string // addresses
}

func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return exec.Command(bin, args...)
}

// up starts `darkroom up` on free ports and waits until it is ready.
func up(t *testing.T, data string, args ...string) *process {
	t.Helper()
	args = append([]string{"up", "--data", data, "--ingest-listen", "127.0.0.1:0", "--stats-listen", "127.0.0.1:0"}, args...)
	p := &process{t: t, cmd: command(t, args...), output: &locked.Buffer{}, ended: make(chan error, 1)}
	p.cmd.Stderr = p.output
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	ready := make(chan string, 1)
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			fmt.Fprintln(p.output, lines.Text())
			if strings.HasPrefix(lines.Text(), "ready ") {
				ready <- lines.Text()
			}
		}
		p.ended <- p.cmd.Wait()
	}()
	select {
	case line := <-ready:
		for _, f := range strings.Fields(line) {
			if v, ok := strings.CutPrefix(f, "ingest="); ok {
				p.ingest = v
			}
			if v, ok := strings.CutPrefix(f, "stats="); ok {
				p.stats = v
			}
			if v, ok := strings.CutPrefix(f, "kafka="); ok {
				p.kafka = v
			}
			if v, ok := strings.CutPrefix(f, "postgres="); ok {
				p.postgres = v
			}
		}
	case err := <-p.ended:
		t.Fatalf("up ended: %v\n%s", err, p.output)
	case <-time.After(60 * time.Second):
		t.Fatalf("up was not ready within 60 s\n%s", p.output)
	}
	return p
}

// kill ends the process as a crash would.
func (p *process) kill() {
	p.t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		p.t.Fatal(err)
	}
	<-p.ended
}

// stop asks the process to end, and checks that it does so well and soon.
func (p *process) stop() {
	p.t.Helper()
	begun := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	select {
	case err := <-p.ended:
		if err != nil {
			p.t.Fatalf("up ended badly: %v\n%s", err, p.output)
		}
	case <-time.After(20 * time.Second):
		p.t.Fatalf("up did not end\n%s", p.output)
	}
	p.t.Logf("stopped in %v", time.Since(begun).Round(time.Millisecond))
}

// answer is what an upload is answered with.
type answer struct {
	ID       string `json:"id"`
	SHA256   string `json:"sha256"`
	Bytes    int64  `json:"bytes"`
	State    string `json:"state"`
	status   int
	problem  string
	replayed bool
}

// upload posts a body. An error means that no answer came.
func (p *process) upload(body []byte, key string) (answer, error) {
	req, err := http.NewRequest(http.MethodPost, p.ingest+"/v1/images", bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded") // as curl --data-binary does
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return answer{}, err
	}
	a := answer{status: res.StatusCode, replayed: res.Header.Get("Idempotency-Replayed") == "true"}
	if res.StatusCode != http.StatusCreated {
		a.problem = string(text)
		return a, nil
	}
	return a, json.Unmarshal(text, &a)
}

// get decodes the answer of a GET into v, which may be nil, and returns its status.
func get(t *testing.T, url string, v any) int {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode == http.StatusOK && v != nil {
		if err := json.Unmarshal(body, v); err != nil {
			t.Fatalf("GET %s: %v in %s", url, err, body)
		}
	}
	return res.StatusCode
}

// summary is the answer of /v1/stats/summary.
type summary struct {
	Images     int64 `json:"images"`
	Bytes      int64 `json:"bytes"`
	Pixels     int64 `json:"pixels"`
	Rejected   int64 `json:"rejected"`
	Duplicates struct {
		SameBytes  int64  `json:"same_bytes"`
		SamePixels *int64 `json:"same_pixels"`
		SameLook   *int64 `json:"same_look"`
	} `json:"duplicates"`
	AsOf *time.Time `json:"as_of"`
}

func (p *process) summary() (s summary) {
	p.t.Helper()
	if status := get(p.t, p.stats+"/v1/stats/summary", &s); status != http.StatusOK {
		p.t.Fatalf("summary: status %d", status)
	}
	return s
}

// total sums a metric over the series of the time since from.
func (p *process) total(metric string, from time.Time) (sum int64) {
	p.t.Helper()
	var series struct {
		Series []struct {
			Points []struct {
				Value int64 `json:"value"`
			} `json:"points"`
		} `json:"series"`
	}
	query := url.Values{"metric": {metric}, "from": {from.Truncate(time.Minute).Format(time.RFC3339)}}
	if status := get(p.t, p.stats+"/v1/stats/series?"+query.Encode(), &series); status != http.StatusOK {
		p.t.Fatalf("series: status %d", status)
	}
	for _, s := range series.Series {
		for _, point := range s.Points {
			sum += point.Value
		}
	}
	return sum
}

// eventually waits until check returns nil.
func eventually(t *testing.T, within time.Duration, check func() error) {
	t.Helper()
	err := errors.New("not checked")
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}
	t.Fatalf("not within %v: %v", within, err)
}
