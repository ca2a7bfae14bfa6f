package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"
)

// DiskUsage returns the KiB that dir and all below it take on its file system: holes not, files with several names once, what other file
// systems are mounted there not. What goes away meanwhile is not counted.
func DiskUsage(dir string) (int64, error) {
	type inode struct{ dev, ino uint64 }
	seen := map[inode]bool{}
	var blocks int64 // of 512 bytes
	var dev uint64
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		gone := func(err error) bool { return path != dir && errors.Is(err, fs.ErrNotExist) }
		if gone(err) {
			return nil
		}
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if gone(err) {
			return nil
		}
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		if path == dir {
			dev = uint64(st.Dev) //nolint:unconvert // other types on other processors
		}
		if mounted(info, dev) {
			return filepath.SkipDir
		}
		if !entry.IsDir() && st.Nlink > 1 {
			id := inode{uint64(st.Dev), uint64(st.Ino)} //nolint:unconvert // as above
			if seen[id] {
				return nil
			}
			seen[id] = true
		}
		blocks += int64(st.Blocks) //nolint:unconvert // as above
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("cannot tell the size of %s: %w", dir, err)
	}
	return (blocks + 1) / 2, nil
}

// mounted reports whether what info tells of is the root of another file system than the one that has the number dev. That is asked of directories
// alone: in an overlay, files have the numbers of the layers that they come from (Documentation/filesystems/overlayfs.rst of Linux, Inode properties).
func mounted(info fs.FileInfo, dev uint64) bool {
	st := info.Sys().(*syscall.Stat_t)
	return info.IsDir() && uint64(st.Dev) != dev //nolint:unconvert // as above
}
