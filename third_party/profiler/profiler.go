// Package profiler takes the place of the client for Google's Cloud Profiler, which Beam's worker imports for jobs on
// Dataflow.
package profiler

import "errors"

// Config has what Beam sets.
type Config struct{ Service, ServiceVersion string }

// Start fails.
func Start(Config) error { return errors.New("profiler: Darkroom is built without Cloud Profiler") }
