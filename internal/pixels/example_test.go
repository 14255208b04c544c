package pixels_test

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"

	"darkroom/internal/pixels"
)

// One pass over a file gives its facts and its hash.
func ExampleProbe() {
	file, err := os.Open("../../testdata/photos/friends.jpg")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = file.Close() }()

	sum := sha256.New()
	facts, err := pixels.Probe(io.TeeReader(file, sum), pixels.DefaultLimits)
	if err != nil {
		fmt.Println(pixels.CodeOf(err), err)
		return
	}
	fmt.Printf("%s, %d×%d, orientation %d\n", facts.Format.MediaType(), facts.Width, facts.Height, facts.Orientation)
	fmt.Println(facts.Camera, facts.TakenAt)
	fmt.Printf("%x…\n", sum.Sum(nil)[:4])
	// Output:
	// image/jpeg, 1024×682, orientation 6
	// Canon EOS 5D 2018-07-14T18:21:05
	// a38c729f…
}
