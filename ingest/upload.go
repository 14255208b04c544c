package ingest

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"darkroom/internal/event"
	"darkroom/internal/pixels"
)

// finishTimeout bounds what is done after the last byte of a body.
const finishTimeout = time.Minute

// upload is one upload.
type upload struct {
	tenant string
	key    string // the Idempotency-Key; empty if there is none
	image  *image
}

// outcome is what became of an upload that was not refused.
type outcome struct {
	record   record
	replayed bool // the image was there
}

// open finds the image in a request and checks what can be checked by the headers and the first bytes.
func (s *Service) open(r *http.Request, disposition string, body *bodyReader) (*image, error) {
	limit := s.cfg.MaxBytes
	im := &image{size: -1, limit: limit, hash: sha256.New(), end: func() error { return nil }, body: body}
	declared := r.Header.Get("Content-Type")
	mediaType, params, err := mime.ParseMediaType(declared)
	if mediaType == "multipart/form-data" {
		if err != nil || params["boundary"] == "" {
			return nil, refuse(kindMalformedMultipart, "The form's Content-Type names no boundary.")
		}
		if r.ContentLength > limit+2*maxAround {
			return nil, refuseTooLarge(limit)
		}
		f := newForm(body, params["boundary"])
		part, err := f.file(limit)
		if err != nil {
			return nil, err
		}
		im.r, im.end, im.label, declared = part, f.end, part.label, part.declared
		return im, im.sniff(declared)
	}
	switch {
	case r.ContentLength == 0:
		return nil, errEmpty()
	case r.ContentLength > limit:
		return nil, refuseTooLarge(limit)
	case r.Header.Get("Expect") != "" && !declaresImage(declared): // the client waits with the body
		return nil, refuse(kindTypeMismatch, "The declared type is %.100q, which is that of no image that we know.", declared)
	}
	im.r, im.size = body, r.ContentLength
	_, im.label, _ = dispositionOf(disposition)
	return im, im.sniff(declared)
}

func errEmpty() error { return refuse(kindEmptyBody, "The upload has no bytes.") }

// sniff tells the format by the first bytes and holds the declared type against it.
func (im *image) sniff(declared string) error {
	prefix, err := readPrefix(im.r)
	if err != nil {
		return err
	}
	if len(prefix) == 0 {
		return errEmpty()
	}
	format, ok := pixels.Sniff(prefix)
	if !ok {
		return refuse(kindNotAnImage, "The first bytes are of no image format that we know.")
	}
	if !declaredIs(declared, format) {
		return refuse(kindTypeMismatch, "The declared type is %.100q, but the bytes are %s.", declared, format.MediaType())
	}
	im.format = format
	im.r = io.MultiReader(bytes.NewReader(prefix), im.r)
	return nil
}

// declaredIs reports whether a Content-Type may stand before an image of the format.
func declaredIs(declared string, format pixels.Format) bool {
	f, ok := pixels.FormatOfMediaType(declared)
	return ok && f == format || declaresNothing(declared)
}

// declaresImage reports whether a Content-Type may stand before an image of any format.
func declaresImage(declared string) bool {
	_, ok := pixels.FormatOfMediaType(declared)
	return ok || declaresNothing(declared)
}

// declaresNothing reports whether a Content-Type leaves open what follows: none at all does, and so does what
// curl --data-binary sends unasked.
func declaresNothing(declared string) bool {
	base, _, _ := strings.Cut(declared, ";")
	switch strings.ToLower(strings.TrimSpace(base)) {
	case "", "application/octet-stream", "binary/octet-stream", "application/x-www-form-urlencoded":
		return true
	}
	return false
}

// store stores an upload, durably, or finds that it is a repeat.
func (s *Service) store(ctx context.Context, u upload) (outcome, error) {
	if u.key == "" {
		return s.take(ctx, u, "", version{})
	}
	id := imageID(u.tenant, byKey, u.key)
	v, err := s.read(ctx, id)
	if err != nil {
		return outcome{}, err
	}
	if v.stored() {
		return compare(u, v.record)
	}
	lease, err := s.acquire(ctx, id)
	if err != nil {
		return outcome{}, err
	}
	o, err := s.leased(ctx, u, id)
	s.release(ctx, lease)
	return o, err
}

// leased stores an upload whose key nobody else can use. The record is read again: another upload may have ended
// between the first look and the lease, and its bytes alone belong to the key.
func (s *Service) leased(ctx context.Context, u upload, id string) (outcome, error) {
	v, err := s.read(ctx, id)
	if err != nil {
		return outcome{}, err
	}
	if v.stored() {
		return compare(u, v.record)
	}
	return s.take(ctx, u, id, v)
}

// release removes a lease before the answer, so that the client may use the key again at once.
func (s *Service) release(ctx context.Context, h *held) {
	keys := h.end()
	if len(keys) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if s.blobs.Delete(ctx, keys...) != nil {
		s.tidy.remove(keys, nil)
	}
}

// compare reads an upload whose key was used before, to tell whether it is the same.
func compare(u upload, r record) (outcome, error) {
	if err := move(io.Discard, u.image); err != nil {
		return outcome{}, err
	}
	sha, _, _ := u.image.sum()
	return repeat(r, hex.EncodeToString(sha[:]))
}

// repeat is the outcome of an upload of an image that is there.
func repeat(r record, sha string) (outcome, error) {
	if r.Image.SHA256 != sha {
		return outcome{}, refuse(kindKeyReused,
			"An upload with this Idempotency-Key had other bytes: their SHA-256 is %s.", r.Image.SHA256)
	}
	return outcome{record: r, replayed: true}, nil
}

// take streams an upload to S3 and makes an image of it. Without an id the bytes give it.
func (s *Service) take(ctx context.Context, u upload, id string, v version) (outcome, error) {
	incoming := prefixIncoming + rand.Text()
	if err := s.stream(ctx, incoming, u.image); err != nil {
		var refused *refusal
		if !errors.As(err, &refused) { // S3 may have it all the same
			s.tidy.remove([]string{incoming}, nil)
		}
		return outcome{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, finishTimeout)
	defer cancel()
	sha, n, _ := u.image.sum()
	hash := hex.EncodeToString(sha[:])
	if id == "" {
		id = imageID(u.tenant, byContent, hash) // most have no record: the put finds the one that is there
	}
	return s.finish(ctx, event.Image{
		ImageID: id, Tenant: u.tenant, SHA256: hash, Bytes: n,
		MediaType: u.image.format.MediaType(), Filename: u.image.label,
	}, incoming, v)
}

// stream sends an image to S3 while it arrives. After an error of the body nothing is there.
func (s *Service) stream(ctx context.Context, key string, im *image) error {
	// S3 that hangs in mid-body would hold the request for ever: while bytes move, the clock is set back.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watch := time.AfterFunc(2*s.cfg.StallAfter, cancel)
	defer watch.Stop()
	im.body.alive = func() { watch.Reset(2 * s.cfg.StallAfter) }
	a := readAhead(im)
	err := s.blobs.PutStream(ctx, key, a, im.size)
	a.close()
	if err != nil {
		return fmt.Errorf("stream upload: %w", err)
	}
	a.recycle()
	if _, _, ended := im.sum(); !ended {
		return errors.New("stream upload: S3 took it before its end")
	}
	return nil
}

// finish makes an image of complete bytes. v is the image's record as last read.
func (s *Service) finish(ctx context.Context, img event.Image, incoming string, v version) (outcome, error) {
	for range maxAttempts {
		if v.exists() && (v.stored() || v.Image.SHA256 != img.SHA256) {
			s.tidy.remove([]string{incoming}, nil)
			return repeat(v.record, img.SHA256)
		}
		img.UploadedAt = v.next(time.Now())
		e := entry{Event: event.NewUploaded(img), Incoming: incoming}
		now, is, err := s.perform(ctx, e, v)
		if err != nil {
			return outcome{}, err
		}
		if is == happened {
			return outcome{record: now.record}, nil
		}
		v = now
	}
	return outcome{}, fmt.Errorf("upload image %s: others won %d times", img.ImageID, maxAttempts)
}
