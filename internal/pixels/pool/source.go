package pool

import (
	"errors"
	"fmt"
	"os"
	"time"
)

// Source is the file of an image: Data, or a File, which is regular and is read from its start, wherever its offset is.
type Source struct {
	Data []byte
	File *os.File
}

// input is a descriptor that a child maps.
type input struct {
	file     *os.File
	size     int64
	modified time.Time
	own      bool
}

func (s Source) open() (*input, error) {
	if s.File == nil {
		f, err := sealedFile(s.Data)
		if err != nil {
			return nil, err
		}
		return &input{file: f, size: int64(len(s.Data)), own: true}, nil
	}
	info, err := s.File.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", s.File.Name())
	}
	return &input{file: s.File, size: info.Size(), modified: info.ModTime()}, nil
}

// changed tells whether a file is no longer what it was: a child that has mapped it may then have died of that.
func (i *input) changed() bool {
	if i.own {
		return false
	}
	info, err := i.file.Stat()
	return err != nil || info.Size() != i.size || !info.ModTime().Equal(i.modified)
}

func (i *input) close() {
	if i.own {
		_ = i.file.Close() // nothing in it is kept
	}
}

// writeAll puts data into a file that has none.
func writeAll(f *os.File, data []byte) (*os.File, error) {
	if _, err := f.WriteAt(data, 0); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
