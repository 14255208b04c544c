package local

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/versity/versitygw/auth"
	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"

	"darkroom/internal/blob"
)

const (
	s3Region     = "us-east-1"
	s3HealthPath = "/healthz"
	s3StartLimit = 10 * time.Second
	s3Buffer     = 256 << 10
)

// S3Options say where the gateway keeps its objects.
type S3Options struct {
	Dir  string
	Port int // 0 picks a free one
}

// S3 is an embedded S3 gateway over a folder: each object is a file. It does not sync what it writes, so a crash of the
// machine, unlike one of the process, may lose the newest objects. A process can have one gateway, and that gateway
// changes the process's working directory.
type S3 struct {
	addr, access, secret string
	close                func() error
}

// StartS3 starts the gateway and waits until it answers.
func StartS3(ctx context.Context, o S3Options) (*S3, error) {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("find s3 folder: %w", err)
	}
	objects := filepath.Join(dir, "objects")
	if err := os.MkdirAll(objects, 0o755); err != nil {
		return nil, fmt.Errorf("make s3 folder: %w", err)
	}
	secret, err := secretFile(filepath.Join(dir, "secret"))
	if err != nil {
		return nil, err
	}
	backend, err := openObjects(dir, objects)
	if err != nil {
		return nil, fmt.Errorf("open s3 folder: %w", err)
	}
	addr, err := freeAddr(ctx, o.Port)
	if err != nil {
		return nil, fmt.Errorf("start s3: %w", err)
	}
	serving, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	s := &S3{addr: addr, access: "darkroom", secret: secret}
	root := auth.Account{Access: s.access, Secret: s.secret, Role: auth.RoleAdmin}
	go func() {
		ended <- embedgw.RunVersityGW(serving, backend, &embedgw.Config{
			RootUserAccess: s.access, RootUserSecret: s.secret, Region: s3Region, Ports: []string{addr},
			IAMService:     auth.NewIAMServiceSingle(root), // one account; naming it keeps stdout quiet
			MaxConnections: 4096, MaxRequests: 1024, MultipartMaxParts: 10_000,
			KeepAlive: true, Quiet: true, HealthPath: s3HealthPath,
		})
	}()
	s.close = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	if err := s.await(ctx, ended); err != nil {
		cancel()
		return nil, err
	}
	return s, nil
}

// openObjects opens the folder. What S3 keeps beside an object's bytes goes to extended attributes where the file
// system has them, else to a folder beside it; posix refuses one whose name begins with the other's.
func openObjects(dir, objects string) (*posix.Posix, error) {
	opts := posix.PosixOpts{
		CopyObjectThreshold: 5 << 30, // S3's own limit; zero would refuse every copy
		DataIntegrityEtag:   true,    // spares an MD5 of every object
		IOBufferSize:        s3Buffer,
	}
	if (meta.XattrMeta{}).Test(objects) == nil {
		return posix.New(objects, meta.XattrMeta{}, opts)
	}
	opts.SideCarDir = filepath.Join(dir, "metadata")
	if err := os.MkdirAll(opts.SideCarDir, 0o755); err != nil {
		return nil, err
	}
	side, err := meta.NewSideCar(opts.SideCarDir)
	if err != nil {
		return nil, err
	}
	return posix.New(objects, side, opts)
}

// await returns when the gateway answers; it has no signal of its own for that.
func (s *S3) await(ctx context.Context, ended <-chan error) error {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // an idle connection delays the shutdown
	for deadline := time.Now().Add(s3StartLimit); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		select {
		case err := <-ended:
			return fmt.Errorf("start s3 on %s: %w", s.addr, err)
		case <-ctx.Done():
			return fmt.Errorf("start s3: %w", ctx.Err())
		default:
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.addr+s3HealthPath, nil)
		if err != nil {
			return fmt.Errorf("start s3: %w", err)
		}
		if res, err := client.Do(req); err == nil {
			return res.Body.Close()
		}
	}
	return fmt.Errorf("start s3: no answer from %s within %v", s.addr, s3StartLimit)
}

// Config is how to reach a bucket of the gateway.
func (s *S3) Config(bucket string) blob.Config {
	return blob.Config{
		Endpoint: "http://" + s.addr, Region: s3Region, Bucket: bucket, AccessKey: s.access, SecretKey: s.secret,
	}
}

// Close stops the gateway. A client's idle connections delay it by up to ten seconds, so close clients first. A second
// call does nothing.
func (s *S3) Close() error { return s.close() }

// secretFile returns the secret in the file, which only its owner can read. The first call makes it.
func secretFile(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err == nil {
		return strings.TrimSpace(string(b)), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read secret: %w", err)
	}
	secret := rand.Text()
	tmp := path + ".new" // renamed, so that one cut short is not taken for a whole one
	if err := errors.Join(os.WriteFile(tmp, []byte(secret+"\n"), 0o600), os.Rename(tmp, path)); err != nil {
		return "", fmt.Errorf("write secret: %w", err)
	}
	return secret, nil
}

// freeAddr returns an address of loopback that nobody listens on. It is for servers that take an address and not a
// listener; another process could take it in the moment between.
func freeAddr(ctx context.Context, port int) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
