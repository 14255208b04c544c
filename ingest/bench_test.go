package ingest_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
)

const benchSize = 4 << 20

var serial atomic.Uint64

// BenchmarkUpload measures uploads of 4 MiB that all differ. Client, service, S3 and Kafka share the process.
func BenchmarkUpload(b *testing.B) {
	s := newRig(b).start()
	b.Run("raw", func(b *testing.B) { benchUploads(b, s.url+"/v1/images", false) })
	b.Run("form", func(b *testing.B) { benchUploads(b, s.url+"/v1/images", true) })
}

// BenchmarkBare measures the same uploads to a handler that hashes, writes and renames, and nothing else.
func BenchmarkBare(b *testing.B) {
	dir := b.TempDir()
	buffers := sync.Pool{New: func() any { return new([256 << 10]byte) }}
	ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body io.Reader = r.Body
		if parts, err := r.MultipartReader(); err == nil {
			if body, err = parts.NextPart(); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
		}
		buffer := buffers.Get().(*[256 << 10]byte)
		defer buffers.Put(buffer)
		f, err := os.CreateTemp(dir, "upload")
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		defer f.Close()
		hash := sha256.New()
		_, err = io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(f, hash)}, struct{ io.Reader }{body}, buffer[:])
		if err == nil {
			err = os.Rename(f.Name(), filepath.Join(dir, hex.EncodeToString(hash.Sum(nil))))
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.WriteHeader(http.StatusCreated)
	}))
	defer ts.Close()
	b.Run("raw", func(b *testing.B) { benchUploads(b, ts.URL, false) })
	b.Run("form", func(b *testing.B) { benchUploads(b, ts.URL, true) })
}

func benchUploads(b *testing.B, url string, asForm bool) {
	b.SetBytes(benchSize)
	b.ReportAllocs()
	b.SetParallelism(2)
	b.RunParallel(func(pb *testing.PB) {
		body, at, contentType := big(1, benchSize), 1000, "image/jpeg"
		if asForm {
			body = form(part{file: true, name: "a.jpg", mediaType: contentType, data: body})
			contentType = formType[1]
		}
		for pb.Next() {
			binary.BigEndian.PutUint64(body[at:], serial.Add(1))
			req, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(body))
			if err != nil {
				b.Error(err)
				return
			}
			req.Header.Set("Content-Type", contentType)
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				b.Error(err)
				return
			}
			text, err := io.ReadAll(res.Body)
			res.Body.Close()
			if err != nil || res.StatusCode != http.StatusCreated {
				b.Errorf("status %d, %s, %v", res.StatusCode, text, err)
				return
			}
		}
	})
}
