package ingest

import (
	"context"
	"errors"
	"fmt"

	"darkroom/internal/blob"
	"darkroom/internal/event"
)

// maxAttempts bounds how often a conditional put is tried again after another won. Each loss means that somebody else
// came further, so more than a few can only be a fault.
const maxAttempts = 8

const jsonType = "application/json"

// version is a record as it was read: only who holds the newest may write the next.
type version struct {
	record
	etag string // empty if there is no record
}

// read returns an image's record; the zero record if there is none.
func (s *Service) read(ctx context.Context, id string) (version, error) {
	data, etag, err := s.blobs.Get(ctx, prefixRecords+id)
	if errors.Is(err, blob.ErrNotFound) {
		return version{}, nil
	}
	if err != nil {
		return version{}, fmt.Errorf("read record of %s: %w", id, err)
	}
	r, err := decodeRecord(id, data)
	return version{r, etag}, err
}

// settle makes the event happen, unless it has or another came first. v is the record as last read. It returns the
// record as it then is; with happened, whoever made it so, the event is in it for good.
func (s *Service) settle(ctx context.Context, e event.Event, v version) (version, verdict, error) {
	id := e.Image.ImageID
	var failed error
	for range maxAttempts {
		next, is := v.take(e)
		if is != happens {
			return v, is, nil
		}
		etag, err := s.write(ctx, id, next, v.etag)
		if err == nil {
			return version{next, etag}, happened, nil
		}
		if !errors.Is(err, blob.ErrExists) && !errors.Is(err, blob.ErrChanged) {
			if failed != nil {
				return v, happens, failed
			}
			failed = err // S3 may have done it all the same: the record tells
		}
		if v, err = s.read(ctx, id); err != nil {
			return v, happens, errors.Join(failed, err)
		}
	}
	return v, happens, fmt.Errorf("write record of %s: others won %d times", id, maxAttempts)
}

// write puts a record in the place of the one with this etag.
func (s *Service) write(ctx context.Context, id string, r record, etag string) (string, error) {
	data, err := r.encode()
	if err != nil {
		return "", err
	}
	o := blob.PutOptions{IfAbsent: etag == "", IfMatch: etag, ContentType: jsonType}
	etag, err = s.blobs.Put(ctx, prefixRecords+id, data, o)
	if err != nil {
		return "", fmt.Errorf("write record of %s: %w", id, err)
	}
	return etag, nil
}

// commit makes an event durable: first its entry in the journal, then the image's bytes in their place, then the
// record. After an error it may be durable or not; the entry, if it is there, says how to go on. An event that was
// superseded leaves its entry, which the caller removes.
func (s *Service) commit(ctx context.Context, e entry, v version) (version, verdict, error) {
	data, err := e.encode()
	if err != nil {
		return v, happens, err
	}
	if _, err := s.blobs.Put(ctx, e.key(), data, blob.PutOptions{ContentType: jsonType}); err != nil {
		return v, happens, fmt.Errorf("%w: %w", errNotJournaled, err)
	}
	if err := s.promote(ctx, e); err != nil {
		return v, happens, err
	}
	return s.settle(ctx, e.Event, v)
}

// errNotJournaled says that the journal's entry could not be put, so that nobody else will finish the event. The caller
// removes the bytes.
var errNotJournaled = errors.New("put journal entry")

// promote copies an upload's bytes to their place, unless they are there.
func (s *Service) promote(ctx context.Context, e entry) error {
	if e.Incoming == "" {
		return nil
	}
	img := e.Event.Image
	sha, err := parseSHA(img.SHA256)
	if err != nil {
		return err
	}
	return s.blobs.Promote(ctx, e.Incoming, img.BlobKey(), sha, img.MediaType)
}
