package goengine

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/png"
	"io"

	"darkroom/internal/pixels"
)

const pngSignature = "\x89PNG\r\n\x1a\n"

// pngChunk is a chunk of a PNG.
type pngChunk struct {
	kind string
	body []byte
	all  []byte // with length, kind and checksum
}

// pngChunks returns the chunks up to the end of the file, or to where it breaks off.
func pngChunks(data []byte) []pngChunk {
	var chunks []pngChunk
	for at := len(pngSignature); at+12 <= len(data); {
		n := int64(binary.BigEndian.Uint32(data[at:]))
		end := int64(at) + 12 + n
		if end > int64(len(data)) {
			break
		}
		chunks = append(chunks, pngChunk{string(data[at+4 : at+8]), data[at+8 : end-4], data[at:end]})
		at = int(end)
	}
	return chunks
}

func appendPNGChunk(b []byte, kind string, body []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
	from := len(b)
	b = append(append(b, kind...), body...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[from:]))
}

func decodePNG(data []byte, facts pixels.Facts, all bool) (*animation, error) {
	chunks := pngChunks(data)
	profile := pngProfile(chunks)
	if !all || facts.Frames < 2 {
		m, err := png.Decode(bytes.NewReader(data))
		if err != nil {
			return nil, err
		}
		f, err := fromImage(m, facts)
		if err == nil {
			f.profile = profile
			f.onlyGrey(data)
		}
		return still(f, err)
	}
	a, err := decodeAPNG(chunks, facts)
	if err != nil {
		return nil, err
	}
	for _, f := range a.frames {
		f.profile = profile
		f.onlyGrey(data)
	}
	return a, nil
}

// onlyGrey leaves one plane to a PNG of grey with alpha, which the library gives in three: a profile of grey is for one.
func (f *frame) onlyGrey(data []byte) {
	const colourType, hasColour = len(pngSignature) + 8 + 9, 2
	if data[colourType]&hasColour == 0 {
		f.colour = f.colour[:1]
	}
}

// pngProfile returns the profile of a PNG, which counts for more than its chunk sRGB (W3C PNG, third edition, 4.3).
func pngProfile(chunks []pngChunk) *profile {
	for _, c := range chunks {
		if c.kind == "IDAT" {
			return nil
		}
		if c.kind != "iCCP" {
			continue
		}
		name := bytes.IndexByte(c.body, 0)
		if name < 0 || name+2 > len(c.body) {
			return nil
		}
		z, err := zlib.NewReader(bytes.NewReader(c.body[name+2:]))
		if err != nil {
			return nil
		}
		// A broken profile is as good as none.
		b, err := io.ReadAll(io.LimitReader(z, maxProfile))
		if err != nil {
			return nil
		}
		return parseProfile(b)
	}
	return nil
}

// apngFrame is a frame of an animated PNG: its place, its time and its data.
type apngFrame struct {
	place            image.Rectangle
	delay            int // milliseconds
	dispose, replace bool
	restore          bool
	data             []byte
}

// decodeAPNG composes the frames of an animation (W3C PNG, third edition, 11.3.6).
func decodeAPNG(chunks []pngChunk, facts pixels.Facts) (*animation, error) {
	frames, shared, header, loops := apngFrames(chunks)
	if int64(len(frames)) != facts.Frames {
		return nil, malformed("the PNG has %d frames, not %d", len(frames), facts.Frames)
	}
	c := newCanvas(image.Pt(int(facts.Width), int(facts.Height)))
	a := &animation{loops: loops}
	for i, fr := range frames {
		if fr.place.Empty() || !fr.place.In(c.image.Rect) {
			return nil, malformed("a frame of the PNG lies outside of it")
		}
		ihdr := bytes.Clone(header)
		binary.BigEndian.PutUint32(ihdr, uint32(fr.place.Dx()))
		binary.BigEndian.PutUint32(ihdr[4:], uint32(fr.place.Dy()))
		file := appendPNGChunk([]byte(pngSignature), "IHDR", ihdr)
		file = append(file, shared...)
		file = appendPNGChunk(file, "IDAT", fr.data)
		file = appendPNGChunk(file, "IEND", nil)
		m, err := png.Decode(bytes.NewReader(file))
		if err != nil {
			return nil, err
		}
		after := keep
		switch {
		case fr.dispose, fr.restore && i == 0:
			after = clearPlace
		case fr.restore:
			after = restore
		}
		a.frames = append(a.frames, c.show(toNRGBAImage(m), fr.place, !fr.replace, after))
		a.delays = append(a.delays, fr.delay)
	}
	return a, nil
}

// apngFrames returns the frames, the chunks that all need (palette, transparency), the header and the loops.
func apngFrames(chunks []pngChunk) (frames []apngFrame, shared, header []byte, loops int) {
	for _, c := range chunks {
		n := len(frames)
		switch {
		case c.kind == "IHDR" && len(c.body) == 13:
			header = c.body
		case c.kind == "PLTE" || c.kind == "tRNS":
			shared = append(shared, c.all...)
		case c.kind == "acTL" && len(c.body) == 8:
			loops = int(binary.BigEndian.Uint32(c.body[4:]) & 0xffff)
		case c.kind == "fcTL" && len(c.body) == 26:
			frames = append(frames, parseFCTL(c.body))
		case c.kind == "IDAT" && n == 1:
			frames[0].data = append(frames[0].data, c.body...)
		case c.kind == "fdAT" && n > 0 && len(c.body) > 4:
			frames[n-1].data = append(frames[n-1].data, c.body[4:]...)
		}
	}
	return frames, shared, header, loops
}

func parseFCTL(b []byte) apngFrame {
	be := binary.BigEndian
	w, h, x, y := be.Uint32(b[4:]), be.Uint32(b[8:]), be.Uint32(b[12:]), be.Uint32(b[16:])
	const most = 1 << 30 // so that sums do not overflow
	if w > most || h > most || x > most || y > most {
		return apngFrame{}
	}
	num, den := int(be.Uint16(b[20:])), int(be.Uint16(b[22:]))
	if den == 0 {
		den = 100
	}
	return apngFrame{
		place: image.Rect(int(x), int(y), int(x+w), int(y+h)), delay: num * 1000 / den,
		dispose: b[24] == 1, restore: b[24] == 2, replace: b[25] == 0,
	}
}

// pngLevels are the efforts of the standard library.
var pngLevels = map[pixels.Effort]png.CompressionLevel{pixels.Low: png.BestSpeed, pixels.High: png.BestCompression}

// encodePNG writes a PNG of 8 bits, of grey if the picture is.
func encodePNG(f *frame, effort pixels.Effort) ([]byte, error) {
	var m image.Image
	if len(f.colour) == 1 && f.alpha == nil {
		p := f.converted().colour[0]
		m = &image.Gray{Pix: p.pix, Stride: p.stride, Rect: image.Rect(0, 0, f.w, f.h)}
	} else {
		m = f.nrgba()
	}
	var b bytes.Buffer
	err := (&png.Encoder{CompressionLevel: pngLevels[effort], BufferPool: &pngBuffers}).Encode(&b, m)
	return b.Bytes(), err
}
