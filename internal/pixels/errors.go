package pixels

import (
	"errors"
	"fmt"
	"math/bits"
	"strconv"
)

// The codes of the reasons for which an image is refused. They are stable: they are stored and shown.
const (
	CodeUnknownFormat     = "unknown-format"     // the first bytes are of no image format that Sniff knows
	CodeUnsupportedFormat = "unsupported-format" // a known format, or a form of it, that cannot be examined
	CodeMalformed         = "malformed"          // the structure contradicts the format's specification
	CodeTruncated         = "truncated"          // the stream ends before the image does
	CodeTooManyPixels     = "too-many-pixels"    // more than Limits.MaxPixels, or a side longer than Limits.MaxSide
	CodeTooManyFrames     = "too-many-frames"    // more than Limits.MaxFrames
	CodeBadDimensions     = "bad-dimensions"     // a width or height of zero or less
	CodeOverTarget        = "over-target"        // no quality makes the derivative as small as Output.TargetBytes
	CodeDecodeCrash       = "decode-crash"       // the process that decoded the image died of it
	CodeDecodeTimeout     = "decode-timeout"     // decoding took longer than it may
	CodeResourceLimit     = "resource-limit"     // decoding took more memory or CPU time than it may
	CodeTooLarge          = "too-large"          // a TIFF of more than Limits.MaxSpool bytes
)

// Error says why an image is refused. Its message is for people; the caller records the code and does not try again.
type Error struct {
	Code string
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the reason itself.
func (e *Error) Unwrap() error { return e.Err }

// CodeOf returns the code of the *Error in err's chain. It is empty for nil and for an error that is not about the
// image, such as that of a failed read.
func CodeOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func fail(code, format string, args ...any) error {
	return &Error{Code: code, Err: fmt.Errorf(format, args...)}
}

func malformed(format string, args ...any) error { return fail(CodeMalformed, format, args...) }

func truncated() error { return fail(CodeTruncated, "the file ends before the image does") }

// checkSize refuses dimensions that are not positive, and sides and areas over the limits, without overflow.
func checkSize(width, height int64, lim Limits) error {
	if width <= 0 || height <= 0 {
		return fail(CodeBadDimensions, "%s×%s pixels are no image", grouped(width), grouped(height))
	}
	if hi, lo := bits.Mul64(uint64(width), uint64(height)); hi != 0 || lo > uint64(lim.MaxPixels) {
		return fail(CodeTooManyPixels, "%s×%s pixels are more than the limit of %s",
			grouped(width), grouped(height), grouped(lim.MaxPixels))
	}
	if max(width, height) > lim.MaxSide {
		return fail(CodeTooManyPixels, "%s×%s pixels: a side is longer than the limit of %s",
			grouped(width), grouped(height), grouped(lim.MaxSide))
	}
	return nil
}

// grouped writes n with a comma between groups of three digits.
func grouped(n int64) string {
	s, sign := strconv.FormatInt(n, 10), ""
	if n < 0 {
		s, sign = s[1:], "-"
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}
