package embedded

import (
	"errors"

	"darkroom/internal/table"
)

const serviceName = "Table"

// The messages between Dial's stores and Serve, exported since net/rpc asks for it. Mutations and rows are in their
// binary form.
type (
	// ApplyRequest asks to apply mutations.
	ApplyRequest struct{ Mutations [][]byte }

	// GetRequest asks for a row by its key.
	GetRequest struct {
		Table string
		Key   []byte
	}

	// ScanRequest asks for a page of a query.
	ScanRequest struct {
		Table     string
		Whole     bool // the query has no partition
		Partition []byte
		Bounds    [2]Bound
		From      []byte // the Next of the page before; nil for the first one
		Limit     int    // 0: as many rows as the server likes
	}

	// Bound is one end of a range: its values, each as a row of one column.
	Bound struct{ Values [][]byte }

	// PingRequest asks whether the store answers.
	PingRequest struct{}

	// Reply answers each of them.
	Reply struct {
		Rows    [][]byte
		Next    []byte // where a scan goes on; nil at its end
		Code    int
		Message string
	}
)

// What a reply says. The codes are the protocol: they keep their numbers.
const (
	codeNotFound = iota + 1
	codeInvalid
	codeClosed
	codeFailed
)

// remoteError is an error of the server, in its words.
type remoteError struct {
	kind    error // what errors.Is finds; nil if nothing
	message string
}

func (e *remoteError) Error() string { return e.message }
func (e *remoteError) Unwrap() error { return e.kind }

func (r *Reply) err() error {
	switch r.Code {
	case 0:
		return nil
	case codeNotFound:
		return table.ErrNotFound
	case codeInvalid:
		return &remoteError{table.ErrInvalid, r.Message}
	case codeClosed:
		return &remoteError{ErrClosed, r.Message}
	}
	return &remoteError{nil, r.Message}
}

func newScanRequest(q table.Query) (*ScanRequest, error) {
	partition, err := q.Partition.MarshalBinary()
	if err != nil {
		return nil, err
	}
	req := &ScanRequest{Table: q.Table, Whole: q.Partition == nil, Partition: partition}
	for i, bound := range [][]any{q.From, q.To} {
		for _, value := range bound {
			b, err := table.Row{"": value}.MarshalBinary()
			if err != nil {
				return nil, err
			}
			req.Bounds[i].Values = append(req.Bounds[i].Values, b)
		}
	}
	return req, nil
}

// query reads the request. It is not yet checked against its table.
func (r *ScanRequest) query() (table.Query, error) {
	q := table.Query{Table: r.Table, Limit: r.Limit}
	if !r.Whole {
		if err := q.Partition.UnmarshalBinary(r.Partition); err != nil {
			return q, err
		}
	}
	var errs [2]error
	q.From, errs[0] = r.Bounds[0].values()
	q.To, errs[1] = r.Bounds[1].values()
	return q, errors.Join(errs[:]...)
}

func (b Bound) values() (out []any, err error) {
	for _, encoded := range b.Values {
		var row table.Row
		if err := row.UnmarshalBinary(encoded); err != nil {
			return nil, err
		}
		out = append(out, row[""])
	}
	return out, nil
}
