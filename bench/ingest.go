package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// ingestBench compares uploads with uploads to a bare handler. The handler runs in this process, which spares it a
// second one.
type ingestBench struct {
	Rounds  int   `help:"Rounds, each of both in turn." default:"7"`
	Uploads int   `help:"Uploads a round." default:"40"`
	Size    int   `help:"Bytes an upload." default:"4194304"`
	Clients []int `help:"Uploads at once." default:"1,4"`
}

const boundary = "darkroom-bench-boundary"

// Run measures raw and multipart bodies, sent to the upload service alone and to up, where the pipeline reads and
// looks at each image on the same cores at the same time.
func (b *ingestBench) Run(ctx context.Context, c *cli) error {
	fmt.Printf("ingest: %d bytes, %d uploads a round, %d rounds; min / median / max\n", b.Size, b.Uploads, b.Rounds)
	for _, target := range []struct {
		name  string
		start func() (*up, error)
	}{
		{"service", func() (*up, error) { return startService(ctx) }},
		{"up", func() (*up, error) { return startUp(ctx, c.Binary) }},
	} {
		for _, clients := range b.Clients {
			for _, form := range []bool{false, true} {
				if err := b.compare(ctx, target.name, target.start, clients, form); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// compare begins with empty folders, so that no comparison pays for what another left.
func (b *ingestBench) compare(ctx context.Context, name string, start func() (*up, error), clients int, form bool) error {
	u, err := start()
	if err != nil {
		return err
	}
	defer u.stop()
	bare, stop, err := startBare(ctx)
	if err != nil {
		return err
	}
	defer stop()
	var ours, theirs, ratios []float64
	for range b.Rounds {
		t, err := b.round(ctx, bare, clients, form)
		if err != nil {
			return err
		}
		o, err := b.round(ctx, u.addresses["ingest"]+"/v1/images", clients, form)
		if err != nil {
			return err
		}
		ours, theirs, ratios = append(ours, o), append(theirs, t), append(ratios, o/t)
	}
	kind := map[bool]string{false: "raw", true: "multipart"}[form]
	fmt.Printf("  %-8s %d at once  %-10s darkroom %s MB/s, bare handler %s MB/s, ratio %s\n", name, clients, kind,
		spread(ours, "%.0f"), spread(theirs, "%.0f"), spread(ratios, "%.2f"))
	return nil
}

var number atomic.Int64 // of the next upload: no two are the same

// round returns megabytes a second.
func (b *ingestBench) round(ctx context.Context, url string, clients int, form bool) (float64, error) {
	body, err := photo(b.Size)
	if err != nil {
		return 0, err
	}
	jobs := make(chan int, b.Uploads)
	for range b.Uploads {
		jobs <- int(number.Add(1))
	}
	close(jobs)
	errs := make(chan error, clients)
	begun := time.Now()
	for range clients {
		go func() {
			mine, contentType := bytes.Clone(body), "image/jpeg"
			var err error
			for n := range jobs {
				data := numbered(mine, n)
				if form {
					data, contentType = multiparted(data), "multipart/form-data; boundary="+boundary
				}
				err = errors.Join(err, post(ctx, url, contentType, data))
			}
			errs <- err
		}()
	}
	for range clients {
		err = errors.Join(err, <-errs)
	}
	return float64(b.Uploads*b.Size) / 1e6 / time.Since(begun).Seconds(), err
}

func multiparted(data []byte) []byte {
	var b bytes.Buffer
	b.Grow(len(data) + 512)
	w := multipart.NewWriter(&b)
	_ = w.SetBoundary(boundary)                  // a constant that is valid
	part, _ := w.CreateFormFile("file", "a.jpg") // a buffer takes everything
	_, _ = part.Write(data)
	_ = w.Close()
	return b.Bytes()
}

// startBare serves the peer in this process, beside the clients: a handler that hashes, writes and renames, and nothing else.
func startBare(ctx context.Context) (url string, stop func(), err error) {
	dir, err := os.MkdirTemp("", "darkroom-bare")
	if err != nil {
		return "", nil, err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{Handler: bareHandler(dir), ReadHeaderTimeout: time.Second}
	go server.Serve(l)
	return "http://" + l.Addr().String(), func() { server.Close(); os.RemoveAll(dir) }, nil
}

func bareHandler(dir string) http.Handler {
	buffers := sync.Pool{New: func() any { b := make([]byte, 256<<10); return &b }}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body io.Reader = r.Body
		if parts, err := r.MultipartReader(); err == nil {
			if body, err = parts.NextPart(); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
		}
		buffer := buffers.Get().(*[]byte)
		defer buffers.Put(buffer)
		if err := hashWriteRename(dir, body, *buffer); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
}

func hashWriteRename(dir string, body io.Reader, buffer []byte) error {
	f, err := os.CreateTemp(dir, "upload")
	if err != nil {
		return err
	}
	defer f.Close()
	hash := sha256.New()
	to := struct{ io.Writer }{io.MultiWriter(f, hash)}
	if _, err := io.CopyBuffer(to, struct{ io.Reader }{body}, buffer); err != nil {
		return err
	}
	return os.Rename(f.Name(), filepath.Join(dir, hex.EncodeToString(hash.Sum(nil))))
}
