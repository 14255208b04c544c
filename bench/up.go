package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// up is a running `darkroom up` on a folder of its own.
type up struct {
	cmd       *exec.Cmd
	dir       string
	addresses map[string]string // by name, from the ready line
	sent      int               // images of loads before
	end       func() error      // what is to be done when it has stopped; nil for nothing
}

func startUp(ctx context.Context, folder, binary string, args ...string) (*up, error) {
	return start(ctx, folder, binary, append([]string{"up", "--ingest-listen", "127.0.0.1:0", "--stats-listen", "127.0.0.1:0"}, args...)...)
}

// startReal starts everything on the real parts, which stop ends too.
func startReal(ctx context.Context, binary string) (*up, error) {
	u, err := startUp(ctx, "", binary, "--real")
	if err == nil {
		u.end = func() error {
			return exec.CommandContext(context.WithoutCancel(ctx), binary, "stack", "down", "--dir", filepath.Join(u.dir, "stack")).Run()
		}
	}
	return u, err
}

// startSelf starts a service of this program's own.
func startSelf(ctx context.Context, folder, name string) (*up, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return start(ctx, folder, self, name)
}

// start starts a program that prints its addresses in a line that begins with "ready". Its data go to a new folder, in
// that of temporary files if none is named.
func start(ctx context.Context, folder, binary string, args ...string) (*up, error) {
	dir, err := os.MkdirTemp(folder, "darkroom-bench")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	u := &up{dir: dir, addresses: map[string]string{}}
	u.cmd = exec.CommandContext(ctx, binary, append(args, "--data", dir)...)
	u.cmd.Stderr = os.Stderr
	out, err := u.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := u.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", binary, err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "ready "); ok {
			for _, f := range strings.Fields(rest) {
				name, value, _ := strings.Cut(f, "=")
				u.addresses[name] = value
			}
			return u, nil
		}
	}
	return nil, fmt.Errorf("%s ended before it was ready: %w", binary, u.stop())
}

func (u *up) stop() error {
	return errors.Join(u.halt(), os.RemoveAll(u.dir))
}

// halt stops it and leaves its folder.
func (u *up) halt() error {
	_ = u.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	err := u.cmd.Wait()
	if u.end != nil {
		err = errors.Join(err, u.end())
	}
	return err
}

// rss is the resident size in MB of the process and its children.
func (u *up) rss() (self, children float64) {
	self = rssOf(u.cmd.Process.Pid)
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", u.cmd.Process.Pid)) // the pattern is well-formed
	for _, task := range tasks {
		out, _ := os.ReadFile(task) // a thread that has ended has no children
		for pid := range strings.FieldsSeq(string(out)) {
			n, _ := strconv.Atoi(pid)
			children += rssOf(n)
		}
	}
	return self, children
}

func rssOf(pid int) float64 {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)) // gone: 0
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kb / 1024
		}
	}
	return 0
}

// photo is a JPEG of about the given size; padding behind its end makes it exact and each one another image.
func photo(size int) ([]byte, error) {
	img := image.NewRGBA(image.Rect(0, 0, 64, 64))
	for i := range 64 * 64 {
		img.Set(i%64, i/64, color.RGBA{uint8(i), uint8(i >> 4), uint8(i >> 8), 255})
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, nil); err != nil {
		return nil, err
	}
	return append(b.Bytes(), make([]byte, max(0, size-b.Len()))...), nil
}

// numbered makes the photograph differ from all others.
func numbered(photo []byte, n int) []byte {
	copy(photo[len(photo)-20:], fmt.Sprintf("%020d", n))
	return photo
}

func post(ctx context.Context, url, contentType string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", contentType)
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode/100 != 2 {
		err = fmt.Errorf("POST %s: %s: %s", url, res.Status, answer)
	}
	return err
}

var client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, WriteBufferSize: 256 << 10}}

// firstCounted uploads one image and waits until the summary counts it: a job on Flink takes a while to begin.
func (u *up) firstCounted(ctx context.Context) error {
	body, err := photo(1000)
	if err != nil {
		return err
	}
	if err := post(ctx, u.addresses["ingest"]+"/v1/images", "image/jpeg", body); err != nil {
		return err
	}
	return u.counted(ctx, 1)
}

// counted waits until the summary counts so many images.
func (u *up) counted(ctx context.Context, images int) error {
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		n, err := u.images(ctx)
		if n >= images || err != nil {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("the summary counts %d of %d images after two minutes", n, images)
		}
	}
}

// images is how many images the summary counts.
func (u *up) images(ctx context.Context) (n int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.addresses["stats"]+"/v1/stats/summary", nil)
	if err != nil {
		return 0, err
	}
	res, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	var s struct{ Images int }
	return s.Images, json.NewDecoder(res.Body).Decode(&s)
}

// load uploads at a steady rate until ctx ends or n are done, and calls acked with each one's number.
func (u *up) load(ctx context.Context, rate, n, size int, acked func(int, time.Time)) error {
	body, err := photo(size)
	if err != nil {
		return err
	}
	errs := make(chan error, n)
	defer func() { u.sent += n }()
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	for i := range n {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		go func() {
			err := post(ctx, u.addresses["ingest"]+"/v1/images", "image/jpeg", numbered(bytes.Clone(body), u.sent+i))
			if err == nil {
				acked(i, time.Now())
			}
			errs <- err
		}()
	}
	for range n {
		if err := <-errs; err != nil {
			return err
		}
	}
	return nil
}
