// Package open opens table stores by name.
package open

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"darkroom/internal/table"
	"darkroom/internal/table/cassandra"
	"darkroom/internal/table/embedded"
)

// Open returns the table store that a data source name tells.
//
//	tcp://host:port    a store that `darkroom up` or `darkroom table` serves; no connection is made yet
//	cassandra://[user:password@]host[:port][,host…]/keyspace[?dc=…][&consistency=…][&replication=dc1:3,dc2:3]
//	                   a Cassandra cluster, whose schema is brought to the newest; see cassandra.Config
//
// Any other name is an error, which lists the accepted forms.
func Open(ctx context.Context, dsn string) (table.Store, error) {
	if strings.HasPrefix(dsn, cassandra.Scheme+"://") {
		config, err := cassandra.ParseDSN(dsn)
		if err != nil {
			return nil, fmt.Errorf("open table store: %w", err) // the name may hold a password
		}
		return cassandra.Open(ctx, config)
	}
	u, err := url.Parse(dsn)
	if err != nil || u.Scheme != "tcp" || u.Hostname() == "" || u.Port() == "" || dsn != "tcp://"+u.Host {
		return nil, fmt.Errorf("open table store %q: the name must be tcp://host:port or %s", dsn, cassandra.Form)
	}
	return embedded.Dial(u.Host)
}
