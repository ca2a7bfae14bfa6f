package rootfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestOpen(t *testing.T) {
	s := newSite(t)
	for name, text := range map[string]string{"usr/lib/os-release": "ID=x\n", "outside/secret": "inside", "secret": "top"} {
		path := filepath.Join(s.in, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{
		"rel": "usr/lib/os-release", "abs": "/usr/lib/os-release", "climbing": "../../../../outside/secret", "up": "..", "dir": "/usr/lib/", "loop": "loop",
		"dangling": "nothing", "chain": "dir/../../abs",
	} {
		if err := os.Symlink(target, filepath.Join(s.in, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(filepath.Join(s.in, "fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"usr/lib/os-release": "ID=x\n", "/usr/lib/os-release": "ID=x\n", "rel": "ID=x\n", "abs": "ID=x\n", "dir/os-release": "ID=x\n", "chain": "ID=x\n",
		"climbing": "inside", "up/secret": "top", "../../secret": "top", "up/../outside/../secret": "top",
	} {
		data, err := ReadFile(s.in, name, 100)
		if err != nil || string(data) != want {
			t.Errorf("%s is %q (%v), want %q", name, data, err, want)
		}
	}
	for _, name := range []string{"loop", "dangling", "fifo", "usr/lib/os-release/x", "missing/x"} {
		if data, err := ReadFile(s.in, name, 100); err == nil {
			t.Errorf("%s is %q", name, data)
		}
	}
	if _, err := Open(s.in, "dangling"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the error is %v", err)
	}
	if _, err := ReadFile(s.in, "rel", 4); err == nil {
		t.Error("a file above the limit is read")
	}
	d, err := Open(s.in, "dir")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if names, err := d.Readdirnames(-1); err != nil || len(names) != 1 {
		t.Errorf("the directory has %v (%v)", names, err)
	}
}

func TestResolve(t *testing.T) {
	s := newSite(t)
	if err := errors.Join(os.MkdirAll(filepath.Join(s.in, "var/lib"), 0o755), os.WriteFile(filepath.Join(s.in, "file"), nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{
		"abs": "/var/lib", "climbing": "../../../../etc", "dangling": "/made/later", "loop": "loop", "var/up": "../var/lib/../new", "out": "/", "through": "file/x", "kernel": "/proc/self/root",
	} {
		if err := os.Symlink(target, filepath.Join(s.in, name)); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{
		"/": ".", "/var/lib": "var/lib", "/abs": "var/lib", "/abs/x/y": "var/lib/x/y", "/climbing/passwd": "etc/passwd", "/dangling/x": "made/later/x", "/var/up/x": "var/new/x",
		"/out": ".", "/out/../..": ".", "/out/new": "new", "/none/../var": "var", "/file": "file", "/kernel/etc": "proc/self/root/etc", "/a b\\c": "a b\\c",
	} {
		if got, err := Resolve(s.in, name); err != nil || got != want {
			t.Errorf("%q leads to %q (%v), want %q", name, got, err, want)
		}
	}
	for _, name := range []string{"/loop", "/loop/x", "/through", "/file/x"} {
		if got, err := Resolve(s.in, name); err == nil {
			t.Errorf("%q leads to %q, want an error", name, got)
		}
	}
	if got, err := Resolve(filepath.Join(s.in, "none"), "/x"); err == nil {
		t.Errorf("in a tree that is not there it leads to %q", got)
	}
}

func TestDiskUsage(t *testing.T) {
	top := t.TempDir()
	empty, err := DiskUsage(top)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(top, "f"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write(make([]byte, 1<<20))
	err = errors.Join(err, f.Truncate(1<<30), f.Sync(), f.Close(), os.Link(f.Name(), filepath.Join(top, "g")))
	if err != nil {
		t.Fatal(err)
	}
	got, err := DiskUsage(top)
	if err != nil || got-empty < 1024 || got-empty > 1100 {
		t.Errorf("a file of 1 MiB with two names and a hole takes %d KiB (%v)", got-empty, err)
	}
	if _, err := DiskUsage(filepath.Join(top, "missing")); err == nil {
		t.Error("what is not there has a size")
	}
}

// foreign is a file as an overlay tells of it: with the device number of a layer.
type foreign struct {
	fs.FileInfo
	dev uint64
}

func (f foreign) Sys() any {
	st := *f.FileInfo.Sys().(*syscall.Stat_t)
	st.Dev = f.dev
	return &st
}

// TestDiskUsageOfOverlay shows that files of a layer count, and directories of another file system do not.
func TestDiskUsageOfOverlay(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "f")
	if err := errors.Join(os.WriteFile(file, []byte("x"), 0o600), os.Symlink("f", filepath.Join(dir, "l"))); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path string
		dev  uint64
		want bool
	}{{dir, 7, false}, {dir, 8, true}, {file, 7, false}, {file, 8, false}, {filepath.Join(dir, "l"), 8, false}} {
		info, err := os.Lstat(c.path)
		if err != nil {
			t.Fatal(err)
		}
		if got := mounted(foreign{info, c.dev}, 7); got != c.want {
			t.Errorf("%s of device %d below device 7 is another file system: %v, want %v", info.Mode(), c.dev, got, c.want)
		}
	}
}
