// Package blob keeps objects in S3, through aws-sdk-go-v2 and nothing else, so that any S3 server will do.
//
// What it guarantees: an object is there whole or not at all; a put with a condition is decided by the server, so of
// many at once one wins; a stream is never held whole in memory; every error a caller can act on is one of the
// sentinels below or answers true to [Unavailable].
package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

var (
	// ErrNotFound says that no object has this key. The caller answers 404 or makes the object.
	ErrNotFound = errors.New("no such object")
	// ErrExists says that PutOptions.IfAbsent met an object. The caller reads the object that is there.
	ErrExists = errors.New("object exists")
	// ErrChanged says that PutOptions.IfMatch does not hold, or that the object is gone. The caller reads it again.
	ErrChanged = errors.New("object changed")
	// ErrChecksum says that the stored bytes have another SHA-256 than the caller's. The caller uploads them again.
	ErrChecksum = errors.New("checksum differs")
	// ErrRange says that no byte of the object lies in the range asked for; see [RangeError]. The caller answers 416.
	ErrRange = errors.New("range not satisfiable")
	// ErrTooLarge says that Get met an object of more than MaxGet bytes. The caller uses Open instead.
	ErrTooLarge = errors.New("object too large")
)

// MaxGet is the greatest object, in bytes, that Get returns.
const MaxGet = 1 << 20

// Config says which bucket of which S3 server a Store uses. It is plain data, so that a pipeline can carry it.
type Config struct {
	Endpoint  string // URL of the server, such as http://127.0.0.1:9000; empty: AWS
	Region    string // empty: us-east-1 with an Endpoint, the SDK's default without
	Bucket    string
	AccessKey string // empty, with SecretKey: the SDK's default chain of credentials
	SecretKey string
}

// PutOptions are Put's conditions and the object's type.
type PutOptions struct {
	IfAbsent    bool   // refuse with ErrExists when the key has an object
	IfMatch     string // refuse with ErrChanged unless the object's ETag is this one
	ContentType string
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

// RangeError is the error of Open for a range outside the object. It is ErrRange to errors.Is.
type RangeError struct {
	Total int64 // the object's size, in bytes
}

// Error implements error.
func (e *RangeError) Error() string { return fmt.Sprintf("%v: the object has %d bytes", ErrRange, e.Total) }

// Is reports whether target is ErrRange.
func (e *RangeError) Is(target error) bool { return target == ErrRange }

// Validate reports the first field that cannot be right.
func (c Config) Validate() error {
	if c.Bucket == "" {
		return errors.New("blob: no bucket is named")
	}
	if (c.AccessKey == "") != (c.SecretKey == "") {
		return errors.New("blob: access key and secret key go together: one is empty")
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
	bucket string
	client *s3.Client
	http   *http.Transport
	plain  bool // the endpoint is http, where the SDK would hash a body before it sends it
}

// Open returns the store that c describes. It makes no call to S3: see Ping and EnsureBucket.
func Open(ctx context.Context, c Config) (*Store, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	transport := newTransport()
	load := []func(*config.LoadOptions) error{
		config.WithHTTPClient(&http.Client{Transport: transport}),
		config.WithRetryer(func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) {
				o.MaxAttempts, o.MaxBackoff = maxAttempts, maxBackoff
			})
		}),
	}
	region := c.Region
	if region == "" && c.Endpoint != "" {
		region = "us-east-1"
	}
	if region != "" {
		load = append(load, config.WithRegion(region))
	}
	if c.AccessKey != "" {
		keys := credentials.NewStaticCredentialsProvider(c.AccessKey, c.SecretKey, "")
		load = append(load, config.WithCredentialsProvider(keys))
	}
	sdk, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return nil, fmt.Errorf("load the S3 client's configuration: %w", err)
	}
	client := s3.NewFromConfig(sdk, func(o *s3.Options) {
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		o.DisableLogOutputChecksumValidationSkipped = true
		if c.Endpoint != "" {
			o.BaseEndpoint, o.UsePathStyle = aws.String(c.Endpoint), true
		}
	})
	u, _ := url.Parse(c.Endpoint) // Validate parsed it
	return &Store{bucket: c.Bucket, client: client, http: transport, plain: u.Scheme == "http"}, nil
}

// Close closes the idle connections. Calls under way go on.
func (s *Store) Close() error {
	s.http.CloseIdleConnections()
	return nil
}
