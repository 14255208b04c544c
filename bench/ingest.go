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

// ingestBench compares uploads with uploads to a bare handler.
type ingestBench struct {
	Rounds  int      `help:"Rounds, each of both in turn." default:"7"`
	Uploads int      `help:"Uploads a round." default:"40"`
	Size    int      `help:"Bytes an upload." default:"4194304"`
	Clients []int    `help:"Uploads at once." default:"1,4"`
	Folders []string `help:"Where the service and the handler write, in turn. A folder in memory, as /dev/shm is on Linux, leaves the disk out." default:"${tmp}" type:"path"`

	used []string
}

const boundary = "darkroom-bench-boundary"

// Run measures raw and multipart bodies, sent to the upload service alone and to up, where the pipeline reads and
// looks at each image on the same cores at the same time.
func (b *ingestBench) Run(ctx context.Context, c *cli) (err error) {
	defer func() {
		for _, dir := range b.used {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	fmt.Printf("ingest: %d bytes, %d uploads a round, %d rounds; min / median / max\n", b.Size, b.Uploads, b.Rounds)
	for _, folder := range b.Folders {
		fmt.Printf(" in %s\n", folder)
		for _, name := range []string{"service", "up"} {
			start := func() (*up, error) { return startSelf(ctx, folder, "service") }
			if name == "up" {
				start = func() (*up, error) { return startUp(ctx, folder, c.Binary) }
			}
			for _, clients := range b.Clients {
				for _, form := range []bool{false, true} {
					if err := b.compare(ctx, folder, name, start, clients, form); err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}

// compare begins with empty folders, so that no comparison pays for what another left. It empties what is in them in
// the end, but leaves it: ext4 takes longer to make files for minutes after many were removed.
func (b *ingestBench) compare(
	ctx context.Context, folder, name string, start func() (*up, error), clients int, form bool,
) (err error) {
	u, err := start()
	if err != nil {
		return err
	}
	bare, err := startSelf(ctx, folder, "bare")
	if err != nil {
		return errors.Join(err, u.stop())
	}
	defer func() {
		for _, s := range []*up{u, bare} {
			b.used = append(b.used, s.dir)
			err = errors.Join(err, s.halt(), empty(s.dir))
		}
	}()
	var ours, theirs, ratios []float64
	for range b.Rounds {
		t, err := b.round(ctx, bare.addresses["ingest"], clients, form)
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

// empty takes their bytes from all files of a folder.
func empty(dir string) error {
	return filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			err = os.Truncate(path, 0)
		}
		return err
	})
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

// bareService is the peer: a handler that hashes, writes and renames, and nothing else.
type bareService struct {
	Data string `help:"Folder of what is uploaded." required:""`
}

// Run serves until ctx ends.
func (s *bareService) Run(ctx context.Context) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: bareHandler(s.Data), ReadHeaderTimeout: time.Second}
	defer context.AfterFunc(ctx, func() { server.Close() })()
	fmt.Printf("ready ingest=http://%s\n", l.Addr())
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
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
