package local

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"darkroom/internal/blob"
)

// PostgresDSN is the URL of Darkroom's database in a server that another process runs. The folder's first start makes
// the password, so it fails before.
func PostgresDSN(dir string, port int) (string, error) {
	password, err := readSecret(filepath.Join(dir, "password"))
	if err != nil {
		return "", err
	}
	return (&Postgres{password: password, port: port}).DSN(), nil
}

// S3Config is how to reach a bucket of a gateway that another process runs. The folder's first start makes the secret
// key, so it fails before.
func S3Config(dir string, port int, bucket string) (blob.Config, error) {
	secret, err := readSecret(filepath.Join(dir, "secret"))
	if err != nil {
		return blob.Config{}, err
	}
	return (&S3{secret: secret, port: port}).Config(bucket), nil
}

func readSecret(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read secret: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}
