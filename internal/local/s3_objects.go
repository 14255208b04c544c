package local

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/versity/versitygw/backend"
	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/s3api/middlewares"
	"github.com/versity/versitygw/s3err"
	"github.com/versity/versitygw/s3response"

	"darkroom/internal/blob"
)

// objects is the gateway's folder of objects. It differs from the library's own in three things:
//   - a body that ends before its Content-Length is refused; the library would keep what came as the whole object;
//   - an object's checksum is its SHA-256 unless the client names another, so that a copy need not compute it;
//   - a copy that only gives an untyped object a type, and asks for the checksum that it has, shares its bytes.
type objects struct {
	*posix.Posix
	// links says that an object and what is known of it are one file, so that a second name takes along both.
	links bool
}

// openObjects opens the folder. What S3 keeps beside an object's bytes goes to extended attributes where the file
// system has them, else to a folder beside it. It changes the working directory.
func openObjects(o S3Options, root string) (*objects, error) {
	opts := posix.PosixOpts{
		CopyObjectThreshold: 5 << 30, // S3's own limit; zero would refuse every copy
		DataIntegrityEtag:   true,    // makes the ETag of the checksum, and so spares an MD5 of every object
		ForceNoObjLockFile:  true,    // conditions are decided in this process: the folder is locked against others
		IOBufferSize:        s3Buffer,
	}
	if !o.sidecar && (meta.XattrMeta{}).Test(root) == nil {
		p, err := posix.New(root, meta.XattrMeta{}, opts)
		return &objects{Posix: p, links: true}, err
	}
	// The library prints a line to stdout if it is told the sidecar's folder too, and needs to know it for nothing else.
	metadata := filepath.Join(o.Dir, "metadata")
	if err := os.MkdirAll(metadata, 0o700); err != nil {
		return nil, err
	}
	side, err := meta.NewSideCar(metadata)
	if err != nil {
		return nil, err
	}
	p, err := posix.New(root, side, opts)
	return &objects{Posix: p}, err
}

// PutObject stores an object if its body is complete.
func (o *objects) PutObject(ctx context.Context, in s3response.PutObjectInput) (s3response.PutObjectOutput, error) {
	plain := in.ChecksumAlgorithm == ""
	if plain {
		in.ChecksumAlgorithm = types.ChecksumAlgorithmSha256
	}
	_, chunked := in.Body.(middlewares.ChecksumReader) // says itself where it ends
	_, form := in.Body.(interface{ Length() int64 })   // a file in a form is shorter than the request
	raw := in.Body != nil && !chunked && !form
	if raw && in.ContentLength != nil {
		in.Body = &whole{r: in.Body, left: *in.ContentLength}
	}
	if h, ok := ctx.Value(hashKey{}).(blob.Hashed); ok && raw && plain {
		in.Body = &hashed{r: in.Body, hash: h}
	}
	return o.Posix.PutObject(ctx, in)
}

// whole is a request's body that has failed if it ends early.
type whole struct {
	r    io.Reader
	left int64
}

func (w *whole) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	w.left -= int64(n)
	if err != nil && w.left > 0 { // io.EOF, or a connection that broke
		err = s3err.GetAPIError(s3err.ErrIncompleteBody)
	}
	return n, err
}

// hashed is a body that is being hashed elsewhere in this process, so that to do it again would tell nothing. To the
// library it is a body with its checksum in the trailer, which is known at the end, too.
type hashed struct {
	r     io.Reader
	hash  blob.Hashed
	ended bool
}

func (h *hashed) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	h.ended = h.ended || errors.Is(err, io.EOF)
	return n, err
}

// Algorithm implements middlewares.ChecksumReader.
func (h *hashed) Algorithm() string { return string(types.ChecksumAlgorithmSha256) }

// Checksum implements middlewares.ChecksumReader.
func (h *hashed) Checksum() string {
	if !h.ended {
		return ""
	}
	sum := h.hash.SHA256()
	return base64.StdEncoding.EncodeToString(sum[:])
}

// CopyObject copies an object.
func (o *objects) CopyObject(ctx context.Context, in s3response.CopyObjectInput) (s3response.CopyObjectOutput, error) {
	if out, ok := o.link(in); ok {
		return out, nil
	}
	return o.Posix.CopyObject(ctx, in)
}

// link gives an object a second name. Whatever speaks against it is left to the library, which copies or says why not.
//
// Both names then share what is known of the object until one is written anew; so only an object that nobody has
// described is linked, and the one thing to describe, its type, is set for both. Objects' bytes never change in place.
func (o *objects) link(in s3response.CopyObjectInput) (out s3response.CopyObjectOutput, ok bool) {
	bucket, key, version, err := backend.ParseCopySource(deref(in.CopySource))
	if err != nil || version != "" || !o.links || !retypes(in) {
		return out, false
	}
	from, to := filepath.Join(bucket, key), filepath.Join(deref(in.Bucket), deref(in.Key))
	if _, err := os.Stat(deref(in.Bucket)); err != nil || !filepath.IsLocal(from) || !filepath.IsLocal(to) {
		return out, false
	}
	attributes := meta.XattrMeta{}
	sum, err := plainChecksum(attributes, bucket, key, deref(in.ContentType))
	if err != nil || sum.Algorithm != in.ChecksumAlgorithm || sum.Type != types.ChecksumTypeFullObject {
		return out, false
	}
	etag, err := attributes.RetrieveAttribute(nil, bucket, key, "etag")
	if err != nil {
		return out, false
	}
	err = backend.MkdirAll(filepath.Dir(to), 0, 0, false, 0o755)
	if err == nil {
		err = attributes.StoreAttribute(nil, bucket, key, "content-type", []byte(deref(in.ContentType)))
	}
	if err == nil {
		err = os.Link(from, to) // fails if the target exists
	}
	if err != nil {
		return out, false
	}
	info, err := os.Stat(to)
	if err != nil {
		return out, false
	}
	tag, empty := string(etag), ""
	out.CopyObjectResult = &s3response.CopyObjectResult{
		ETag: &tag, LastModified: backend.GetTimePtr(info.ModTime()),
		ChecksumSHA256: sum.SHA256, ChecksumType: sum.Type,
	}
	out.VersionId, out.CopySourceVersionId = &empty, &version
	return out, true
}

// retypes reports whether a copy replaces the type and asks for a SHA-256, and neither sets nor asks anything more.
func retypes(in s3response.CopyObjectInput) bool {
	for _, s := range []*string{
		in.CacheControl, in.ContentDisposition, in.ContentEncoding, in.ContentLanguage, in.Expires, in.Tagging,
		in.WebsiteRedirectLocation, in.CopySourceIfMatch, in.CopySourceIfNoneMatch, in.ExpectedSourceBucketOwner,
	} {
		if deref(s) != "" {
			return false
		}
	}
	return in.MetadataDirective == types.MetadataDirectiveReplace && len(in.Metadata) == 0 &&
		in.ChecksumAlgorithm == types.ChecksumAlgorithmSha256 && deref(in.ContentType) != "" &&
		in.CopySourceIfModifiedSince == nil && in.CopySourceIfUnmodifiedSince == nil &&
		in.ObjectLockMode == "" && in.ObjectLockLegalHoldStatus == ""
}

// plainChecksum returns the checksum of an object of which no more is known than of every object, and no other type.
func plainChecksum(attributes meta.XattrMeta, bucket, key, mediaType string) (sum s3response.Checksum, err error) {
	names, err := attributes.ListAttributes(bucket, key)
	if err != nil {
		return sum, err
	}
	for _, name := range names {
		if !slices.Contains([]string{"checksums", "etag", "content-type"}, name) {
			return sum, errors.New("the object has been described")
		}
	}
	if slices.Contains(names, "content-type") {
		has, err := attributes.RetrieveAttribute(nil, bucket, key, "content-type")
		if err != nil {
			return sum, err
		}
		if !slices.Contains([]string{"application/octet-stream", "binary/octet-stream", mediaType}, string(has)) {
			return sum, errors.New("the object has a type")
		}
	}
	b, err := attributes.RetrieveAttribute(nil, bucket, key, "checksums")
	if err != nil {
		return sum, err
	}
	err = json.Unmarshal(b, &sum)
	return sum, err
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
