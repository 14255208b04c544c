package runners

import (
	"context"
	"fmt"
	"time"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
)

// dialTimeout bounds the wait for a job server or a worker pool, which answer at once if they are there.
const dialTimeout = 5 * time.Second

// submitTo starts a pipeline through a job server.
func submitTo(ctx context.Context, server, workers string, r request) (*Job, error) {
	initialize()
	conn, err := dial(ctx, server)
	if err != nil {
		return nil, fmt.Errorf("connect to the job server at %s: %w", server, err)
	}
	client := jobpb.NewJobServiceClient(conn)
	var job *Job
	if workers == "" {
		job, err = submitWithWorkers(ctx, client, r)
	} else {
		job, err = submitToPool(ctx, client, workers, r)
	}
	if err != nil {
		_ = conn.Close() // nothing was begun over it
		return nil, err
	}
	stop := job.stop
	job.stop = func(ctx context.Context) error {
		defer conn.Close()
		return stop(ctx)
	}
	return job, nil
}

// submitToPool starts a pipeline whose DoFns run in the workers of a pool. It asks the pool first: a job whose workers
// cannot be reached would only be tried again and again.
func submitToPool(ctx context.Context, client jobpb.JobServiceClient, workers string, r request) (*Job, error) {
	build, err := Build()
	if err != nil {
		return nil, err
	}
	params := map[string]string{paramBuild: build}
	if err := checkPool(ctx, workers, params); err != nil {
		return nil, err
	}
	if r.environment, err = external(ctx, workers, params); err != nil {
		return nil, err
	}
	job, err := submit(ctx, client, r, func(context.Context) error { return nil })
	if err != nil {
		return nil, fmt.Errorf("submit pipeline %s: %w", r.name, err)
	}
	return job, nil
}

// dial connects and waits until the other side answers.
func dial(ctx context.Context, addr string) (*grpc.ClientConn, error) {
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<30)))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if err := reach(ctx, conn); err != nil {
		_ = conn.Close() // it never was one
		return nil, err
	}
	return conn, nil
}

// reach waits until the connection stands.
func reach(ctx context.Context, conn *grpc.ClientConn) error {
	conn.Connect()
	for {
		state := conn.GetState()
		if state == connectivity.Ready {
			return nil
		}
		if !conn.WaitForStateChange(ctx, state) {
			return fmt.Errorf("nobody answers within %v", dialTimeout)
		}
	}
}
