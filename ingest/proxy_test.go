package ingest_test

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"
	"time"
)

// fault is what happens to a request to S3.
type fault int

const (
	pass   fault = iota
	refuse       // the connection breaks before S3 has the request
	lose         // S3 does it, and the connection breaks before the answer
	hang         // nothing happens until the test ends
	hold         // nothing happens until release is called; then S3 does it
	stall        // the answer's headers and half of its body come, and nothing more until the test ends
)

// proxy stands between a service and S3.
type proxy struct {
	mu   sync.Mutex
	n    int
	rule func(n int, r *http.Request) fault // of the nth request from 0
	held chan struct{}
}

// release lets the requests go on that are held.
func (p *proxy) release() { close(p.held) }

// behindProxy lets the rig's services reach S3 through a proxy.
func (r *rig) behindProxy(rule func(n int, r *http.Request) fault) *proxy {
	r.t.Helper()
	target, err := url.Parse(r.store.Endpoint)
	must(r.t, err)
	p := &proxy{rule: rule, held: make(chan struct{})}
	forward := httputil.NewSingleHostReverseProxy(target)
	transport := &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}
	forward.Transport = transport
	forward.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	stop := make(chan struct{})
	ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		switch p.next(req) {
		case refuse:
			panic(http.ErrAbortHandler)
		case lose:
			forward.ServeHTTP(httptest.NewRecorder(), req)
			panic(http.ErrAbortHandler)
		case hang:
			<-stop
			panic(http.ErrAbortHandler)
		case hold:
			select {
			case <-p.held:
			case <-stop:
			}
		case stall:
			answer := httptest.NewRecorder()
			forward.ServeHTTP(answer, req)
			maps.Copy(w.Header(), answer.Header())
			w.WriteHeader(answer.Code)
			_, _ = w.Write(answer.Body.Bytes()[:answer.Body.Len()/2])
			_ = http.NewResponseController(w).Flush()
			<-stop
			panic(http.ErrAbortHandler)
		}
		forward.ServeHTTP(w, req)
	}))
	r.t.Cleanup(func() {
		close(stop)
		ts.CloseClientConnections()
		ts.Close()
		transport.CloseIdleConnections()
	})
	r.store.Endpoint = ts.URL
	return p
}

func (p *proxy) next(r *http.Request) fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.n++
	return p.rule(p.n-1, r)
}

// become changes what happens from now on.
func (p *proxy) become(f fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rule = always(f)
}

func (p *proxy) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.n
}

func always(f fault) func(int, *http.Request) fault {
	return func(int, *http.Request) fault { return f }
}

func TestTheCrashTestsReachEveryStep(t *testing.T) {
	for name, c := range map[string]struct {
		steps int
		do    func(s *server) answer
	}{
		"upload":            {uploadSteps, func(s *server) answer { return s.post(photo(1)) }},
		"upload with a key": {keyedSteps, func(s *server) answer { return s.post(photo(1), "Idempotency-Key", "k") }},
		"deletion":          {deletionSteps, func(s *server) answer { return s.send("DELETE", "/v1/images/"+someID, nil) }},
	} {
		r := newRig(t)
		up := uploaded(photo(1), time.Now())
		r.record(up.Image, time.Time{}, up.ID)
		p := r.behindProxy(always(pass))
		svc, _ := r.service()
		s := r.serve(svc.Handler())
		if a := c.do(s); a.status > 202 {
			t.Errorf("%s: %s", name, a)
		}
		must(t, svc.Close())
		if n := p.count(); n != c.steps {
			t.Errorf("%s: %d requests to S3; the crash tests try %d", name, n, c.steps)
		}
	}
}
