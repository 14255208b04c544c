package pool

import (
	"encoding/binary"
	"encoding/json"
	"os"
	"testing"

	"darkroom/internal/pixels"
	"darkroom/internal/pixels/hash"
)

// message is one as it is on the wire.
func message(t testing.TB, m any) []byte {
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)
}

// wire returns a conn from which b can be read, and then the end.
func wire(t testing.TB, b []byte) *conn {
	ours, theirs, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ours.Close() }) // read only
	go func() {
		_, _ = theirs.Write(b) // the reader may have gone
		_ = theirs.Close()
	}()
	return ours
}

// FuzzAnswer has a child answer with anything, while the file for results holds anything: what the parent takes is no more
// than what there is, and of what was asked for.
func FuzzAnswer(f *testing.F) {
	f.Add(message(f, answer{ID: 1, Made: []made{{pixels.Derivative{Format: pixels.JPEG, Width: 1, Height: 1, Frames: 1}, 4}}}), []byte("data"), false)
	f.Add(message(f, answer{ID: 1, Made: []made{{pixels.Derivative{Format: pixels.JPEG, Width: 1, Height: 1, Frames: 1}, 1 << 62}}}), []byte("data"), false)
	f.Add(message(f, answer{ID: 1, Code: "x", Message: "y"}), []byte{}, false)
	f.Add(message(f, answer{ID: 1, Hashes: &hash.Hashes{Quality: 100}}), []byte{}, true)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, '{'}, []byte{}, true)
	f.Fuzz(func(t *testing.T, b, results []byte, hashes bool) {
		c := &child{cfg: Config{MaxOutput: 1 << 16}}
		var a answer
		if wire(t, b).receive(&a) != nil {
			return
		}
		var err error
		if c.results, err = memoryFile(); err != nil {
			t.Fatal(err)
		}
		defer c.results.Close()
		if _, err := c.results.Write(results); err != nil {
			t.Fatal(err)
		}
		r := request{ID: 1, Hash: hashes}
		if !hashes {
			r.Outputs = []pixels.Output{{Width: 1, Format: pixels.JPEG}}
		}
		if a.Message != "" {
			if got := c.refusal(a); got.Error() == "" {
				t.Error("a refusal says nothing")
			}
			return
		}
		got, err := c.read(a, r)
		switch {
		case err != nil:
		case hashes != (got.made == nil), len(got.made) != len(r.Outputs), hashes && (got.hashes.Quality < 0 || got.hashes.Quality > 100):
			t.Errorf("%+v was not asked for", got)
		case !hashes && (len(got.made[0].Data) > len(results) || len(got.made[0].Data) < 1 || got.made[0].Width < 1):
			t.Errorf("%d bytes of %d", len(got.made[0].Data), len(results))
		}
	})
}

// FuzzRequest sends a child anything, with a file: it gives an image of the length that it says, or an error.
func FuzzRequest(f *testing.F) {
	f.Add(message(f, request{ID: 1, Size: 5, Outputs: []pixels.Output{{Width: 1, Format: pixels.JPEG}}}), []byte("image"))
	f.Add(message(f, request{ID: 1, Size: 5, Shared: true, Hash: true}), []byte("image and more"))
	f.Add(message(f, request{ID: 1, Size: -1, Shared: true}), []byte("image"))
	f.Add(message(f, request{ID: 1, Size: 1 << 40}), []byte("image"))
	f.Fuzz(func(t *testing.T, b, image []byte) {
		if len(b) == 0 {
			return
		}
		ours, theirs, err := socketPair()
		if err != nil {
			t.Fatal(err)
		}
		defer ours.Close()
		file, err := memoryFile()
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if _, err := file.Write(image); err != nil {
			t.Fatal(err)
		}
		sendWith(t, theirs, b, file)
		s := server{setup: setup{MaxOutput: 1 << 20}, conn: ours}
		var r request
		got, err := ours.receiveFile(&r)
		if err != nil {
			return
		}
		data, err := s.source(got, r)
		if err == nil && int64(len(data)) != r.Size {
			t.Errorf("%d bytes, not %d", len(data), r.Size)
		}
		if err == nil && int(r.Size) <= len(image) && string(data) != string(image[:r.Size]) {
			t.Error("it is another image")
		}
	})
}

// sendWith writes raw bytes, with a descriptor, and the end.
func sendWith(t *testing.T, to *os.File, b []byte, file *os.File) {
	t.Helper()
	raw, err := to.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	c := conn{to, raw}
	go func() {
		defer to.Close()
		_ = c.sendRaw(b, file) // the reader may have gone
	}()
}
