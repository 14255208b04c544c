package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/versity/versitygw/auth"
	"github.com/versity/versitygw/embedgw"
	"github.com/versity/versitygw/s3api"

	"darkroom/internal/blob"
)

const (
	s3Region    = "us-east-1"
	s3AccessKey = "darkroom"
	s3Buffer    = 256 << 10
	// s3Patience is how long a start waits for the end of a gateway that this process has closed before: that one
	// waits for a client's silent connections for ten seconds.
	s3Patience = 12 * time.Second
	s3Stop     = 1500 * time.Millisecond
	s3Pause    = 500 * time.Millisecond // before it is started again
)

// S3Options say where the gateway keeps its objects.
type S3Options struct {
	Dir  string // absolute; made if it is missing
	Port int    // 0 picks a free one

	sidecar bool // do without extended attributes, as on a file system that has none
}

// S3 is an embedded S3 gateway over a folder: each object is a file, DIR/objects/BUCKET/KEY. It does not sync what it
// writes, so a crash of the machine, unlike one of the process, may lose the newest objects. The secret key is made
// once for a folder and kept in DIR/secret, which only its owner can read: other users of the machine reach the
// gateway's port, but nothing in it. Stores of this process call it (see [blob.InProcess]); all others connect.
type S3 struct {
	port   int
	secret string
	cancel context.CancelFunc
	ended  chan struct{} // closed when the gateway has ended for good, for the reason failed
	failed error
	close  func() error
}

// gateway is held by the one gateway that a process can run at a time.
var gateway = make(chan struct{}, 1)

// StartS3 starts the gateway, which serves on return. A process can have one at a time. Until Close the process's
// working directory is the gateway's folder, since the library works with paths relative to it.
func StartS3(ctx context.Context, o S3Options) (*S3, error) {
	for try := 1; ; try++ {
		s, err := startS3(ctx, o)
		if err == nil || try == bindTries || !strings.Contains(err.Error(), "address already in use") {
			return s, err
		}
		time.Sleep(bindPause)
	}
}

func startS3(ctx context.Context, o S3Options) (*S3, error) {
	folder, err := openFolder(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("start s3: %w", err)
	}
	s := &S3{ended: make(chan struct{})}
	if err := s.start(ctx, o, folder); err != nil {
		return nil, fmt.Errorf("start s3: %w", errors.Join(err, folder.Close()))
	}
	return s, nil
}

func (s *S3) start(ctx context.Context, o S3Options, folder io.Closer) (err error) {
	if s.secret, err = secretFile(filepath.Join(o.Dir, "secret")); err != nil {
		return err
	}
	if s.port, err = choosePort(ctx, o.Port); err != nil {
		return err
	}
	root := filepath.Join(o.Dir, "objects")
	if err = os.MkdirAll(root, 0o755); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	select {
	case gateway <- struct{}{}:
	case <-time.After(s3Patience):
		return errors.New("this process has an S3 gateway already")
	case <-ctx.Done():
		return ctx.Err()
	}
	before, err := os.Getwd()
	if err != nil {
		before = "/" // it has been removed
	}
	if err = s.serve(ctx, o, root); err != nil {
		return errors.Join(err, os.Chdir(before))
	}
	s.close = sync.OnceValue(func() error {
		s.stop()
		return errors.Join(os.Chdir(before), folder.Close())
	})
	return nil
}

// serve runs the gateway in the background and waits until it listens.
func (s *S3) serve(ctx context.Context, o S3Options, root string) error {
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.cancel = cancel
	listening := make(chan struct{})
	go s.run(running, o, root, listening)
	select {
	case <-listening:
		return nil
	case <-s.ended:
		return s.failed
	case <-ctx.Done():
		s.stop()
		return ctx.Err()
	}
}

// run runs the gateway until ctx ends, and again when it ends by itself after it has listened: it does when the process
// has too many open files to accept a connection.
func (s *S3) run(ctx context.Context, o S3Options, root string, listening chan struct{}) {
	defer close(s.ended)
	defer func() { <-gateway }()
	listens := sync.OnceFunc(func() { close(listening) })
	for {
		s.failed = s.runOnce(ctx, o, root, listens)
		select {
		case <-listening:
		default:
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(s3Pause):
		}
		slog.Error("the S3 gateway ended; starting it again", "error", s.failed)
	}
}

// runOnce opens the files, which the gateway closes at its end, and runs it.
func (s *S3) runOnce(ctx context.Context, o S3Options, root string, listens func()) error {
	files, err := openObjects(o, root)
	if err != nil {
		return fmt.Errorf("open the folder: %w", err)
	}
	c := newCalls(s.endpoint())
	defer c.end()
	defer context.AfterFunc(ctx, c.refuse)() // the gateway's own end takes as long as its connections
	account := auth.Account{Access: s3AccessKey, Secret: s.secret, Role: auth.RoleAdmin}
	err = embedgw.RunVersityGW(ctx, files, &embedgw.Config{
		RootUserAccess: s3AccessKey, RootUserSecret: s.secret, Region: s3Region,
		Ports:          []string{fmt.Sprintf("%s:%d", loopback, s.port)},
		IAMService:     auth.NewIAMServiceSingle(account), // one account; naming it keeps stdout quiet
		MaxConnections: 4096, MaxRequests: 1024, MultipartMaxParts: 10_000,
		KeepAlive: true, Quiet: true,
		S3Options: []s3api.Option{
			s3api.WithMiddleware("/", c.middleware),
			s3api.WithOnListen(func() {
				go func() {
					c.begin(ctx)
					listens()
				}()
			}),
		},
	})
	return fmt.Errorf("run the gateway on port %d: %w", s.port, err)
}

// stop ends the gateway, or leaves it to end by itself: it listens no more, but it waits for requests under way, and
// for connections on which none has ever come, for up to ten seconds.
func (s *S3) stop() {
	s.cancel()
	select {
	case <-s.ended:
	case <-time.After(s3Stop):
	}
}

// Config is how to reach a bucket of the gateway. The bucket need not exist: see EnsureBucket of blob.
func (s *S3) Config(bucket string) blob.Config {
	return blob.Config{
		Endpoint: s.endpoint(), Region: s3Region, Bucket: bucket,
		AccessKey: s3AccessKey, SecretKey: s.secret,
	}
}

func (s *S3) endpoint() string { return fmt.Sprintf("http://%s:%d", loopback, s.port) }

// Close stops the gateway. A second call does nothing. Close clients before it: it does not wait for their requests
// longer than 1.5 s.
func (s *S3) Close() error { return s.close() }
