package local_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/versity/versitygw/backend/meta"

	"darkroom/internal/blob"
	"darkroom/internal/local"
)

// gateway starts a gateway with an empty bucket.
func gateway(t *testing.T, o local.S3Options) (*local.S3, *blob.Store) {
	t.Helper()
	s, err := local.StartS3(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	objects, err := open(t.Context(), s.Config("numbers"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(objects.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	})
	return s, objects
}

// A client that dies in the middle of a body closes its connection in order, as far as the network knows.
func TestS3RefusesABodyThatEndsEarly(t *testing.T) {
	s, objects := gateway(t, local.S3Options{Dir: t.TempDir()})
	c := s.Config("numbers")
	signed, err := s3.NewPresignClient(s3.New(s3.Options{
		BaseEndpoint: &c.Endpoint, Region: c.Region, UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(c.AccessKey, c.SecretKey, ""),
	})).PresignPutObject(t.Context(), &s3.PutObjectInput{Bucket: &c.Bucket, Key: aws.String("cut")})
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(signed.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, sent := range []int{0, 100, 50_000, 99_999} {
		conn, err := net.Dial("tcp", u.Host)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: %s\r\nContent-Length: 100000\r\n\r\n", u.RequestURI(), u.Host)
		if _, err := conn.Write(make([]byte, sent)); err != nil {
			t.Fatal(err)
		}
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(conn) // the gateway is done with the request when it closes the connection
		conn.Close()
		if err != nil || bytes.Contains(answer, []byte("200 OK")) {
			t.Errorf("after %d bytes of 100,000: %q, %v", sent, answer, err)
		}
		if info, err := objects.Stat(t.Context(), "cut"); !errors.Is(err, blob.ErrNotFound) {
			t.Fatalf("after %d bytes of 100,000: an object of %d, %v", sent, info.Size, err)
		}
	}
}

// A copy may share its source's bytes, but nothing that is done to one reaches the other.
func TestS3CopiesAreApart(t *testing.T) {
	for name, o := range map[string]local.S3Options{"attributes": {}, "sidecar": local.S3Options{}.WithSidecar()} {
		t.Run(name, func(t *testing.T) {
			o.Dir = t.TempDir()
			copiesAreApart(t, o)
		})
	}
}

func copiesAreApart(t *testing.T, o local.S3Options) {
	_, objects := gateway(t, o)
	ctx, data := t.Context(), []byte("the bytes")
	for _, mediaType := range []string{"", "text/plain"} {
		if _, err := objects.Put(ctx, "from", data, blob.PutOptions{ContentType: mediaType}); err != nil {
			t.Fatal(err)
		}
		if err := objects.Promote(ctx, "from", "to/a", sha256.Sum256(data), "image/png"); err != nil {
			t.Fatal(err)
		}
		// An object without a type may get the copy's. One with a type keeps it.
		if o, err := objects.Open(ctx, "from", ""); err != nil || mediaType != "" && o.ContentType != mediaType {
			t.Errorf("the source: %+v, %v", o, err)
		} else {
			o.Body.Close()
		}
		if _, err := objects.Put(ctx, "from", []byte("others"), blob.PutOptions{ContentType: "image/gif"}); err != nil {
			t.Fatal(err)
		}
		if err := objects.Delete(ctx, "from"); err != nil {
			t.Fatal(err)
		}
		o, err := objects.Open(ctx, "to/a", "")
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(o.Body)
		o.Body.Close()
		if err != nil || !bytes.Equal(got, data) || o.ContentType != "image/png" {
			t.Errorf("%q of type %s, %v", got, o.ContentType, err)
		}
		if err := objects.Delete(ctx, "to/a"); err != nil {
			t.Fatal(err)
		}
	}
}

// A photo is written once: to give it its name and its type takes no copy of its bytes.
func TestS3CopiesAnUntypedObjectWithoutItsBytes(t *testing.T) {
	if err := (meta.XattrMeta{}).Test(t.TempDir()); err != nil {
		t.Skip(err)
	}
	_, objects := gateway(t, local.S3Options{Dir: t.TempDir()}) // its folder is the working directory
	if err := objects.PutStream(t.Context(), "in/1", bytes.NewReader([]byte("photo")), 5); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("photo"))
	if err := objects.Promote(t.Context(), "in/1", "to/1", sum, "image/png"); err != nil {
		t.Fatal(err)
	}
	from, errFrom := os.Stat("numbers/in/1")
	to, errTo := os.Stat("numbers/to/1")
	if err := errors.Join(errFrom, errTo); err != nil || !os.SameFile(from, to) {
		t.Errorf("two files, %v", err)
	}
}

func TestS3GivesTheWorkingDirectoryBack(t *testing.T) {
	before, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	s, err := local.StartS3(t.Context(), local.S3Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Getwd(); err != nil || after != before {
		t.Errorf("%s, %v; before %s", after, err, before)
	}
}

func TestS3KeepsItsSecretToItself(t *testing.T) {
	dir := t.TempDir()
	var secrets []string
	for range 2 {
		s, err := local.StartS3(t.Context(), local.S3Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		secrets = append(secrets, s.Config("b").SecretKey)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if secrets[0] != secrets[1] || len(secrets[0]) < 20 {
		t.Errorf("%q", secrets)
	}
	if info, err := os.Stat(filepath.Join(dir, "secret")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}

// A client keeps connections on which it has never asked anything; they must not hold the stop.
func TestS3StopsInTimeWithASilentClient(t *testing.T) {
	s, err := local.StartS3(t.Context(), local.S3Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(s.Config("b").Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.Get(u.String()) // the gateway has accepted the silent connection when it answers the next one
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-ctx.Done():
		t.Error("it waits for the silent client")
	}
	conn.Close()
}

func TestS3RefusesOtherKeys(t *testing.T) {
	s, err := local.StartS3(t.Context(), local.S3Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	res, err := http.Get(s.Config("x").Endpoint + "/x/key")
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode < 400 || res.StatusCode >= 500 {
		t.Errorf("a request without a signature: status %d", res.StatusCode)
	}
	http.DefaultClient.CloseIdleConnections()
}
