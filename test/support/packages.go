package support

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Packages returns the files below the package store, paths relative to it, but the saved versions of environments, which the agent
// keeps there for itself once it gets to it.
func (d *Device) Packages() []string {
	d.t.Helper()
	root := filepath.Join(d.State, "packages")
	var files []string
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		saved, err := isVersion(path)
		if err == nil && !saved {
			files = append(files, strings.TrimPrefix(path, root+"/"))
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it is being collected
		}
		return err
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return files
}

// isVersion reports whether a file is a saved version of an OSGi environment, which says so in its first member.
func isVersion(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }() // nothing was written
	head := make([]byte, 256)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return false, err
	}
	return bytes.Contains(head[:n], []byte("smmd-osgi-version-")), nil
}
