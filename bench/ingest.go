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

// ingestBench compares uploads to `up` with uploads to a bare handler. The handler runs in this process, which spares it a second one.
type ingestBench struct {
	Rounds  int `help:"Rounds, each of both in turn." default:"7"`
	Uploads int `help:"Uploads a round." default:"40"`
	Size    int `help:"Bytes an upload." default:"4194304"`
	Clients int `help:"Uploads at once." default:"4"`
}

const boundary = "darkroom-bench-boundary"

// Run measures raw and multipart bodies.
func (b *ingestBench) Run(ctx context.Context, c *cli) error {
	u, err := startUp(ctx, c.Binary)
	if err != nil {
		return err
	}
	defer u.stop()
	bare, stop, err := startBare(ctx)
	if err != nil {
		return err
	}
	defer stop()
	fmt.Printf("ingest: %d bytes, %d at once, %d uploads a round, %d rounds; min / median / max\n", b.Size, b.Clients, b.Uploads, b.Rounds)
	for _, form := range []bool{false, true} {
		var ours, theirs, ratios []float64
		for range b.Rounds {
			t, err := b.round(ctx, bare, form)
			if err != nil {
				return err
			}
			o, err := b.round(ctx, u.addresses["ingest"]+"/v1/images", form)
			if err != nil {
				return err
			}
			ours, theirs, ratios = append(ours, o), append(theirs, t), append(ratios, o/t)
		}
		name := map[bool]string{false: "raw", true: "multipart"}[form]
		fmt.Printf("  %-10s darkroom %s MB/s, bare handler %s MB/s, ratio %s\n", name,
			spread(ours, "%.0f"), spread(theirs, "%.0f"), spread(ratios, "%.2f"))
	}
	return nil
}

var number atomic.Int64 // of the next upload: no two are the same

// round returns megabytes a second.
func (b *ingestBench) round(ctx context.Context, url string, form bool) (float64, error) {
	body, err := photo(b.Size)
	if err != nil {
		return 0, err
	}
	jobs := make(chan int, b.Uploads)
	for range b.Uploads {
		jobs <- int(number.Add(1))
	}
	close(jobs)
	errs := make(chan error, b.Clients)
	begun := time.Now()
	for range b.Clients {
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
	for range b.Clients {
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
