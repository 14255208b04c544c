package blob_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"

	"golang.org/x/sync/errgroup"
	"pgregory.net/rapid"

	"darkroom/internal/blob"
)

func TestPromote(t *testing.T) {
	s := bucket(t)
	for name, size := range map[string]int64{"one request": 100_000, "parts": -1} {
		data := noise(2*part + 10)
		if size > 0 {
			data = data[:size]
		}
		from, to := "in/"+name, "t/"+name
		if err := s.PutStream(t.Context(), from, stream{bytes.NewReader(data)}, size); err != nil {
			t.Fatal(err)
		}
		for range 2 { // a repetition changes nothing
			if err := s.Promote(t.Context(), from, to, sha256.Sum256(data), "image/jpeg"); err != nil {
				t.Fatal(err)
			}
		}
		put(t, s, from, []byte("the source is another object"))
		if err := s.Delete(t.Context(), from); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(read(t, s, to), data) {
			t.Errorf("%s: other bytes came back", name)
		}
		o, err := s.Open(t.Context(), to, "bytes=0-0")
		if err != nil || o.ContentType != "image/jpeg" || o.ETag == "" {
			t.Errorf("%s: %+v, %v", name, o, err)
		}
		o.Body.Close()
		// What is there already needs no source any more.
		if err := s.Promote(t.Context(), from, to, sha256.Sum256(data), "image/jpeg"); err != nil {
			t.Error(err)
		}
	}
}

func TestPromoteOfNothing(t *testing.T) {
	s := bucket(t)
	err := s.Promote(t.Context(), "in/none", "t/none", sha256.Sum256(nil), "image/png")
	if !errors.Is(err, blob.ErrNotFound) || blob.Unavailable(err) {
		t.Error(err)
	}
}

func TestPromoteOfOtherBytesLeavesNoTarget(t *testing.T) {
	s := bucket(t)
	put(t, s, "in/1", []byte("damaged"))
	err := s.Promote(t.Context(), "in/1", "t/1", sha256.Sum256([]byte("whole")), "image/png")
	if !errors.Is(err, blob.ErrChecksum) || blob.Unavailable(err) {
		t.Error(err)
	}
	if got := keys(t, s, ""); len(got) != 1 || got[0] != "in/1" {
		t.Errorf("left: %v", got)
	}
}

func TestPromoteReplacesATargetOfOtherBytes(t *testing.T) {
	s := bucket(t)
	put(t, s, "t/1", []byte("damaged"))
	put(t, s, "in/1", []byte("whole"))
	if err := s.Promote(t.Context(), "in/1", "t/1", sha256.Sum256([]byte("whole")), "image/png"); err != nil {
		t.Fatal(err)
	}
	if got := read(t, s, "t/1"); string(got) != "whole" {
		t.Errorf("%q", got)
	}
}

func TestPromoteByManyAtOnce(t *testing.T) {
	s := bucket(t)
	data := noise(50_000)
	var group errgroup.Group
	for i := range 16 {
		group.Go(func() error {
			from := fmt.Sprint("in/", i)
			return errors.Join(
				s.PutStream(t.Context(), from, bytes.NewReader(data), int64(len(data))),
				s.Promote(t.Context(), from, "t/same", sha256.Sum256(data), "image/gif"),
				s.Delete(t.Context(), from))
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if got := keys(t, s, ""); len(got) != 1 || !bytes.Equal(read(t, s, "t/same"), data) {
		t.Errorf("left: %v", got)
	}
}

// Any key can be promoted, whatever has to be escaped on the way.
func TestPromoteAnyKey(t *testing.T) {
	s := bucket(t)
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.StringMatching(`[a-z +%?&=#;:,'"~!*()\[\]é語_-]{0,20}[a-z0-9]/[a-z +%é]{0,20}[a-z]`).Draw(t, "key")
		ctx, data := context.Background(), []byte(key)
		if _, err := s.Put(ctx, "in/"+key, data, blob.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := s.Promote(ctx, "in/"+key, "to/"+key, sha256.Sum256(data), "text/plain"); err != nil {
			t.Fatal(err)
		}
		got, _, err := s.Get(ctx, "to/"+key)
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%q, %v", got, err)
		}
	})
}
