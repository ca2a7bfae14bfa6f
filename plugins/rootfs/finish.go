package rootfs

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// finish does what the writer does not: the holes of sparse files, the root of the tree, and that programs can be run at once.
func (s *sieve) finish() error {
	for _, name := range s.sparse {
		if err := digHoles(s.root, name); err != nil {
			return fmt.Errorf("cannot make %s sparse: %w", name, err)
		}
	}
	for _, name := range s.programs {
		awaitWriters(s.root, name)
	}
	return s.setTop()
}

// busy bounds the wait for the writers of a file. It is over in a moment, unless a process is stopped while it starts another.
const busy = 5 * time.Second

// awaitWriters waits until nobody has a file open for writing: until then it cannot be executed (ETXTBSY). The writer has closed it, but each process
// that this one was starting meanwhile has a copy of the descriptor until its program runs.
func awaitWriters(root *os.Root, name string) {
	at, err := resolve(root, name)
	if err != nil {
		return // a later entry replaced it
	}
	if info, err := root.Lstat(at); err != nil || !info.Mode().IsRegular() {
		return
	}
	file, err := root.OpenFile(at, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return // nobody can read it, nor ask about it
	}
	defer file.Close()
	for end := time.Now().Add(busy); time.Now().Before(end); time.Sleep(time.Millisecond) {
		// The kernel gives a read lease only on what nobody has open for writing (fcntl(2)). Where it gives none at all there is nothing to wait for.
		_, err := unix.FcntlInt(file.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
		if !errors.Is(err, unix.EAGAIN) {
			return // closing the file gives the lease back
		}
	}
}

// setTop gives the root of the tree owner and mode: those of its entry, else, for a user namespace, the owner that its root has there.
func (s *sieve) setTop() error {
	hdr := s.top
	if hdr == nil && s.o.UIDs.Size == 0 && s.o.GIDs.Size == 0 {
		return nil
	}
	top, err := s.root.Open(".")
	if err != nil {
		return err
	}
	defer top.Close()
	ids := s.o.identityMapping()
	if hdr == nil {
		if !s.owners {
			return nil
		}
		info, err := top.Stat()
		if err != nil {
			return err
		}
		if st := info.Sys().(*syscall.Stat_t); st.Uid != 0 || st.Gid != 0 { // an earlier layer had an entry
			return nil
		}
		uid, gid := ids.RootPair()
		return top.Chown(uid, gid)
	}
	uid, gid, err := ids.ToHost(hdr.Uid, hdr.Gid)
	if err != nil {
		return err
	}
	if s.owners {
		if err := top.Chown(uid, gid); err != nil {
			return err
		}
	}
	if err := setXattrs(top, hdr); err != nil {
		return err
	}
	if err := top.Chmod(hdr.FileInfo().Mode()); err != nil {
		return err
	}
	return s.root.Chtimes(".", hdr.ModTime, hdr.ModTime)
}

func setXattrs(file *os.File, hdr *tar.Header) error {
	for key, value := range hdr.PAXRecords {
		name := strings.TrimPrefix(key, xattrKey)
		if err := unix.Fsetxattr(int(file.Fd()), name, []byte(value), 0); err != nil {
			return fmt.Errorf("cannot set the attribute %s: %w", name, err)
		}
	}
	return nil
}

// readCapability returns the file capabilities of a regular file, empty when there are none or the file system has no place for them.
func readCapability(root *os.Root, name string) string {
	file, err := root.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return "" // nobody can read it, nor then can the writer
	}
	defer file.Close()
	value := make([]byte, 64) // 24 are in use
	n, err := unix.Fgetxattr(int(file.Fd()), capability, value)
	if err != nil {
		return ""
	}
	return string(value[:n])
}

// hole is the granularity of holes in bytes: a multiple of the blocks of nearly all file systems.
const hole = 64 << 10

// digHoles takes the room away from the zeros of a file. That never changes its content: whatever the name stands for by now may have it done.
func digHoles(root *os.Root, name string) error {
	at, err := resolve(root, name)
	if errors.Is(err, os.ErrNotExist) {
		return nil // a later entry replaced it
	}
	if err != nil {
		return err
	}
	info, err := root.Lstat(at)
	if err != nil || !info.Mode().IsRegular() || readCapability(root, at) != "" { // digging takes capabilities away
		return err
	}
	file, err := root.OpenFile(at, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	buf := make([]byte, hole)
	for at := int64(0); at < info.Size(); at += hole {
		n, err := file.ReadAt(buf, at)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if !allZero(buf[:n]) {
			continue
		}
		err = unix.Fallocate(int(file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, at, hole)
		if errors.Is(err, unix.EOPNOTSUPP) {
			return nil // the file system has no holes
		}
		if err != nil {
			return err
		}
	}
	return root.Chtimes(at, info.ModTime(), info.ModTime())
}
