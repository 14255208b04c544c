package stack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
)

// errNotYet is what a part gives that answers and cannot be used.
var errNotYet = errors.New("it is not ready yet")

// asking keeps no connections: a part is asked seldom, and stops faster when none is open.
var asking = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// getJSON asks a part and reads its answer, unless into is nil.
func getJSON(ctx context.Context, url string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := asking.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: status %d", url, res.StatusCode)
	}
	if into == nil {
		return nil
	}
	return json.NewDecoder(res.Body).Decode(into)
}

// listens reports whether somebody accepts connections on an address.
func listens(ctx context.Context, addr string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	return conn.Close()
}
