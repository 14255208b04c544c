package blob

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// Promote copies an object, within S3, to a key that its content names. S3 computes the copy's SHA-256; unless it is
// sha256 the copy is removed and the error is ErrChecksum. A target that is there with this checksum already is
// success, and is left as it is, so that Promote may be repeated and may race with itself; one that is there with
// another is replaced. The object at from stays: the caller deletes it. ErrNotFound when there is neither it nor the
// target. The object may have at most 5 GiB (S3's bound for a copy).
func (s *Store) Promote(ctx context.Context, from, to string, sha256 [32]byte, contentType string) error {
	want := base64.StdEncoding.EncodeToString(sha256[:])
	// Most targets are new. A server that does not heed the condition puts the same bytes once more.
	err := s.copy(ctx, from, to, want, contentType, aws.String("*"))
	if !isRefused(err) && !isMissing(err) {
		return err
	}
	have, headErr := s.checksum(ctx, to)
	switch {
	case headErr == nil && have == want:
		return nil
	case headErr != nil && !errors.Is(headErr, ErrNotFound):
		return headErr
	case isMissing(err):
		return fmt.Errorf("promote %s: %w", from, ErrNotFound)
	}
	err = s.copy(ctx, from, to, want, contentType, nil)
	if isMissing(err) {
		return fmt.Errorf("promote %s: %w", from, ErrNotFound)
	}
	return err
}

// copy copies an object and checks the copy's SHA-256, in base64.
func (s *Store) copy(ctx context.Context, from, to, want, contentType string, ifNoneMatch *string) error {
	out, err := s.client.CopyObject(ctx, &s3.CopyObjectInput{
		Bucket: &s.bucket, Key: &to, CopySource: aws.String(copySource(s.bucket, from)),
		ChecksumAlgorithm: types.ChecksumAlgorithmSha256,
		MetadataDirective: types.MetadataDirectiveReplace, ContentType: text(contentType),
		IfNoneMatch: ifNoneMatch,
	})
	if err != nil {
		return fail("promote "+from, err)
	}
	if got := aws.ToString(out.CopyObjectResult.ChecksumSHA256); got != want {
		return errors.Join(
			fmt.Errorf("promote %s: %w: S3 has SHA-256 %q, not %q", from, ErrChecksum, got, want),
			s.deleteExactly(ctx, to, aws.ToString(out.CopyObjectResult.ETag)))
	}
	return nil
}

// checksum returns the SHA-256 that S3 keeps for an object, in base64, or "" when it keeps none.
func (s *Store) checksum(ctx context.Context, key string) (string, error) {
	in := &s3.HeadObjectInput{Bucket: &s.bucket, Key: &key, ChecksumMode: types.ChecksumModeEnabled}
	out, err := s.head(ctx, in)
	if isMissing(err) {
		return "", fmt.Errorf("stat %s: %w", key, ErrNotFound)
	}
	if err != nil {
		return "", fail("stat "+key, err)
	}
	return aws.ToString(out.ChecksumSHA256), nil
}

// deleteExactly removes an object unless somebody has replaced it.
func (s *Store) deleteExactly(ctx context.Context, key, etag string) error {
	in := &s3.DeleteObjectInput{Bucket: &s.bucket, Key: &key, IfMatch: text(etag)}
	_, err := s.client.DeleteObject(ctx, in)
	if err != nil && !isMissing(err) && !isRefused(err) {
		return fail("delete "+key, err)
	}
	return nil
}

// copySource writes a key as the header x-amz-copy-source wants it: escaped, but for its slashes. A plus sign and a
// space are escaped too, since servers differ in what they take a bare plus for.
func copySource(bucket, key string) string {
	return strings.NewReplacer("+", "%20", "%2F", "/").Replace(url.QueryEscape(bucket + "/" + key))
}
