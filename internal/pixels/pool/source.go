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

// input is a source that was looked at.
type input struct {
	Source
	size     int64
	modified time.Time // of a file
}

func (s Source) check() (input, error) {
	if s.File == nil {
		return input{Source: s, size: int64(len(s.Data))}, nil
	}
	info, err := s.File.Stat()
	if err != nil {
		return input{}, err
	}
	if !info.Mode().IsRegular() {
		return input{}, fmt.Errorf("%s is no regular file", s.File.Name())
	}
	return input{Source: s, size: info.Size(), modified: info.ModTime()}, nil
}

// changed tells whether a file is no longer what it was: a child that has mapped it may then have died of that.
func (i input) changed() bool {
	if i.File == nil {
		return false
	}
	info, err := i.File.Stat()
	return err != nil || info.Size() != i.size || !info.ModTime().Equal(i.modified)
}

const (
	slotStep = 1 << 20  // slots grow in steps, so that few are made
	slotKept = 32 << 20 // longer ones serve one image
)

// slot is a file in memory that the images of a child are written to, one after the other. The child has mapped it, so
// that the pages of neither are made anew for each image, and it never shrinks.
type slot struct {
	file *os.File
	size int64
}

// put puts data into the slot, and returns the file if it is another one than before, which the child does not know.
func (s *slot) put(data []byte) (changed *os.File, err error) {
	n := int64(len(data))
	if s.file == nil || n > s.size || s.size > slotKept {
		size := (n/slotStep + 1) * slotStep
		file, err := memoryFile()
		if err != nil {
			return nil, err
		}
		if err := errors.Join(file.Truncate(size), sealLength(file), s.close()); err != nil {
			return nil, errors.Join(err, file.Close())
		}
		s.file, s.size, changed = file, size, file
	}
	_, err = s.file.WriteAt(data, 0)
	return changed, err
}

func (s *slot) close() error {
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}
