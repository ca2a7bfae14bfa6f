package rootfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
)

// maxLinks is how many symbolic links are followed on the way to a file, as the kernel does.
const maxLinks = 40

// Open opens a file or directory of the tree in dir for reading, as a process whose root is dir would: absolute symbolic links and ".." end at
// dir. It never leaves dir, whatever changes in the tree meanwhile, and does not wait for the other end of a fifo. Errors wrap those of
// package os.
func Open(dir, name string) (*os.File, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot open %s: %w", path.Join(dir, name), err)
	}
	defer root.Close()
	at, err := resolve(root, name)
	if err != nil {
		return nil, fmt.Errorf("cannot open %s: %w", path.Join(dir, name), err)
	}
	info, err := root.Lstat(at)
	if err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		err = errors.New("it is neither a file nor a directory")
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open %s: %w", path.Join(dir, name), err)
	}
	file, err := root.OpenFile(at, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open %s: %w", path.Join(dir, name), err)
	}
	return file, nil
}

// ReadFile returns the content of a file of the tree in dir, found as [Open] does. One of more than limit bytes is an error.
func ReadFile(dir, name string, limit int64) ([]byte, error) {
	file, err := Open(dir, name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", path.Join(dir, name), err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("cannot read %s: it has more than %d bytes", path.Join(dir, name), limit)
	}
	return data, nil
}

// Resolve returns where name leads to for a process whose root is dir, as a clean path that is relative to dir and has no symbolic link on it. What is missing
// of it counts as directories that are still to be made. It holds for as long as nobody changes the tree.
func Resolve(dir, name string) (string, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", fmt.Errorf("cannot follow %q in %s: %w", name, dir, err)
	}
	defer root.Close()
	at, err := follow(root, name, true)
	if err != nil {
		return "", fmt.Errorf("cannot follow %q in %s: %w", name, dir, err)
	}
	return at, nil
}

// resolve returns where name is below root, with no symbolic link on the way and none at the end.
func resolve(root *os.Root, name string) (string, error) { return follow(root, name, false) }

// follow is resolve; missing says that the name need not be there. openat2(2) could do that with RESOLVE_IN_ROOT, but devices have kernels without it.
func follow(root *os.Root, name string, missing bool) (string, error) {
	at, rest := ".", name
	for links := 0; rest != ""; {
		var component string
		component, rest, _ = strings.Cut(rest, "/")
		switch component {
		case "", ".":
			continue
		case "..":
			at = path.Dir(at) // that of "." is "."
			continue
		}
		next := path.Join(at, component)
		info, err := root.Lstat(next)
		if missing && errors.Is(err, fs.ErrNotExist) {
			at = next
			continue
		}
		if err != nil {
			return "", err
		}
		if info.Mode()&os.ModeSymlink == 0 {
			at = next
			continue
		}
		if links++; links > maxLinks {
			return "", &os.PathError{Op: "open", Path: name, Err: syscall.ELOOP}
		}
		target, err := root.Readlink(next)
		if err != nil {
			return "", err
		}
		if path.IsAbs(target) {
			at = "."
		}
		rest = target + "/" + rest
	}
	return at, nil
}
