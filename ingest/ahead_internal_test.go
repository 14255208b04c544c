package ingest

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// pieced yields its bytes in pieces of any size, and then its error.
type pieced struct {
	data  []byte
	sizes []int
	err   error
}

func (p *pieced) Read(b []byte) (int, error) {
	if len(p.data) == 0 {
		return 0, p.err
	}
	n := min(len(p.data), p.sizes[0], len(b))
	p.sizes = append(p.sizes[1:], p.sizes[0])
	n = copy(b, p.data[:n])
	p.data = p.data[n:]
	if len(p.data) == 0 && p.sizes[0]%2 == 0 {
		return n, p.err // with the last bytes, or after them
	}
	return n, nil
}

func testUpload(r io.Reader) *image {
	body := &bodyReader{conn: http.NewResponseController(httptest.NewRecorder()), alive: func() {}}
	return &image{r: r, limit: 1 << 40, hash: sha256.New(), end: func() error { return nil }, body: body}
}

// TestAheadIsTheImage takes an image by reads of any size, some of it or all.
func TestAheadIsTheImage(t *testing.T) {
	cut := errors.New("cut")
	size := rapid.SampledFrom([]int{1, 2, 511, 512, 4096, 64 << 10, pieceSize, pieceSize + 1, 3 * pieceSize})
	rapid.Check(t, func(t *rapid.T) {
		data := make([]byte, rapid.SampledFrom([]int{
			0, 1, 1000, pieceSize - 1, pieceSize, pieceSize + 1, maxPieces * pieceSize, 2*maxPieces*pieceSize + 7,
		}).Draw(t, "size"))
		_, _ = rand.NewChaCha8([32]byte{}).Read(data)
		ends := rapid.SampledFrom([]error{io.EOF, cut}).Draw(t, "end")
		sizes := rapid.SliceOfN(size, 1, 4).Draw(t, "pieces")
		if len(data) > 100_000 {
			sizes = append(sizes, pieceSize, 100_001) // or it takes for ever
		}
		im := testUpload(&pieced{data, sizes, ends})
		a := readAhead(im)
		got, err := io.ReadAll(&limited{a, size.Draw(t, "read")})
		if want := ends; want == io.EOF && err != nil || want != io.EOF && !errors.Is(err, want) || !bytes.Equal(got, data) {
			t.Fatalf("%d bytes of %d, %v", len(got), len(data), err)
		}
		if n, err := a.Read(make([]byte, 1)); n != 0 || !errors.Is(err, ends) {
			t.Fatalf("after its end: %d bytes, %v", n, err)
		}
		a.close()
		if im.body.givenUp {
			t.Fatal("the connection of an image that ended was given up")
		}
		if _, n, _ := im.sum(); a.SHA256() != sha256.Sum256(data) || n != int64(len(data)) {
			t.Fatalf("hashed %d bytes of %d, or others", n, len(data))
		}
		a.recycle()
	})
}

type limited struct {
	r io.Reader
	n int
}

func (l *limited) Read(p []byte) (int, error) { return l.r.Read(p[:min(len(p), l.n)]) }

// TestAheadCanBeLeft closes it while it reads, and while nobody takes what it has read.
func TestAheadCanBeLeft(t *testing.T) {
	for _, taken := range []int64{0, 100, 5 * pieceSize} {
		im := testUpload(&pieced{make([]byte, 100*pieceSize), []int{pieceSize}, io.EOF})
		a := readAhead(im)
		if _, err := io.CopyN(io.Discard, a, taken); err != nil {
			t.Fatal(err)
		}
		a.close()
		if _, err := io.Copy(io.Discard, a); !errors.Is(err, errOver) {
			t.Errorf("after %d bytes: %v", taken, err)
		}
		if _, n, ended := im.sum(); ended || n > taken+(maxPieces+1)*pieceSize {
			t.Errorf("it has read %d bytes for %d", n, taken)
		}
		if !im.body.givenUp {
			t.Error("the connection was not given up, and has bytes of the image still")
		}
	}
}

// TestAheadEndsAReadThatWaits closes it while the client sends nothing.
func TestAheadEndsAReadThatWaits(t *testing.T) {
	begun, ended := make(chan struct{}), make(chan struct{})
	ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		im := testUpload(nil)
		im.body.r, im.body.conn, im.body.stall = r.Body, http.NewResponseController(w), time.Hour
		im.r = im.body
		a := readAhead(im)
		if _, err := io.CopyN(io.Discard, a, 0); err != nil {
			t.Error(err)
		}
		close(begun)
		time.Sleep(50 * time.Millisecond) // it is reading, most likely; else the close comes first, which must do, too
		a.close()
		close(ended)
	}))
	defer ts.Close()
	silent, end := io.Pipe()
	defer end.Close()
	go func() {
		if res, err := http.Post(ts.URL, "image/jpeg", silent); err == nil {
			res.Body.Close()
		}
	}()
	<-begun
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Error("it waits for the client")
		end.Close()
	}
}

// slow yields a kilobyte each second.
type slow int

func (s *slow) Read(p []byte) (int, error) {
	if *s == 0 {
		return 0, io.EOF
	}
	*s--
	time.Sleep(time.Second)
	return copy(p, make([]byte, 1000)), nil
}

// TestAheadHandsOnWhatASlowClientSends has S3 wait no longer for its next bytes than the client takes to send them.
func TestAheadHandsOnWhatASlowClientSends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kilobytes := slow(60)
		a := readAhead(testUpload(&kilobytes))
		defer a.close()
		for last, b := time.Now(), make([]byte, 4000); ; last = time.Now() {
			n, err := a.Read(b)
			if waited := time.Since(last); waited > 2*time.Second {
				t.Fatalf("%d bytes after %v", n, waited)
			}
			if err != nil {
				break
			}
		}
	})
}

// deadlines is a connection that keeps the read deadline it was last given.
type deadlines struct {
	http.ResponseWriter
	was time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.was = t
	return nil
}

// TestGivingUpIsFinal has a read set its deadline while the connection is given up. Were the read's to stay, who gives
// up would wait as long as for a client that stalls.
func TestGivingUpIsFinal(t *testing.T) {
	for range 10_000 {
		conn := &deadlines{ResponseWriter: httptest.NewRecorder()}
		b := &bodyReader{conn: http.NewResponseController(conn)}
		var wg sync.WaitGroup
		wg.Go(func() {
			for range 5 {
				b.deadline(time.Now().Add(time.Hour))
			}
		})
		wg.Go(b.giveUp)
		wg.Wait()
		if conn.was.After(time.Now()) {
			t.Fatal("a read that began at the time waits on")
		}
	}
}

// TestAheadOfASlowClientHoldsLittle has a client slower than who takes what it sends.
func TestAheadOfASlowClientHoldsLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kilobytes := slow(60)
		a := readAhead(testUpload(&kilobytes))
		if _, err := io.Copy(io.Discard, a); err != nil {
			t.Fatal(err)
		}
		a.close()
		if n := len(a.free); n > 2 {
			t.Errorf("it holds %d pieces, of which two were in use at once", n)
		}
	})
}
