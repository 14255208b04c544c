// Package runners hands built pipelines to Beam's runners, through the Job API: to Prism in this process, and to Flink
// and Spark through Beam's job servers, with the options that Beam's own Go runners cannot send.
//
// The DoFns run in workers, which are this very program: within the submitting process, or, for a job that is to
// outlive it, in a worker pool that [ServeWorkers] serves and that the runner's own machines reach.
package runners
