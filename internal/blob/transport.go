package blob

import (
	"net"
	"net/http"
	"time"
)

const (
	maxAttempts = 3
	maxBackoff  = time.Second
	dialTimeout = 2 * time.Second
	// headerTimeout bounds the wait for an answer once the request is sent. A copy of a great object is done by then.
	headerTimeout = 60 * time.Second
	bufferSize    = 256 << 10
)

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
