package pipelines

import (
	"errors"
	"fmt"

	"darkroom/internal/blob"
	"darkroom/internal/pixels/engine"
)

// Ends are where every pipeline reads from and writes to.
type Ends struct {
	Kafka         []string    `help:"Kafka brokers, as host:port." default:"127.0.0.1:9092" placeholder:"ADDR"`
	EventsTopic   string      `help:"Topic of uploads and deletions." default:"images.events"`
	RejectedTopic string      `help:"Topic of dead letters." default:"images.rejected"`
	S3            blob.Config `embed:"" prefix:"s3-"`
	Table         string      `help:"Table store, as tcp://host:port or cassandra://host/keyspace." default:"tcp://127.0.0.1:9041" placeholder:"DSN"`
}

func (e Ends) validate(f *flagErrors) {
	f.check(len(e.Kafka) > 0, "kafka", "needs at least one broker")
	f.check(e.EventsTopic != "", "events-topic", "needs a name")
	f.check(e.RejectedTopic != "", "rejected-topic", "needs a name")
	f.add("s3-…", e.S3.Validate())
}

// Deriving are the options of every pipeline that derives.
type Deriving struct {
	engine.Choice
	MaxShare float64 `help:"Share of each machine's CPUs that deriving may take, up to 1: all, for a machine that has nothing else to do." default:"0.5"`
}

func (d Deriving) validate(f *flagErrors) {
	f.check(d.MaxShare > 0 && d.MaxShare <= 1, "max-share", "must be more than 0 and at most 1")
}

// flagErrors are what is wrong with options, each by its flag.
type flagErrors []error

// check adds what is wanted of a flag that is not as it should be.
func (f *flagErrors) check(ok bool, flag, want string) {
	if !ok {
		f.add(flag, errors.New(want))
	}
}

// add adds an error, unless it is nil.
func (f *flagErrors) add(flag string, err error) {
	if err != nil {
		*f = append(*f, fmt.Errorf("--%s: %w", flag, err))
	}
}

func (f *flagErrors) err() error { return errors.Join(*f...) }
