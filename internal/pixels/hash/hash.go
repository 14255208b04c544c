// Package hash tells images apart, and together: by their pixels, and by how they look.
package hash

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"image"
	"slices"

	"darkroom/internal/pixels"
)

// Hashes are those of one image: of its first frame, upright and in sRGB of 8 bits a channel.
type Hashes struct {
	Pixels Pixels
	Look   Look
	// Quality tells how much of a picture there is to see, from 0 (nothing) to 100. A Look of a quality below
	// MinQuality means little.
	Quality int
}

// MinQuality is the least quality with which looks should be matched.
const MinQuality = 50

// Of decodes an image, at full size, and returns its hashes. An *pixels.Error is about the image.
//
// Looks that two engines find are a few bits apart, since they resample differently. Pixels is the same for all engines
// where the format is lossless with 8 bits a channel and has no profile; decoders of a lossy one round differently, so
// there compare only what the same engine, in the same version, has found.
func Of(e pixels.Engine, data []byte, lim pixels.Limits) (Hashes, error) {
	pic, _, err := pixels.Open(e, data, lim)
	if err != nil {
		return Hashes{}, err
	}
	defer pic.Close()
	return ofPicture(pic)
}

func ofPicture(pic pixels.Picture) (h Hashes, err error) {
	full, err := pic.NRGBA()
	if err != nil {
		return h, err
	}
	h.Pixels = OfPixels(full)
	square := full
	if size := pic.Size(); size != image.Pt(lookSide, lookSide) {
		small, err := pic.Resize(image.Rectangle{Max: size}, image.Pt(lookSide, lookSide))
		if err != nil {
			return h, err
		}
		defer small.Close()
		if square, err = small.NRGBA(); err != nil {
			return h, err
		}
	}
	h.Look, h.Quality = OfLook(square)
	return h, nil
}

// Pixels is the same for the same pixels, whatever file they are in.
type Pixels [sha256.Size]byte

// String is in hexadecimal digits.
func (p Pixels) String() string { return hex.EncodeToString(p[:]) }

// MarshalText implements encoding.TextMarshaler.
func (p Pixels) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Pixels) UnmarshalText(text []byte) error { return unhex(p[:], text) }

func unhex(dst, text []byte) error {
	if len(text) != hex.EncodedLen(len(dst)) {
		return fmt.Errorf("a hash of %d digits: must have %d", len(text), hex.EncodedLen(len(dst)))
	}
	_, err := hex.Decode(dst, text)
	return err
}

// OfPixels returns the SHA-256 of the width and the height, in 4 bytes each, the highest first, and of the pixels, row by
// row, in 4 bytes each: red, green, blue, not multiplied by alpha, and alpha. A pixel of alpha 0 counts as four zeros,
// since nobody sees its colour and many programs change it.
func OfPixels(m *image.NRGBA) (p Pixels) {
	w, h := m.Rect.Dx(), m.Rect.Dy()
	sum := sha256.New()
	size := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, uint32(w)), uint32(h))
	sum.Write(size)
	var cleaned []byte
	for y := range h {
		row := m.Pix[y*m.Stride:][:4*w]
		if hasClear(row) {
			cleaned = append(cleaned[:0], row...)
			row = cleaned
			for px := range slices.Chunk(row, 4) {
				if px[3] == 0 {
					clear(px)
				}
			}
		}
		sum.Write(row)
	}
	sum.Sum(p[:0])
	return p
}

// hasClear tells whether a row has a pixel of alpha 0.
func hasClear(row []byte) bool {
	for i := 3; i < len(row); i += 4 {
		if row[i] == 0 {
			return true
		}
	}
	return false
}
