package goengine

import (
	"errors"
	"fmt"

	"darkroom/internal/pixels"
)

func malformed(format string, args ...any) error {
	return &pixels.Error{Code: pixels.CodeMalformed, Err: fmt.Errorf(format, args...)}
}

// sized returns an error if a file has another size than its header told when the limits were held against it.
func sized(what string, width, height int, facts pixels.Facts) error {
	if int64(width) != facts.Width || int64(height) != facts.Height {
		return malformed("the %s has %d×%d pixels, not %d×%d", what, width, height, facts.Width, facts.Height)
	}
	return nil
}

func unsupported(format string, args ...any) error {
	return &pixels.Error{Code: pixels.CodeUnsupportedFormat, Err: fmt.Errorf(format, args...)}
}

func truncated() error {
	return &pixels.Error{Code: pixels.CodeTruncated, Err: errors.New("the file ends before the image does")}
}
