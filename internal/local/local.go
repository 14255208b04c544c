// Package local runs on one machine what Darkroom needs around it: a broker that speaks Kafka, a gateway that speaks
// S3, and a real PostgreSQL. Each part keeps its data in one folder, survives a kill at any moment, and speaks the real
// protocol, so that nothing that uses it can tell the difference. It runs on Linux.
//
// What a part has acknowledged is there after its process was killed. A folder serves one process at a time. All listen
// on loopback only. A part stops within two seconds, and to stop it again does nothing.
//
// StartS3 changes the process's working directory. So every folder is named by an absolute path, and a process that has
// an S3 gateway makes its own paths absolute before.
package local

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	mathrand "math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const loopback = "127.0.0.1"

// openFolder makes a part's folder if it is missing, and takes it for this process.
func openFolder(dir string) (io.Closer, error) {
	if !filepath.IsAbs(dir) {
		return nil, fmt.Errorf("folder %q is not an absolute path", dir)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	return Lock(dir)
}

// Ports that choosePort looks for lie below those that Linux gives to connections and to listeners on port 0
// (net.ipv4.ip_local_port_range, from 32768), so that none of these takes one between its choice and its use.
const (
	firstPort = 20_000
	portRange = 12_000
	portTries = 100
)

// A child that is being started holds, for a moment, a copy of every open descriptor, and with it a port that this
// process has just given up. So a port that seems taken is tried again.
const (
	bindTries = 5
	bindPause = 50 * time.Millisecond
)

// choosePort returns port if nobody listens on it, and a free one for 0. It is for servers that take a number and not a
// listener.
func choosePort(ctx context.Context, port int) (int, error) {
	if port != 0 {
		return port, tryPort(ctx, port)
	}
	var err error
	for range portTries {
		port = firstPort + mathrand.IntN(portRange)
		if err = tryPort(ctx, port); err == nil {
			return port, nil
		}
	}
	return 0, err
}

func tryPort(ctx context.Context, port int) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", fmt.Sprintf("%s:%d", loopback, port))
	if err != nil {
		return err
	}
	return l.Close()
}

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
