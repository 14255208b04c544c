package ingest_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// raw sends bytes as they are and ends the sending. It returns the answer, if one comes.
func (s *server) raw(request string) (status int, text string) {
	s.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	must(s.t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, request)
	must(s.t, err)
	must(s.t, conn.(*net.TCPConn).CloseWrite())
	must(s.t, conn.SetReadDeadline(time.Now().Add(10*time.Second)))
	all, _ := io.ReadAll(conn)
	res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(all)), nil)
	if err != nil {
		return 0, string(all)
	}
	return res.StatusCode, string(all)
}

func TestACutBodyLeavesNothing(t *testing.T) {
	r := newRig(t)
	s := r.start()
	head := "POST /v1/images HTTP/1.1\r\nHost: x\r\nIdempotency-Key: k\r\n"
	image := string(big(1, 300_000))
	chunk := fmt.Sprintf("%x\r\n%s\r\n", len(image), image)
	formed := string(form(part{file: true, name: "a.jpg", data: []byte(image)}, part{field: "x", data: []byte("text")}))
	formHead := head + "Content-Type: " + formType[1] + "\r\n"
	requests := map[string]string{
		"raw":                  fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", head, len(image)+1, image),
		"raw, few bytes":       head + "Content-Length: 100000\r\n\r\n" + image[:10],
		"raw, no bytes":        head + "Content-Length: 100000\r\n\r\n",
		"chunks, in a chunk":   head + "Transfer-Encoding: chunked\r\n\r\n" + chunk[:len(chunk)/2],
		"chunks, between them": head + "Transfer-Encoding: chunked\r\n\r\n" + chunk,
		"chunks, at the end":   head + "Transfer-Encoding: chunked\r\n\r\n" + chunk + "0\r\n",
		"chunks, broken":       head + "Transfer-Encoding: chunked\r\n\r\n" + chunk + "nonsense\r\n",
	}
	end := len(formed)
	for _, at := range []int{10, 60, 130, 1000, 200_000, end - 150, end - 80, end - 20, end - 4} {
		requests[fmt.Sprintf("form, complete as a body, at %d", at)] =
			fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", formHead, at, formed[:at])
		requests[fmt.Sprintf("form, at %d", at)] =
			fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", formHead, len(formed), formed[:at])
		requests[fmt.Sprintf("form, in chunks, at %d", at)] =
			fmt.Sprintf("%sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", formHead, at, formed[:at])
	}
	for name, request := range requests {
		status, text := s.raw(request)
		if status != 400 || !strings.Contains(text, "urn:darkroom:problem:body-cut") &&
			!strings.Contains(text, "urn:darkroom:problem:malformed-multipart") {
			t.Errorf("%s: %.300s", name, text)
		}
		if keys := s.keys(); len(keys) > 0 {
			t.Fatalf("%s: left %v", name, keys)
		}
	}
	if events := s.published(); len(events) > 0 {
		t.Errorf("published %v", events)
	}
	if a := s.post([]byte(image), "Idempotency-Key", "k"); a.status != 201 || a.replayed() {
		t.Errorf("the key after all that: %s", a)
	}
}

func TestAClientThatStallsIsRefused(t *testing.T) {
	r := newRig(t)
	r.cfg.StallAfter = 200 * time.Millisecond
	s := r.start()
	for name, body := range map[string]string{"at once": "", "in the middle": string(big(1, 300_000))} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		must(t, err)
		_, err = io.WriteString(conn, "POST /v1/images HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"+body)
		must(t, err)
		must(t, conn.SetReadDeadline(time.Now().Add(10*time.Second)))
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		must(t, err)
		text, _ := io.ReadAll(res.Body)
		if res.StatusCode != http.StatusRequestTimeout || !strings.Contains(string(text), "body-stalled") {
			t.Errorf("%s: status %d, %s", name, res.StatusCode, text)
		}
		conn.Close()
	}
	if keys := s.keys(); len(keys) > 0 {
		t.Errorf("left %v", keys)
	}
	// One that is slow but moves is served, and the connection serves on.
	for i := range 2 {
		release := make(chan struct{})
		running := s.slowly(photo(i), release)
		time.AfterFunc(r.cfg.StallAfter*3/4, func() { close(release) })
		if a := <-running; a.status != 201 {
			t.Errorf("a slow client: %s", a)
		}
	}
}

func TestAConnectionOutlivesAnUploadThatIsFinishedSlowly(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.cfg.StallAfter = 200 * time.Millisecond
	r.behindProxy(func(_ int, req *http.Request) fault {
		if strings.Contains(req.URL.Path, "/_journal/") {
			time.Sleep(3 * r.cfg.StallAfter) // S3 takes its time after the body's last byte
		}
		return pass
	})
	s := r.start()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	must(t, err)
	defer conn.Close()
	answers := bufio.NewReader(conn)
	for i := range 2 {
		body := photo(i)
		_, err = fmt.Fprintf(conn, "POST /v1/images HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		must(t, err)
		res, err := http.ReadResponse(answers, nil)
		must(t, err)
		if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != http.StatusCreated {
			t.Fatalf("upload %d: status %d, %v", i, res.StatusCode, err)
		}
	}
}

func TestWhatTheHeadersForbidIsRefusedBeforeTheBody(t *testing.T) {
	r := newRig(t)
	s := r.start()
	release := make(chan struct{})
	running := s.slowly(photo(1), release, "Idempotency-Key", "taken")
	eventually(t, r.leased)
	for want, header := range map[int]string{
		413: "Content-Length: 100000000\r\n",
		400: "Darkroom-Tenant: _\r\nContent-Length: 1000\r\n",
		409: "Idempotency-Key: taken\r\nContent-Length: 1000\r\n",
		415: "Content-Type: text/plain\r\nContent-Length: 1000\r\n",
	} {
		status, text := s.raw("POST /v1/images HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n" + header + "\r\n")
		if status != want {
			t.Errorf("%q: %s, want %d and no 100 Continue", header, text, want)
		}
	}
	for _, mediaType := range []string{
		"", "image/jpeg", "Image/PNG; x=y", "application/octet-stream", "application/x-www-form-urlencoded", formType[1],
	} {
		status, text := s.raw("POST /v1/images HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1000\r\n" +
			"Content-Type: " + mediaType + "\r\n\r\n")
		if status != 100 {
			t.Errorf("a body of the type %q, which may come: %s", mediaType, text)
		}
	}
	close(release)
	(<-running).upload(t)
}

// endless is a JPEG's beginning and then noughts, size in all, and watches the memory meanwhile.
type endless struct {
	head []byte
	left int
	peak *atomic.Uint64
}

func (e *endless) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	n := min(len(p), e.left)
	clear(p[:n])
	e.head = e.head[copy(p[:n], e.head):]
	if before := e.left; before>>22 != (before-n)>>22 { // each 4 MiB
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		e.peak.Store(max(e.peak.Load(), m.HeapInuse))
	}
	e.left -= n
	return n, nil
}

// TestMemoryDoesNotGrowWithTheBody counts the client's and the S3 gateway's memory too, which are in this process.
func TestMemoryDoesNotGrowWithTheBody(t *testing.T) {
	s := newRig(t).start()
	const size, bound = 64 << 20, 24 << 20
	for name, length := range map[string]int64{"declared": size, "in chunks": -1} {
		s.post(big(1, 6<<20)).upload(t) // fills the pools
		runtime.GC()
		var before runtime.MemStats
		runtime.ReadMemStats(&before)
		var peak atomic.Uint64
		body := &endless{head: photo(int(length)), left: size, peak: &peak}
		req, err := http.NewRequest(http.MethodPost, s.url+"/v1/images", body)
		must(t, err)
		req.ContentLength = length
		a, err := s.do(req)
		must(t, err)
		if a.upload(t).Bytes != size {
			t.Errorf("%s: %s", name, a)
		}
		growth := int64(peak.Load()) - int64(before.HeapInuse)
		t.Logf("%s: %d MiB grew the heap by %d KiB", name, size>>20, growth>>10)
		if peak.Load() == 0 || growth > bound {
			t.Errorf("%s: the heap grew by %d bytes, from %d", name, growth, before.HeapInuse)
		}
	}
}
