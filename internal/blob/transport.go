package blob

import (
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

const (
	// Two repetitions after short waits get over a lost connection. A longer outage is for the caller to bridge.
	maxAttempts = 3
	maxBackoff  = 300 * time.Millisecond
	dialTimeout = 2 * time.Second
	// headerTimeout bounds the wait for an answer once a request is sent: a copy of a great object is done by then.
	headerTimeout = time.Minute
	bufferSize    = 256 << 10
)

// callTimeout bounds a call whose answer is small, with its repetitions: headers alone, a page of a listing, or what Get
// returns. The transport bounds no body, and one that stalls would hold its caller for ever. Tests lower it.
var callTimeout = 10 * time.Second

// newTransport returns a transport that keeps many connections to the one server and moves bodies in great pieces.
func newTransport() *http.Transport {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           dialer.DialContext,
		MaxIdleConns:          256,
		MaxIdleConnsPerHost:   64,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   5 * time.Second,
		ResponseHeaderTimeout: headerTimeout,
		ExpectContinueTimeout: time.Second,
		WriteBufferSize:       bufferSize,
		ReadBufferSize:        64 << 10,
		DisableCompression:    true, // objects are stored and read as they are
	}
}

// way is how a Store's requests reach S3.
type way struct{ *http.Transport }

// RoundTrip implements http.RoundTripper.
func (w way) RoundTrip(r *http.Request) (*http.Response, error) {
	if server, ok := inProcess.Load(r.URL.Scheme + "://" + r.URL.Host); ok {
		return server.(http.RoundTripper).RoundTrip(r)
	}
	return w.Transport.RoundTrip(r)
}

// inProcess holds the S3 servers of this process: an http.RoundTripper for each endpoint.
var inProcess sync.Map

// InProcess says that the server at an endpoint runs in this process. Until end is called every Store's requests to it
// are given to server, which calls it, and take no connection.
func InProcess(endpoint string, server http.RoundTripper) (end func()) {
	inProcess.Store(endpoint, server)
	return func() { inProcess.Delete(endpoint) }
}

// newRetryer retries what may succeed the next time, at most twice.
func newRetryer() aws.Retryer {
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts, o.MaxBackoff = maxAttempts, maxBackoff
	})
}

// once keeps a call from being repeated: a stream cannot be read twice.
func once(o *s3.Options) { o.Retryer = aws.NopRetryer{} }

// unapplied retries a put with a condition only when S3 cannot have applied it. To repeat one whose answer was lost
// would find its own object and report that the condition failed.
func unapplied(o *s3.Options) {
	o.Retryer = retry.NewStandard(func(r *retry.StandardOptions) {
		r.MaxAttempts, r.MaxBackoff = maxAttempts, maxBackoff
		r.Retryables = []retry.IsErrorRetryable{
			retry.RetryableErrorCode{Codes: map[string]struct{}{"ConditionalRequestConflict": {}, "SlowDown": {}}},
			retry.IsErrorRetryableFunc(func(err error) aws.Ternary {
				var op *net.OpError
				return aws.BoolTernary(errors.As(err, &op) && op.Op == "dial")
			}),
		}
	})
}
