package main

import (
	"bytes"
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	"github.com/twmb/franz-go/pkg/kfake"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"darkroom/internal/event"
	"darkroom/internal/table/embedded"
	"darkroom/pipelines"
)

func TestABoundedRunHasAJobNameOfItsOwn(t *testing.T) {
	for bounded, want := range map[bool]string{false: "live", true: "live-bounded"} {
		if got := nameOfJob(pipelines.LiveName, &pipelines.Live{Bounded: bounded}); got != want {
			t.Errorf("bounded %v: %q, want %q", bounded, got, want)
		}
	}
}

// otherServer is a job server that does not know a part of the pipeline, as one of another version may not.
type otherServer struct {
	jobpb.UnimplementedJobServiceServer
}

func (otherServer) Prepare(context.Context, *jobpb.PrepareJobRequest) (*jobpb.PrepareJobResponse, error) {
	return nil, status.Error(codes.InvalidArgument, "java.lang.IllegalArgumentException: x\n\tat a.B.c(B.java:1)\n"+
		"Caused by: java.lang.UnsupportedOperationException: no translator for beam:transform:new:v9\n\tat d.E.f(E.java:2)\n")
}

func serveGRPC(t *testing.T, register func(*grpc.Server)) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	register(server)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	return l.Addr().String()
}

// serveTables serves an empty table store and returns its DSN.
func serveTables(t *testing.T, kafka string) string {
	t.Helper()
	store, err := embedded.Open(t.Context(), filepath.Join(t.TempDir(), "table"), embedded.Options{Brokers: []string{kafka}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- embedded.Serve(ctx, l, store) }()
	t.Cleanup(func() {
		stop()
		<-ended
		_ = store.Close()
	})
	return "tcp://" + l.Addr().String()
}

// TestWhatIsMissingIsOneLine runs the pipeline without one of the parts that it needs.
func TestWhatIsMissingIsOneLine(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, event.TopicImages, event.TopicRejected))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	kafka := cluster.ListenAddrs()[0]
	const nobody = "127.0.0.1:1"
	tables := serveTables(t, kafka)
	other := serveGRPC(t, func(s *grpc.Server) { jobpb.RegisterJobServiceServer(s, otherServer{}) })
	none := serveGRPC(t, func(*grpc.Server) {})

	for name, c := range map[string]struct {
		args string
		want string
	}{
		"no topic": {
			"--kafka " + kafka + " --events-topic none",
			"run live: list partitions of none: UNKNOWN_TOPIC_OR_PARTITION",
		},
		"no topic, bounded": {
			"--kafka " + kafka + " --events-topic none --bounded",
			"run live: list partitions of none: UNKNOWN_TOPIC_OR_PARTITION",
		},
		"no topic of dead letters": {
			"--kafka " + kafka + " --rejected-topic none",
			"run live: list partitions of none: UNKNOWN_TOPIC_OR_PARTITION",
		},
		"no broker": {"--kafka " + nobody, "run live: connect to kafka at [127.0.0.1:1]: "},
		"no Flink": {
			"--kafka " + kafka + " --table " + tables + " --runner flink --flink http://" + nobody,
			"list Flink's jobs: ask Flink's JobManager: Get \"http://127.0.0.1:1/jobs/overview\": ",
		},
		"no job server of Flink": {
			"--kafka " + kafka + " --from earliest --bounded --runner flink --job-server " + nobody,
			"run on Flink: connect to the job server at 127.0.0.1:1: ",
		},
		"no job server of Spark": {
			"--kafka " + kafka + " --from earliest --bounded --runner spark --job-server " + nobody,
			"run on Spark: connect to the job server at 127.0.0.1:1: ",
		},
		"a job server of another version": {
			"--kafka " + kafka + " --from earliest --bounded --runner spark --job-server " + other,
			"prepare: the job server refuses a pipeline of Beam 2.77.0: InvalidArgument: " +
				"java.lang.UnsupportedOperationException: no translator for beam:transform:new:v9",
		},
		"no job server but another service": {
			"--kafka " + kafka + " --from earliest --bounded --runner flink --job-server " + none,
			"prepare: the job server refuses a pipeline of Beam 2.77.0: Unimplemented: unknown service",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errs bytes.Buffer
			args := append([]string{"pipeline", "run", "live", "--s3-endpoint", "http://" + nobody, "--s3-bucket", "b",
				"--s3-access-key", "k", "--s3-secret-key", "s"}, strings.Fields(c.args)...)
			err := run(t.Context(), args, stdio{&out, &errs})
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v\nwant %s", err, c.want)
			}
		})
	}
}

// TestMaxHeap has a heap that no job could stay below.
func TestMaxHeap(t *testing.T) {
	const want = `--max-heap (DARKROOM_MAX_HEAP): must be 0, or at least 268435456 bytes, not "1"`
	args := []string{"pipeline", "run", "live", "--kafka", "127.0.0.1:1"}
	if _, err := printed(t, append(args, "--max-heap", "1")...); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("as a flag: %v, want %s", err, want)
	}
	t.Setenv("DARKROOM_MAX_HEAP", "1")
	if _, err := printed(t, args...); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("as a variable: %v, want %s", err, want)
	}
}

func TestAPipelineMustBeNamed(t *testing.T) {
	for args, want := range map[string]string{
		"pipeline run":                `name a pipeline: "live", "derive"`,
		"pipeline run --runner flink": `name a pipeline: "live", "derive"`,
		"pipeline drain":              `name a pipeline: "live"`,
	} {
		var out bytes.Buffer
		if err := run(t.Context(), strings.Fields(args), stdio{&out, &out}); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", args, err, want)
		}
	}
}
