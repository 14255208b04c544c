package statsapi

import (
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Config says where the service's database and its changes are, and how it treats them.
type Config struct {
	// PostgresDSN is the database, as a URL or as keywords and values. Its user must be allowed to create schemas; the
	// copy lives in the schema "darkroom". The pool takes its settings (pool_max_conns and so on) from here as well.
	PostgresDSN string
	// Brokers are those of Kafka, as host:port.
	Brokers []string
	// QueryTimeout bounds one query of a request.
	QueryTimeout time.Duration
	// BatchRecords is how many records one transaction applies at most.
	BatchRecords int
	// LockInterval is how often an instance that does not consume looks whether it may.
	LockInterval time.Duration
	// DiscoverInterval is how often the consumer looks for topics and partitions that are new.
	DiscoverInterval time.Duration
	// RebuildIncomplete lets Rebuild go on when the topics no longer hold all that the copy was made of. What they lack
	// is then lost.
	RebuildIncomplete bool
}

// DefaultConfig is the configuration of a service on this machine, but for its database, which has no default.
func DefaultConfig() Config {
	return Config{
		Brokers:          []string{"127.0.0.1:9092"},
		QueryTimeout:     5 * time.Second,
		BatchRecords:     2000,
		LockInterval:     500 * time.Millisecond,
		DiscoverInterval: time.Second,
	}
}

// Validate names every field that is not right, and says what would be.
func (c Config) Validate() error {
	var errs []error
	check := func(ok bool, field, want string) {
		if !ok {
			errs = append(errs, fmt.Errorf("%s: %s", field, want))
		}
	}
	_, err := pgxpool.ParseConfig(c.PostgresDSN)
	check(c.PostgresDSN != "" && err == nil, "PostgresDSN", "must be like postgres://user:password@host:5432/database")
	check(len(c.Brokers) > 0, "Brokers", "needs at least one address, as host:port")
	for _, b := range c.Brokers {
		check(b != "", "Brokers", "has an empty address")
	}
	check(c.QueryTimeout >= time.Millisecond, "QueryTimeout", "must be a millisecond or more")
	check(c.BatchRecords > 0, "BatchRecords", "must be positive")
	check(c.LockInterval > 0, "LockInterval", "must be positive")
	check(c.DiscoverInterval > 0, "DiscoverInterval", "must be positive")
	return errors.Join(errs...)
}
