// Package blob keeps objects in S3, through aws-sdk-go-v2 and nothing else, so that any S3 server will do.
//
// What it guarantees: an object is there whole or not at all; a put with a condition is decided by the server, so of
// many at once one wins; a stream is never held whole in memory; every error that a caller can act on is one of the
// sentinels below, or [Unavailable] holds for it.
//
// Requests to a server of the same process are calls of it (see [InProcess]): signed and answered as all others, but no
// byte passes through a socket.
//
// Keys are paths with "/" between their parts. A server over a file system cannot hold both "a" and "a/b", nor a part
// of more than 255 bytes: give no object a key that is another's folder.
package blob

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// MaxGet is the greatest object, in bytes, that Get returns.
const MaxGet = 1 << 20

// defaultRegion is the region of a server that does not care, and AWS's own default.
const defaultRegion = "us-east-1"

// Config says which bucket of which S3 server a Store uses. It is plain data, so that a pipeline can carry it; the tags
// are those of the command line.
type Config struct {
	Endpoint  string `help:"URL of the S3 server; empty for AWS." env:"DARKROOM_S3_ENDPOINT"`
	Region    string `help:"Region; empty for us-east-1 with an endpoint, and the SDK's default without." env:"DARKROOM_S3_REGION"`
	Bucket    string `help:"Bucket of the images." default:"darkroom" env:"DARKROOM_S3_BUCKET"`
	AccessKey string `help:"Access key; empty for the SDK's own chain of credentials." env:"DARKROOM_S3_ACCESS_KEY"`
	SecretKey string `help:"Secret key; empty for the SDK's own chain of credentials." env:"DARKROOM_S3_SECRET_KEY"`
}

// PutOptions are Put's conditions, and the object's type and checksum.
type PutOptions struct {
	IfAbsent    bool   // refuse with ErrExists when the key has an object
	IfMatch     string // refuse with ErrChanged unless the object's ETag is this one; the same bytes have the same
	ContentType string
	SHA256      []byte // of the data, if it is known: S3 checks it, and keeps it with the object
}

// Info describes an object.
type Info struct {
	Key     string
	Size    int64 // bytes
	ETag    string
	ModTime time.Time
}

// Object is an open object, or the part of it that a range selects. The caller closes Body.
type Object struct {
	Body         io.ReadCloser
	Size         int64 // bytes in Body
	ETag         string
	ContentType  string
	ContentRange string // as RFC 9110, section 14.4, writes it; empty when Body is the whole object
	ModTime      time.Time
}

// Validate reports the first field that cannot be right.
func (c Config) Validate() error {
	if c.Bucket == "" {
		return errors.New("blob: no bucket is named")
	}
	if (c.AccessKey == "") != (c.SecretKey == "") {
		return errors.New("blob: access key and secret key go together, and one is empty")
	}
	if c.Endpoint == "" {
		return nil
	}
	u, err := url.Parse(c.Endpoint)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return fmt.Errorf("blob: endpoint %q is no http or https URL", c.Endpoint)
	}
	return nil
}

// Store is one bucket. It is safe for use by many goroutines.
type Store struct {
	bucket    string
	region    string
	client    *s3.Client
	transport *http.Transport
}

// Open returns the store that c describes. It makes no call to S3: see Ping and EnsureBucket.
func Open(ctx context.Context, c Config) (*Store, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	sdk, err := c.load(ctx)
	if err != nil {
		return nil, err
	}
	transport := newTransport()
	sdk.HTTPClient = &http.Client{
		Transport: way{transport},
		// The SDK treats S3's redirects itself, as it signs for a host.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	sdk.Retryer = newRetryer
	client := s3.NewFromConfig(sdk, func(o *s3.Options) {
		// The SDK's own CRC would cost a pass over each body, and an aws-chunked one on its way.
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		o.DisableLogOutputChecksumValidationSkipped = true
		if c.Endpoint != "" {
			o.BaseEndpoint, o.UsePathStyle = aws.String(c.Endpoint), true
		}
	})
	return &Store{bucket: c.Bucket, region: sdk.Region, client: client, transport: transport}, nil
}

// load returns the SDK's configuration. With keys it depends on nothing but c.
func (c Config) load(ctx context.Context) (aws.Config, error) {
	if c.AccessKey != "" {
		keys := credentials.NewStaticCredentialsProvider(c.AccessKey, c.SecretKey, "")
		return aws.Config{Region: cmp.Or(c.Region, defaultRegion), Credentials: aws.NewCredentialsCache(keys)}, nil
	}
	var options []func(*config.LoadOptions) error
	if c.Region != "" {
		options = append(options, config.WithRegion(c.Region))
	}
	sdk, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return aws.Config{}, fmt.Errorf("load the S3 client's configuration: %w", err)
	}
	sdk.Region = cmp.Or(sdk.Region, defaultRegion)
	return sdk, nil
}

// Close closes the idle connections. Calls under way go on.
func (s *Store) Close() error {
	s.transport.CloseIdleConnections()
	return nil
}
