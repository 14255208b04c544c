package pixels

import "encoding/binary"

// How the pixels of a BMP are stored.
const (
	bmpRGB            = 0
	bmpRLE8           = 1
	bmpRLE4           = 2
	bmpBitFields      = 3
	bmpAlphaBitFields = 6
)

const (
	bmpFileHeaderLen = 14
	bmpCoreLen       = 12 // BITMAPCOREHEADER
	bmpOS2Len        = 64 // OS22XBITMAPHEADER
)

// bmpHeaderLen tells the lengths of the known headers: core, info, info with masks (two), OS/2 2, V4, V5.
func bmpHeaderLen(n uint32) bool {
	switch n {
	case bmpCoreLen, 40, 52, 56, bmpOS2Len, 108, 124:
		return true
	}
	return false
}

// bmpInfo is what the header says. See the Windows documentation of BITMAPFILEHEADER and BITMAPINFOHEADER.
type bmpInfo struct {
	width, height       int64
	planes, depth       uint16
	compression, stored uint32
}

// bmp reads the headers and then as many bytes as they call for.
func (p *probe) bmp() error {
	var h [bmpFileHeaderLen + 40]byte
	if err := p.fill(h[:bmpFileHeaderLen+4]); err != nil {
		return err
	}
	offset := int64(binary.LittleEndian.Uint32(h[10:]))
	headerLen := int64(binary.LittleEndian.Uint32(h[14:])) // a known one, or it would not have been taken for a BMP
	read := bmpFileHeaderLen + min(headerLen, 40)
	if err := p.fill(h[bmpFileHeaderLen+4 : read]); err != nil {
		return err
	}
	info := bmpParse(h[bmpFileHeaderLen:read])
	if err := p.size(info.width, info.height); err != nil {
		return err
	}
	if headerLen == bmpOS2Len && info.compression > bmpRLE4 {
		return fail(CodeUnsupportedFormat, "OS/2 BMP with compression %d is not supported", info.compression)
	}
	size, err := info.dataLen()
	if err != nil {
		return err
	}
	if offset < bmpFileHeaderLen+headerLen {
		return malformed("the BMP's pixels begin at %d, inside its header", offset)
	}
	return p.skip(offset - read + size)
}

func bmpParse(b []byte) bmpInfo {
	le := binary.LittleEndian
	if len(b) == bmpCoreLen {
		return bmpInfo{
			width: int64(le.Uint16(b[4:])), height: int64(le.Uint16(b[6:])), planes: le.Uint16(b[8:]), depth: le.Uint16(b[10:]),
		}
	}
	i := bmpInfo{
		width: int64(int32(le.Uint32(b[4:]))), height: int64(int32(le.Uint32(b[8:]))),
		planes: le.Uint16(b[12:]), depth: le.Uint16(b[14:]),
		compression: le.Uint32(b[16:]), stored: le.Uint32(b[20:]),
	}
	if i.height < 0 { // rows from top to bottom
		i.height = -i.height
	}
	return i
}

// dataLen returns how many bytes of pixels there must be.
func (i bmpInfo) dataLen() (int64, error) {
	if i.planes != 1 {
		return 0, malformed("the BMP has %d planes", i.planes)
	}
	var fits bool
	switch i.compression {
	case bmpRGB:
		fits = i.depth == 1 || i.depth == 2 || i.depth == 4 || i.depth == 8 || i.depth == 16 || i.depth == 24 || i.depth == 32
	case bmpBitFields, bmpAlphaBitFields:
		fits = i.depth == 16 || i.depth == 32
	case bmpRLE8, bmpRLE4:
		if fits = i.depth == 8 && i.compression == bmpRLE8 || i.depth == 4 && i.compression == bmpRLE4; fits {
			if i.stored == 0 {
				return 0, malformed("the BMP does not say how long its compressed pixels are")
			}
			return int64(i.stored), nil
		}
	default:
		return 0, fail(CodeUnsupportedFormat, "BMP with compression %d is not supported", i.compression)
	}
	if !fits {
		return 0, malformed("the BMP has %d bits a pixel with compression %d", i.depth, i.compression)
	}
	// Both are below 2³² and the depth is at most 32, so that a row fits; the product may not, unless it is refused.
	row := (i.width*int64(i.depth) + 31) / 32 * 4
	if row > maxBMPData/i.height {
		return 0, malformed("the BMP claims %s×%s pixels", grouped(i.width), grouped(i.height))
	}
	return row * i.height, nil
}

// maxBMPData is more than a BMP can hold, whose length has 32 bits, and small enough for sums.
const maxBMPData = 1 << 40
