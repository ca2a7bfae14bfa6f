package volume

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// What a unit has made may be of any size, depth and owner, and may be changed meanwhile. So nothing here holds more than a portion of names and a directory for each of so many levels, and
// nothing goes on for as long as somebody makes new files.
const (
	portion  = 128     // names
	levels   = 32      // of directories that are open at once; what is deeper is moved up
	patience = 8       // times to look again into a directory that did not stay empty
	passes   = 1 << 16 // over a directory in which something was moved up
)

// errMounted is of a place where another file system, or another part of one, is mounted: what is there does not belong to the directory.
var errMounted = errors.New("something is mounted there")

// A remover removes the content of one directory. It follows no link and leaves what is mounted in the directory alone.
type remover struct {
	top    *os.File
	mount  mount
	cuts   int   // directories that were moved to the top in this pass
	failed error // first that happened to an entry in this pass
}

// removeContent removes all that is in a directory, whose path is for errors. What cannot be removed is an error after all else is gone.
func removeContent(ctx context.Context, top *os.File, path string) error {
	m, err := mountOf(top)
	if err != nil {
		return err
	}
	r := remover{top: top, mount: m}
	for quiet, pass := 0, 0; quiet < patience && pass < passes; pass++ {
		r.cuts, r.failed = 0, nil
		if _, err := top.Seek(0, io.SeekStart); err != nil {
			return err
		}
		found, err := r.level(ctx, top, path, 0)
		switch {
		case err != nil:
			return err
		case r.cuts > 0:
		case r.failed != nil:
			return r.failed
		case !found:
			return nil
		default:
			quiet++
		}
	}
	return fmt.Errorf("%s does not become empty: it is being changed", path)
}

// level removes what is in a directory at a depth below the top, and reports whether anything was there.
func (r *remover) level(ctx context.Context, dir *os.File, path string, depth int) (bool, error) {
	found := false
	err := eachName(ctx, dir, func(name string) error {
		found = true
		err := r.entry(ctx, dir, name, filepath.Join(path, name), depth)
		if ctx.Err() != nil {
			return err
		}
		if r.failed == nil {
			r.failed = err
		}
		return nil
	})
	return found, err
}

// entry removes what has a name in a directory. What is changed meanwhile is left to the next pass.
func (r *remover) entry(ctx context.Context, dir *os.File, name, path string, depth int) error {
	empty, err := remove(dir, name, path)
	if empty || err != nil {
		return err
	}
	if depth == levels {
		return r.cut(dir, name, path)
	}
	child, err := openDir(int(dir.Fd()), name, path)
	if changed(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer child.Close()
	if m, err := mountOf(child); err != nil {
		return err
	} else if m != r.mount { // since a moment ago: else it could not even be tried to remove it
		return &fs.PathError{Op: "remove", Path: path, Err: errMounted}
	}
	if _, err := r.level(ctx, child, path, depth+1); err != nil {
		return err
	}
	_, err = remove(dir, name, path)
	return err
}

// cut moves a directory that is too deep to the top, where a later pass finds it. The new name is nobody's, but by a chance that is as good as none.
func (r *remover) cut(dir *os.File, name, path string) error {
	free := fmt.Sprintf(".%016x", rand.Uint64())
	err := restarted(func() error { return unix.Renameat(int(dir.Fd()), name, int(r.top.Fd()), free) })
	switch {
	case err == nil:
		r.cuts++
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, unix.EMLINK) && r.cuts > 0:
		return nil // there is room when those that were moved are gone
	case errors.Is(err, unix.EBUSY):
		err = errMounted
	}
	return &fs.PathError{Op: "rename", Path: path, Err: err}
}

// removeDir removes a directory with all that is in it.
func removeDir(ctx context.Context, path string) error {
	above, err := openDir(unix.AT_FDCWD, filepath.Dir(path), filepath.Dir(path))
	if err != nil {
		return err
	}
	defer above.Close()
	name := filepath.Base(path)
	for range patience {
		empty, err := remove(above, name, path)
		if empty || err != nil {
			return err // also when something is mounted on it
		}
		dir, err := openDir(int(above.Fd()), name, path)
		if err != nil {
			return err
		}
		if err := errors.Join(removeContent(ctx, dir, path), dir.Close()); err != nil {
			return err
		}
	}
	return fmt.Errorf("%s does not become empty: it is being changed", path)
}

// remove removes a file, a link or an empty directory. It reports false for a directory that is not empty.
func remove(dir *os.File, name, path string) (bool, error) {
	err := restarted(func() error { return unix.Unlinkat(int(dir.Fd()), name, 0) })
	if errors.Is(err, unix.EISDIR) {
		err = restarted(func() error { return unix.Unlinkat(int(dir.Fd()), name, unix.AT_REMOVEDIR) })
	}
	switch {
	case err == nil, errors.Is(err, unix.ENOENT):
		return true, nil
	case errors.Is(err, unix.ENOTEMPTY), errors.Is(err, unix.EEXIST):
		return false, nil
	case errors.Is(err, unix.EBUSY):
		err = errMounted
	}
	return false, &fs.PathError{Op: "remove", Path: path, Err: err}
}

// openDir opens a directory by its name in another one; a link is none. path is for errors.
func openDir(at int, name, path string) (*os.File, error) {
	var fd int
	err := restarted(func() (err error) {
		fd, err = unix.Openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// changed reports whether an error says that what was a directory just now is none any more.
func changed(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP)
}

// eachName calls f with the names in a directory until it fails or ctx is done.
func eachName(ctx context.Context, dir *os.File, f func(string) error) error {
	for {
		names, err := dir.Readdirnames(portion)
		for _, name := range names {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err := f(name); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, fs.ErrNotExist) {
			return nil // all are read, or it was removed meanwhile
		}
		if err != nil {
			return err
		}
	}
}

// A mount tells where a file is mounted.
type mount struct {
	id  uint64 // of the mount; 0 where the kernel does not tell (before Linux 5.8)
	dev uint64 // of the file system, if there is no id
}

func mountOf(dir *os.File) (mount, error) {
	var x unix.Statx_t
	if err := unix.Statx(int(dir.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &x); err == nil && x.Mask&unix.STATX_MNT_ID != 0 {
		return mount{id: x.Mnt_id}, nil
	}
	var st unix.Stat_t
	if err := restarted(func() error { return unix.Fstat(int(dir.Fd()), &st) }); err != nil {
		return mount{}, &fs.PathError{Op: "stat", Path: dir.Name(), Err: err}
	}
	return mount{dev: uint64(st.Dev)}, nil //nolint:unconvert // Dev has other types on other processors
}

// restarted repeats a system call that a signal has interrupted.
func restarted(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
