// Package open opens table stores by name.
package open

import (
	"context"
	"fmt"
	"net/url"

	"darkroom/internal/table"
	"darkroom/internal/table/embedded"
)

// Open returns the table store that a data source name tells. It makes no connection yet.
//
//	tcp://host:port    a store that `darkroom up` or `darkroom table` serves
//
// Any other name is an error, which lists the accepted forms.
func Open(_ context.Context, dsn string) (table.Store, error) {
	u, err := url.Parse(dsn)
	if err != nil || u.Scheme != "tcp" || u.Hostname() == "" || u.Port() == "" || dsn != "tcp://"+u.Host {
		return nil, fmt.Errorf("open table store %q: the name must be tcp://host:port", dsn)
	}
	return embedded.Dial(u.Host)
}
