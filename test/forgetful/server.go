package forgetful

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// serveVariable makes an executable that has this package in it the server of the disk in the directory that it names. That has to be a
// process of its own: one that uses a file system which it serves itself cannot even be killed.
const serveVariable = "SMMD_TEST_FORGETFUL_DISK"

func init() {
	dir := os.Getenv(serveVariable)
	if dir == "" {
		return
	}
	if err := errors.Join(os.Unsetenv(serveVariable), serve(dir, os.Stdin, os.Stdout)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// size is that of a disk, in bytes. It takes as much memory as was ever written of it.
const size = 1 << 30

// The directories below that of a disk.
const (
	imagesDir = "images" // the files that loop devices are made of
	stateDir  = "state"  // the disk
)

// server serves one disk: an ext4 file system on a loop device, whose file is in a FUSE file system where each sync is seen.
type server struct {
	dir     string
	root    *fs.Inode
	fuse    *fuse.Server
	image   *image
	images  int
	mounted bool
}

// serve serves a disk below dir and obeys the lines that it reads: freeze, restore. It answers each with a line of its own, and says ready
// in the beginning. It ends with its input.
func serve(dir string, in io.Reader, out io.Writer) (err error) {
	s := &server{dir: dir, image: newImage(size)}
	for _, sub := range []string{imagesDir, stateDir} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			return err
		}
	}
	root := &fs.Inode{}
	options := &fs.Options{MountOptions: fuse.MountOptions{DirectMount: true, FsName: "smmd-forgetful", Name: "forgetful", MaxWrite: 1 << 20}}
	options.OnAdd = func(context.Context) { s.root = root }
	if s.fuse, err = fs.Mount(filepath.Join(dir, imagesDir), root, options); err != nil {
		return fmt.Errorf("cannot mount the images of a disk: %w", err)
	}
	defer func() { err = errors.Join(err, s.unmount(), s.fuse.Unmount()) }()
	path := s.expose()
	if err := command("mkfs.ext4", "-q", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard", path); err != nil {
		return err
	}
	if err := s.mount(path); err != nil {
		return err
	}
	fmt.Fprintln(out, "ready")
	for lines := bufio.NewScanner(in); lines.Scan(); {
		switch lines.Text() {
		case "freeze":
			s.image.freeze()
		case "restore":
			if err := s.restore(); err != nil {
				return err
			}
		default:
			return fmt.Errorf("cannot obey %q", lines.Text())
		}
		fmt.Fprintln(out, "done")
	}
	return nil
}

// expose makes the present image a file, another one each time: the kernel has pages of those before.
func (s *server) expose() (path string) {
	s.images++
	name := fmt.Sprintf("%s-%d", imageName(s.dir), s.images)
	ctx := context.Background()
	node := s.root.NewPersistentInode(ctx, &file{image: s.image}, fs.StableAttr{Mode: syscall.S_IFREG, Ino: uint64(s.images) + 1})
	s.root.AddChild(name, node, true)
	return filepath.Join(s.dir, imagesDir, name)
}

// imageName begins the names of the images of a disk: losetup tells them, and other disks have others.
func imageName(dir string) string {
	return strings.ReplaceAll(strings.Trim(dir, "/"), "/", "-")
}

// mount mounts an image such that nothing is synced unless somebody asks for it: neither after some seconds nor with a rename.
func (s *server) mount(path string) error {
	err := command("mount", "-t", "ext4", "-o", "loop,commit=3600,noauto_da_alloc", path, filepath.Join(s.dir, stateDir))
	s.mounted = err == nil
	return err
}

func (s *server) unmount() error {
	if !s.mounted {
		return nil
	}
	s.mounted = false
	return command("umount", filepath.Join(s.dir, stateDir))
}

// restore gives the disk the content that it has after the power cut. What the file system writes when it is unmounted goes to an image that
// nobody looks at any more.
func (s *server) restore() error {
	s.image.freeze()
	if err := s.unmount(); err != nil {
		return err
	}
	s.image = s.image.after()
	return s.mount(s.expose())
}

func command(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	return nil
}

// file is an image as a file.
type file struct {
	fs.Inode
	image *image
}

var (
	_ fs.NodeOpener    = (*file)(nil)
	_ fs.NodeGetattrer = (*file)(nil)
	_ fs.NodeSetattrer = (*file)(nil)
	_ fs.NodeReader    = (*file)(nil)
	_ fs.NodeWriter    = (*file)(nil)
	_ fs.NodeFsyncer   = (*file)(nil)
)

// Open lets everybody open it.
func (f *file) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_KEEP_CACHE, 0
}

// Getattr tells its size.
func (f *file) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Mode, out.Size, out.Blocks, out.Blksize = syscall.S_IFREG|0o600, uint64(f.image.size), uint64(f.image.size/512), blockSize
	return 0
}

// Setattr changes nothing: its size is fixed, and nobody cares for its times.
func (f *file) Setattr(ctx context.Context, h fs.FileHandle, _ *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	return f.Getattr(ctx, h, out)
}

// Read reads from the image.
func (f *file) Read(_ context.Context, _ fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	return fuse.ReadResultData(dest[:f.image.read(dest, off)]), 0
}

// Write writes to the image, not yet for good.
func (f *file) Write(_ context.Context, _ fs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	n := f.image.write(data, off)
	if n == 0 && len(data) > 0 {
		return 0, syscall.ENOSPC
	}
	return uint32(n), 0
}

// Fsync makes what was written last.
func (f *file) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	f.image.sync()
	return 0
}
