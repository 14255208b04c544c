// Package open opens table stores by name.
package open

import (
	"context"
	"fmt"
	"strings"

	"darkroom/internal/table"
	"darkroom/internal/table/embedded"
)

// Open returns the table store at a data source name. It makes no connection yet.
//
//	tcp://host:port    a store that `darkroom up` or `darkroom table` serves
func Open(_ context.Context, dsn string) (table.Store, error) {
	if addr, ok := strings.CutPrefix(dsn, "tcp://"); ok {
		return embedded.Dial(addr)
	}
	return nil, fmt.Errorf("table store %q: the name must be tcp://host:port", dsn)
}
