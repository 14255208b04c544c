package local

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// CheckRoom refuses a folder whose disk has less room than so many bytes.
func CheckRoom(dir string, need uint64) error {
	var disk unix.Statfs_t
	if err := unix.Statfs(dir, &disk); err != nil {
		return fmt.Errorf("ask for the room in %s: %w", dir, err)
	}
	if room := uint64(disk.Bavail) * uint64(disk.Bsize); room < need { //nolint:unconvert // the types differ between systems
		return fmt.Errorf("the disk of %s is full: it has room for %d MB, and %d are needed to start", dir, room/1e6, need/1e6)
	}
	return nil
}
