package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/schollz/progressbar/v3"
)

const (
	readyEvery  = 20 * time.Millisecond
	seenEvery   = 50 * time.Millisecond
	movesWithin = time.Minute
	barThrottle = 50 * time.Millisecond
)

func newBar(w io.Writer, what string, total int64, more ...progressbar.Option) *progressbar.ProgressBar {
	return progressbar.NewOptions64(total, append([]progressbar.Option{progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(what),
		progressbar.OptionShowCount(), progressbar.OptionSetWidth(30), progressbar.OptionThrottle(barThrottle),
		progressbar.OptionOnCompletion(func() { fmt.Fprintln(w) }),
	}, more...)...)
}

// waitReady waits until the address answers 200.
func waitReady(ctx context.Context, url string) error {
	for {
		if err := getJSON(ctx, url, nil); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(readyEvery):
		}
	}
}

func getJSON(ctx context.Context, url string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("ask %s: %w", url, err)
	}
	return doJSON(req, http.StatusOK, into)
}

func doJSON(req *http.Request, want int, into any) error {
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return fmt.Errorf("read answer of %s: %w", req.URL, err)
	}
	if res.StatusCode != want {
		var p struct{ Title, Detail string }
		_ = json.Unmarshal(body, &p) // an answer that is no problem has neither
		return &statusError{res.StatusCode, p.Title, p.Detail}
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(body, into)
}

// statusError is an answer of another status than the one hoped for.
type statusError struct {
	status        int
	title, detail string
}

func (e *statusError) Error() string { return fmt.Sprintf("%d %s: %s", e.status, e.title, e.detail) }

// demoImage is one file of the demo and what the statistics service says of it.
type demoImage struct {
	file, id string

	facts struct {
		State  string `json:"state"`
		Code   string `json:"code"`
		Format string `json:"format"`
		Camera string `json:"camera"`
		Width  int64  `json:"width"`
		Height int64  `json:"height"`
		Bytes  int64  `json:"bytes"`
	}
	duplicates int
}

// runDemo uploads every image of a folder, waits until the statistics know them, and prints what is known.
func runDemo(ctx context.Context, io stdio, dir, ingest, stats string) error {
	images, skipped, err := uploadFolder(ctx, io.err, dir, ingest)
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	if len(images) == 0 {
		return fmt.Errorf("demo: no image in %s", dir)
	}
	if err := awaitFigures(ctx, stats, time.Now(), movesWithin); err != nil {
		return fmt.Errorf("demo: wait for the figures: %w", err)
	}
	for i := range images {
		if err := images[i].ask(ctx, stats); err != nil {
			return fmt.Errorf("demo: ask for %s: %w", images[i].file, err)
		}
	}
	return printDemo(ctx, io.out, images, skipped, stats)
}

// awaitFigures waits until the statistics are complete up to a time, as long as they move within another.
func awaitFigures(ctx context.Context, stats string, to time.Time, within time.Duration) error {
	type figures struct {
		AsOf     time.Time `json:"as_of"`
		Images   int64     `json:"images"`
		Rejected int64     `json:"rejected"`
	}
	for last, moved := (figures{}), time.Now(); ; {
		var now figures
		if err := getJSON(ctx, stats+"/v1/stats/summary", &now); err != nil {
			return err
		}
		switch {
		case now.AsOf.After(to):
			return nil
		case now != last:
			last, moved = now, time.Now()
		case time.Since(moved) > within:
			return fmt.Errorf("they have not moved for %s", within)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(seenEvery):
		}
	}
}

// uploadFolder uploads the files of a folder, but not those of folders in it. A file that cannot be read or is refused is
// skipped, and the reason is told.
func uploadFolder(ctx context.Context, w io.Writer, dir, ingest string) (images []demoImage, skipped []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("read folder: %w", err)
	}
	bar := newBar(w, "upload", int64(len(entries)))
	for _, e := range entries {
		if !e.IsDir() {
			id, err := uploadFile(ctx, filepath.Join(dir, e.Name()), ingest)
			var unreadable *fs.PathError
			var refused *statusError
			switch {
			case errors.As(err, &unreadable):
				skipped = append(skipped, fmt.Sprintf("%s: %v", shown(e.Name()), unreadable.Err))
			case errors.As(err, &refused) && refused.status < http.StatusInternalServerError:
				skipped = append(skipped, fmt.Sprintf("%s: %s", shown(e.Name()), refused.detail))
			case err != nil:
				return nil, nil, fmt.Errorf("upload %s: %w", shown(e.Name()), err)
			default:
				images = append(images, demoImage{file: shown(e.Name()), id: id})
			}
		}
		_ = bar.Add(1) // a bar that cannot be drawn harms nothing
	}
	return images, skipped, bar.Finish()
}

// shown is a file's name as it is printed in a line.
func shown(name string) string {
	if quoted := strconv.Quote(name); quoted != `"`+name+`"` {
		return quoted
	}
	return name
}

// uploadFile uploads a file. The key is of its name and its bytes, so that a second demo uploads nothing anew and a copy
// under another name is an image of its own.
func uploadFile(ctx context.Context, path, ingest string) (id string, err error) {
	f, err := openImage(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	key := sha256.New()
	fmt.Fprintf(key, "%s\x00", filepath.Base(path))
	size, err := io.Copy(key, f)
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, ingest+"/v1/images", io.NewSectionReader(f, 0, size))
	if err != nil {
		return "", err
	}
	req.ContentLength = size
	req.Header.Set("Idempotency-Key", fmt.Sprintf("demo/%x", key.Sum(nil)))
	req.Header.Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", filepath.Base(path)))
	var answer struct{ ID string }
	err = doJSON(req, http.StatusCreated, &answer)
	return answer.ID, err
}

func (d *demoImage) ask(ctx context.Context, stats string) error {
	if err := getJSON(ctx, stats+"/v1/images/"+d.id, &d.facts); err != nil {
		return err
	}
	var answer struct{ Duplicates []struct{} }
	err := getJSON(ctx, stats+"/v1/images/"+d.id+"/duplicates", &answer)
	d.duplicates = len(answer.Duplicates)
	return err
}

func printDemo(ctx context.Context, out io.Writer, images []demoImage, skipped []string, stats string) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "FILE\tSTATE\tFORMAT\tSIZE\tBYTES\tCAMERA\tDUPLICATES\tID")
	for _, d := range images {
		state := d.facts.State
		if d.facts.Code != "" {
			state += ": " + d.facts.Code
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d×%d\t%d\t%s\t%d\t%s\n", d.file, state, d.facts.Format, d.facts.Width, d.facts.Height,
			d.facts.Bytes, d.facts.Camera, d.duplicates, d.id)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print table: %w", err)
	}
	for _, s := range skipped {
		fmt.Fprintf(out, "skipped %s\n", s)
	}
	var summary json.RawMessage
	if err := getJSON(ctx, stats+"/v1/stats/summary", &summary); err != nil {
		return fmt.Errorf("demo: ask for the summary: %w", err)
	}
	_, err := fmt.Fprintf(out, "summary %s\n", summary)
	return err
}
