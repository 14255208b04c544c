package goengine

import (
	"errors"
	"fmt"

	"darkroom/internal/pixels"
)

func malformed(format string, args ...any) error {
	return &pixels.Error{Code: pixels.CodeMalformed, Err: fmt.Errorf(format, args...)}
}

func unsupported(format string, args ...any) error {
	return &pixels.Error{Code: pixels.CodeUnsupportedFormat, Err: fmt.Errorf(format, args...)}
}

func truncated() error {
	return &pixels.Error{Code: pixels.CodeTruncated, Err: errors.New("the file ends before the image does")}
}
