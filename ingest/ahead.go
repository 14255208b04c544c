package ingest

import (
	"crypto/sha256"
	"errors"
	"sync"
	"time"
)

const (
	// pieceSize is how many bytes of an image are handed on at once. Less costs more in handing on than the last piece,
	// which is stored when all is hashed, costs in waiting.
	pieceSize = 512 << 10
	// maxPieces is how many pieces there may be of an image: what arrives while S3 takes up a request, and then some.
	maxPieces = 4
	// pieceTime is how long a piece waits to be full: S3 servers end requests whose bytes do not come.
	pieceTime = 100 * time.Millisecond
)

var pieces = sync.Pool{New: func() any { return new([pieceSize]byte) }}

// ahead reads an image ahead of who takes it, so that it arrives and is hashed while what came before is stored.
type ahead struct {
	image *image
	free  chan []byte // what may be filled again
	full  chan piece
	stop  chan struct{}
	ended chan struct{} // closed when the image is read no more

	// Of who takes it.
	now  piece
	rest []byte // of now's data
}

// piece is some bytes, and what ended them.
type piece struct {
	data []byte
	err  error
}

// readAhead begins to read an image, which nobody else may until close returns.
func readAhead(im *image) *ahead {
	a := &ahead{
		image: im, free: make(chan []byte, maxPieces), full: make(chan piece, maxPieces),
		stop: make(chan struct{}), ended: make(chan struct{}),
	}
	go a.run()
	return a
}

func (a *ahead) run() {
	defer close(a.full)
	for made := 0; ; {
		if made < maxPieces && len(a.free) == 0 { // a slow client needs few
			made++
			a.free <- pieces.Get().(*[pieceSize]byte)[:]
		}
		select {
		case <-a.stop:
			close(a.ended)
			return
		case b := <-a.free:
			n, err := a.fill(b)
			if err != nil {
				close(a.ended) // before who takes the last piece calls close
			}
			a.full <- piece{b[:n], err}
			if err != nil {
				return
			}
		}
	}
}

// fill reads a piece: all that b takes, or what comes soon.
func (a *ahead) fill(b []byte) (n int, err error) {
	for begun := time.Now(); n < len(b) && err == nil && (n == 0 || time.Since(begun) < pieceTime); {
		var k int
		k, err = a.image.Read(b[n:])
		n += k
	}
	return n, err
}

// Read implements io.Reader.
func (a *ahead) Read(p []byte) (int, error) {
	for len(a.rest) == 0 {
		if a.now.data != nil {
			a.free <- a.now.data[:pieceSize]
			a.now.data = nil
		}
		if a.now.err != nil {
			return 0, a.now.err
		}
		next, ok := <-a.full
		if !ok {
			next.err = errOver
		}
		a.now, a.rest = next, next.data
	}
	n := copy(p, a.rest)
	a.rest = a.rest[n:]
	return n, nil
}

// errOver ends what is still read when the upload is over.
var errOver = errors.New("the upload is over")

// SHA256 implements blob.Hashed.
func (a *ahead) SHA256() [sha256.Size]byte {
	sum, _, _ := a.image.sum()
	return sum
}

// close ends the reading. If the image has not ended it gives up its client's connection.
func (a *ahead) close() {
	close(a.stop)
	select {
	case <-a.ended:
	default:
		a.image.body.giveUp()
		<-a.ended
	}
}

// recycle keeps the memory for other images, once all of this one was taken. Before, S3's client may be at it.
func (a *ahead) recycle() {
	for range len(a.free) {
		pieces.Put((*[pieceSize]byte)(<-a.free))
	}
}
