package goengine

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"image"
	_ "unsafe" // for go:linkname

	"github.com/gen2brain/webp"
	xwebp "golang.org/x/image/webp"

	"darkroom/internal/pixels"
)

// The library would rather use a libwebp of the machine, and so give other bytes on another machine. It has a build tag
// against that, which whoever builds or tests without the Makefile would forget; its own switch holds in any build.
//
//go:linkname webpDynamic github.com/gen2brain/webp.dynamic
var webpDynamic bool

func init() { webpDynamic = false }

// riffChunk is a chunk of a WebP.
type riffChunk struct {
	kind string
	body []byte
}

func riffChunks(b []byte) []riffChunk {
	var chunks []riffChunk
	for len(b) >= 8 {
		n := int64(binary.LittleEndian.Uint32(b[4:]))
		if n > int64(len(b)-8) {
			break
		}
		chunks = append(chunks, riffChunk{string(b[:4]), b[8 : 8+n]})
		b = b[min(8+n+n&1, int64(len(b))):]
	}
	return chunks
}

func appendRIFFChunk(b []byte, kind string, body ...[]byte) []byte {
	n := 0
	for _, p := range body {
		n += len(p)
	}
	b = binary.LittleEndian.AppendUint32(append(b, kind...), uint32(n))
	for _, p := range body {
		b = append(b, p...)
	}
	if n%2 == 1 {
		b = append(b, 0)
	}
	return b
}

func riffFile(chunks []byte) []byte {
	b := binary.LittleEndian.AppendUint32([]byte("RIFF"), uint32(4+len(chunks)))
	return append(append(b, "WEBP"...), chunks...)
}

const (
	vp8xAnimation = 0x02
	vp8xAlpha     = 0x10
)

func uint24(b []byte) int { return int(b[0]) | int(b[1])<<8 | int(b[2])<<16 }

func appendUint24(b []byte, v int) []byte { return append(b, byte(v), byte(v>>8), byte(v>>16)) }

// decodeWebP decodes a still image or composes the frames of an animation (RFC 9649).
func decodeWebP(data []byte, facts pixels.Facts, all bool) (*animation, error) {
	if len(data) < 12 {
		return nil, truncated()
	}
	chunks := riffChunks(data[12:])
	var profile *profile
	var frames []riffChunk
	a := &animation{}
	for _, c := range chunks {
		switch {
		case c.kind == "ICCP":
			profile = parseProfile(c.body)
		case c.kind == "ANMF":
			frames = append(frames, c)
		case c.kind == "ANIM" && len(c.body) >= 6:
			a.loops = int(binary.LittleEndian.Uint16(c.body[4:]))
		}
	}
	if len(frames) == 0 || chunks[0].kind != "VP8X" || chunks[0].body[0]&vp8xAnimation == 0 {
		f, err := decodeWebPStill(data)
		if err == nil {
			err = sized("WebP", f.w, f.h, facts)
		}
		if err == nil {
			f.profile = profile
		}
		return still(f, err)
	}
	if !all {
		frames = frames[:1]
	}
	c := newCanvas(image.Pt(int(facts.Width), int(facts.Height)))
	for _, chunk := range frames {
		f, delay, err := showWebP(c, chunk.body)
		if err != nil {
			return nil, err
		}
		f.profile = profile
		a.frames = append(a.frames, f)
		if all {
			a.delays = append(a.delays, delay)
		}
	}
	return a, nil
}

// showWebP composes the frame of an ANMF chunk.
func showWebP(c *canvas, b []byte) (*frame, int, error) {
	if len(b) < 16 {
		return nil, 0, malformed("a frame of the WebP has %d bytes", len(b))
	}
	x, y, w, h := 2*uint24(b), 2*uint24(b[3:]), uint24(b[6:])+1, uint24(b[9:])+1
	place := image.Rect(x, y, x+w, y+h)
	if !place.In(c.image.Rect) {
		return nil, 0, malformed("a frame of the WebP lies outside its canvas")
	}
	vp8x := make([]byte, 10)
	copy(vp8x[4:], b[6:12])
	var body []byte
	for _, sub := range riffChunks(b[16:]) {
		switch sub.kind {
		case "ALPH":
			vp8x[0] |= vp8xAlpha
			body = appendRIFFChunk(body, sub.kind, sub.body)
		case "VP8 ", "VP8L":
			if sub.kind == "VP8L" {
				vp8x[0] |= vp8xAlpha
			}
			body = appendRIFFChunk(body, sub.kind, sub.body)
		}
	}
	if vp8x[0] != 0 {
		body = append(appendRIFFChunk(nil, "VP8X", vp8x), body...)
	}
	f, err := decodeWebPStill(riffFile(body))
	if err != nil {
		return nil, 0, err
	}
	if f.w != w || f.h != h {
		return nil, 0, malformed("the WebP has an image of %d×%d pixels in a frame of %d×%d", f.w, f.h, w, h)
	}
	after := keep
	if b[15]&1 != 0 {
		after = clearPlace
	}
	return c.show(f.nrgba(), place, b[15]&2 == 0, after), uint24(b[12:]), nil
}

// decodeWebPStill decodes a file of one image, whose dimensions the caller checks.
func decodeWebPStill(data []byte) (*frame, error) {
	m, err := xwebp.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	b := m.Bounds()
	switch m := m.(type) {
	case *image.YCbCr:
		return fromVideo(m), nil
	case *image.NYCbCrA:
		f := fromVideo(&m.YCbCr)
		f.alpha = &plane{pix: m.A, w: f.w, h: f.h, stride: m.AStride}
		return f, nil
	}
	return fromImage(m, pixels.Facts{Width: int64(b.Dx()), Height: int64(b.Dy())})
}

// WebP has luma from 16 to 235 and chroma from 16 to 240, as video has; JPEG, and the planes here, use all values.
var fromVideoY, fromVideoC, toVideoY, toVideoC = func() (a, b, c, d [256]byte) {
	for i := range 256 {
		v := int32(i)
		a[i] = clamp8(roundDiv(v-16, 255, 219))
		b[i] = clamp8(128 + roundDiv(v-128, 255, 224))
		c[i] = clamp8(16 + roundDiv(v, 219, 255))
		d[i] = clamp8(128 + roundDiv(v-128, 224, 255))
	}
	return a, b, c, d
}()

// roundDiv is v·num/den, rounded to the nearest, alike for both signs.
func roundDiv(v, num, den int32) int32 {
	if v < 0 {
		return -roundDiv(-v, num, den)
	}
	return (2*v*num + den) / (2 * den)
}

func mapped(p plane, table *[256]byte) plane {
	q := newPlane(p.w, p.h)
	for y := range p.h {
		dst := q.row(y)
		for x, v := range p.row(y) {
			dst[x] = table[v]
		}
	}
	return q
}

func fromVideo(m *image.YCbCr) *frame {
	w, h := m.Rect.Dx(), m.Rect.Dy()
	cw, ch := ceilDiv(w, 2), ceilDiv(h, 2)
	return &frame{w: w, h: h, ycc: true, chromaX: 2, chromaY: 2, colour: []plane{
		mapped(plane{m.Y, w, h, m.YStride}, &fromVideoY),
		mapped(plane{m.Cb, cw, ch, m.CStride}, &fromVideoC),
		mapped(plane{m.Cr, cw, ch, m.CStride}, &fromVideoC),
	}}
}

// webpMethods are libwebp's, from 0 to 6. Its own default is 4.
var webpMethods = map[pixels.Effort]int{pixels.Low: 2, pixels.Normal: 4, pixels.High: 6}

// encodeWebP writes a lossy WebP.
func encodeWebP(f *frame, quality int, effort pixels.Effort) ([]byte, error) {
	// The library takes a quality of 100 for lossless.
	o := webp.Options{Quality: min(max(quality, 1), 99), Method: webpMethods[cmp.Or(effort, pixels.Normal)]}
	var b bytes.Buffer
	if err := webp.Encode(&b, webpImage(f.converted()), o); err != nil {
		return nil, err
	}
	return withoutOpaqueAlpha(b.Bytes(), f.alpha == nil), nil
}

// webpImage is the form of a frame that the library takes: planes as they are stored, or pixels with alpha.
func webpImage(f *frame) image.Image {
	if f.alpha != nil {
		return f.nrgba()
	}
	f = f.toYCC()
	y := mapped(f.colour[0], &toVideoY)
	m := &image.NYCbCrA{YCbCr: image.YCbCr{
		Y: y.pix, YStride: y.w, CStride: ceilDiv(f.w, 2), SubsampleRatio: image.YCbCrSubsampleRatio420, Rect: image.Rect(0, 0, f.w, f.h),
	}, A: bytes.Repeat([]byte{255}, f.w*f.h), AStride: f.w}
	if len(f.colour) == 1 {
		m.Cb = bytes.Repeat([]byte{128}, m.CStride*ceilDiv(f.h, 2))
		m.Cr = m.Cb
	} else {
		m.Cb, m.Cr = mapped(f.colour[1], &toVideoC).pix, mapped(f.colour[2], &toVideoC).pix
	}
	return m
}

// withoutOpaqueAlpha leaves the alpha of an opaque picture out.
func withoutOpaqueAlpha(file []byte, opaque bool) []byte {
	if !opaque {
		return file
	}
	for _, c := range riffChunks(file[12:]) {
		if c.kind == "VP8 " {
			return riffFile(appendRIFFChunk(nil, c.kind, c.body))
		}
	}
	return file
}

// encodeWebPs writes an animation of whole frames, since the library writes still images only.
func encodeWebPs(a animation, quality int, effort pixels.Effort) ([]byte, error) {
	var body []byte
	flags := byte(vp8xAnimation)
	for i, f := range a.frames {
		file, err := encodeWebP(f, quality, effort)
		if err != nil {
			return nil, err
		}
		if f.alpha != nil {
			flags |= vp8xAlpha
		}
		head := appendUint24(appendUint24(make([]byte, 6, 16), f.w-1), f.h-1)
		head = append(appendUint24(head, min(a.delays[i], 1<<24-1)), 2) // instead of what was there
		var image []byte
		for _, c := range riffChunks(file[12:]) {
			if c.kind == "ALPH" || c.kind == "VP8 " || c.kind == "VP8L" {
				image = appendRIFFChunk(image, c.kind, c.body)
			}
		}
		body = appendRIFFChunk(body, "ANMF", head, image)
	}
	size := appendUint24(appendUint24([]byte{flags, 0, 0, 0}, a.frames[0].w-1), a.frames[0].h-1)
	loops := binary.LittleEndian.AppendUint16(make([]byte, 4), uint16(min(a.loops, 1<<16-1)))
	chunks := appendRIFFChunk(nil, "VP8X", size)
	chunks = appendRIFFChunk(chunks, "ANIM", loops)
	return riffFile(append(chunks, body...)), nil
}
