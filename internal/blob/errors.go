package blob

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

var (
	// ErrNotFound says that no object has this key. The caller answers 404, or makes the object.
	ErrNotFound = errors.New("no such object")
	// ErrExists says that PutOptions.IfAbsent met an object. The caller reads the object that is there.
	ErrExists = errors.New("object exists")
	// ErrChanged says that PutOptions.IfMatch does not hold, or that the object is gone. The caller reads it again.
	ErrChanged = errors.New("object changed")
	// ErrChecksum says that S3 holds other bytes than the caller's SHA-256 says. The caller uploads them again.
	ErrChecksum = errors.New("checksum differs")
	// ErrRange says that no byte of the object lies in the range asked for; see [RangeError]. The caller answers 416.
	ErrRange = errors.New("range not satisfiable")
	// ErrTooLarge says that Get met an object of more than MaxGet bytes. The caller uses Open instead.
	ErrTooLarge = errors.New("object too large")
	// ErrSize says that a reader yielded fewer or more bytes than PutStream was told. The caller refuses the input.
	ErrSize = errors.New("body differs from its declared size")
)

// RangeError is Open's error for a range outside the object. errors.Is takes it for ErrRange.
type RangeError struct {
	Total int64 // the object's size, in bytes
}

// Error implements error.
func (e *RangeError) Error() string {
	return fmt.Sprintf("%v: the object has %d bytes", ErrRange, e.Total)
}

// Is reports whether target is ErrRange.
func (e *RangeError) Is(target error) bool { return target == ErrRange }

// Unavailable reports whether err says that S3 could not be reached, gave no answer in time, or was too busy (any 5xx,
// 429, SlowDown). The same call may succeed later: a service answers 503 with Retry-After, a pipeline tries again.
// It is false for what the caller's own reader or cancelled context did.
func Unavailable(err error) bool {
	var call *callError
	return errors.As(err, &call) && call.unavailable
}

// callError is a call to S3 that failed otherwise than a sentinel says.
type callError struct {
	action      string
	err         error
	unavailable bool
}

func (e *callError) Error() string { return e.action + ": " + reason(e.err) }
func (e *callError) Unwrap() error { return e.err }

// reason is what an error of the SDK says, without its names of what it did and of what an answer that never came has not.
func reason(err error) string {
	var api smithy.APIError
	var answer *smithyhttp.ResponseError
	var send *smithyhttp.RequestSendError
	switch {
	case errors.As(err, &api) && errors.As(err, &answer):
		text := fmt.Sprintf("S3 answers %d %s", answer.HTTPStatusCode(), api.ErrorCode())
		if m := api.ErrorMessage(); m != "" {
			text += ": " + m
		}
		var request interface{ ServiceRequestID() string }
		if errors.As(err, &request) && request.ServiceRequestID() != "" {
			text += " (request " + request.ServiceRequestID() + ")"
		}
		return text
	case errors.As(err, &send):
		return send.Err.Error()
	}
	return err.Error()
}

// fail wraps what the SDK returned for an action, such as "get a/b".
func fail(action string, err error) error {
	return &callError{action: action, err: err, unavailable: isAway(err)}
}

// isAway tells an error of the way to S3, or of its load, from an answer. That the caller cancelled is neither: the SDK
// has another error for it.
func isAway(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) { // also in the middle of an answer
		return true
	}
	var answer *smithyhttp.ResponseError
	if errors.As(err, &answer) && answer.HTTPStatusCode() != 0 { // it is 0 when none came
		status := answer.HTTPStatusCode()
		return status >= 500 || status == http.StatusTooManyRequests || code(err) == "RequestTimeout"
	}
	var send *smithyhttp.RequestSendError
	return errors.As(err, &send)
}

// code returns S3's error code, or "".
func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// isMissing reports whether S3 said that there is no such object. HEAD's answer has no body, so its code is the status.
func isMissing(err error) bool {
	c := code(err)
	return c == "NoSuchKey" || c == "NotFound"
}

// isRefused reports whether S3 said that a condition does not hold.
func isRefused(err error) bool { return code(err) == "PreconditionFailed" }
