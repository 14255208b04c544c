package stack_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// tunnel is a proxy on the way of a process of ours to a part, so that this way can be cut.
type tunnel struct{ proxy *toxiproxy.Proxy }

var tunnels = toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())

// openTunnel makes a tunnel that leads to nowhere yet. It listens below the ports that Linux gives to connections
// (net.ipv4.ip_local_port_range), and so gets its own again after it was shut.
func openTunnel(name string) (tunnel, error) {
	var err error
	for range 100 {
		p := toxiproxy.NewProxy(tunnels, name, fmt.Sprintf("127.0.0.1:%d", 12_000+rand.IntN(8_000)), "")
		if err = p.Start(); err == nil {
			return tunnel{p}, nil
		}
	}
	return tunnel{}, fmt.Errorf("open tunnel %s: %w", name, err)
}

func (t tunnel) addr() string { return t.proxy.Listen }

// lead makes the tunnel lead to an address.
func (t tunnel) lead(addr string) error {
	return t.proxy.Update(&toxiproxy.Proxy{Listen: t.proxy.Listen, Upstream: addr, Enabled: true})
}

// The ways to cut a tunnel.
const (
	shut = "shut"       // connections end, and new ones are refused: a process or a firewall that says no
	hole = "black hole" // what is sent is lost and nobody is told, until the connections end with the cut: a broken wire
)

// cut cuts the tunnel until mend is called.
func (t tunnel) cut(how string) (mend func() error, err error) {
	if how == shut {
		t.proxy.Stop()
		return t.proxy.Start, nil
	}
	for _, s := range []string{"upstream", "downstream"} {
		toxic := fmt.Sprintf(`{"name": %q, "type": "timeout", "stream": %q, "attributes": {"timeout": 0}}`, s, s)
		if _, err := t.proxy.Toxics.AddToxicJson(strings.NewReader(toxic)); err != nil {
			return nil, fmt.Errorf("cut tunnel: %w", err)
		}
	}
	return func() error {
		ctx := context.Background()
		return errors.Join(t.proxy.Toxics.RemoveToxic(ctx, "upstream"), t.proxy.Toxics.RemoveToxic(ctx, "downstream"))
	}, nil
}
