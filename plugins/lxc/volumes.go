package lxc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/smmd-project/smmd/plugins/rootfs"
)

// volume is a directory of the device that a container sees.
type volume struct {
	Source string `json:"source"`
	Path   string `json:"path"` // in the container
}

// mount is a volume in a root file system.
type mount struct {
	source string
	at     string // relative to the root, without a symbolic link
}

// mountPrograms are the programs that containers with volumes, or with users of their own, are started with; see [order.command].
var mountPrograms = []string{"mount", "unshare"}

// mountedOver are the places of a root file system that LXC mounts something of its own on.
var mountedOver = []string{"dev", "proc", "sys"}

// place finds out where volumes are in the root file system of a generation. Symbolic links are followed here, as a process in the container would
// follow them: LXC makes mount points by way of them on the device, and refuses to mount where they lead. That holds for the run that is about to
// begin, since only a container changes its files. An error is in words that can stand alone.
func place(root string, volumes []volume) ([]mount, error) {
	var mounts []mount
	for _, v := range volumes {
		if info, err := os.Stat(v.Source); err != nil {
			return nil, fmt.Errorf("its volume at %q cannot be used: %w", v.Path, err)
		} else if !info.IsDir() {
			return nil, fmt.Errorf("its volume at %q cannot be used: %s is no directory", v.Path, v.Source)
		}
		at, err := rootfs.Resolve(root, v.Path)
		if inside := (*fs.PathError)(nil); errors.As(err, &inside) {
			err = inside.Err // where the adapter has the image is of no use in a message
		}
		if err != nil {
			return nil, fmt.Errorf("its volume at %q has no place in the image: %w", v.Path, err)
		}
		m := mount{v.Source, at}
		if err := m.check(root); err != nil {
			return nil, fmt.Errorf("its volume at %q has no place in the image: %w", v.Path, err)
		}
		for i, other := range mounts {
			if within(m.at, other.at) || within(other.at, m.at) {
				return nil, fmt.Errorf("its volumes at %q and %q are the same place or one in the other in the image, by way of symbolic links", volumes[i].Path, v.Path)
			}
		}
		mounts = append(mounts, m)
	}
	return mounts, nil
}

// check returns why a volume cannot be where it is meant to be. Its path was checked, but a link of the image may lead anywhere in it.
func (m mount) check(root string) error {
	over := slices.ContainsFunc(mountedOver, func(dir string) bool { return within(m.at, dir) })
	info, err := os.Lstat(filepath.Join(root, m.at))
	switch {
	case m.at == "." || over:
		return fmt.Errorf("a symbolic link leads it to %q", path.Join("/", m.at))
	case !utf8.ValidString(m.at) || strings.ContainsFunc(m.at, unicode.IsControl):
		return fmt.Errorf("a symbolic link leads it to %q, which has a control character or is no text of UTF-8", path.Join("/", m.at))
	case len(m.entry()) > maxEntry:
		return errors.New("its names are too long for LXC")
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%q is no directory", path.Join("/", m.at))
	}
	return nil
}

// within reports whether a clean path is another one or below it.
func within(p, dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }

// maxEntry is the length of an entry that LXC reads as a whole, in bytes: its buffer has 4096 with the line feed and the zero.
const maxEntry = 4094

// blanks are what a field of fstab(5) has in octal numbers.
var blanks = strings.NewReplacer(`\`, `\134`, " ", `\040`, "\t", `\011`, "\n", `\012`)

// entry is the mount for LXC. It is nosuid and nodev because its source is, by [tameVolumes]: LXC passes over what is asked of a bind mount beyond that. As a private one it is told nothing
// of what is mounted on the device.
func (m mount) entry() string {
	return blanks.Replace(m.source) + " " + blanks.Replace(m.at) + " none bind,nosuid,nodev,private 0 0"
}

// pointsName is the file of a generation with the mount points that were made for volumes.
const pointsName = "points.json"

// points is points.json: the directories of a root file system that are there only because volumes are mounted on or below them, those above first.
type points struct {
	Format      int      `json:"format"`
	Directories []string `json:"directories"` // relative to the root
}

// makePoints makes the mount points that are missing in a generation, once it has taken away those of the run before: the root file system is what the image and
// the container made of it. Nothing runs in it meanwhile.
func makePoints(dir string, mounts []mount) error {
	root, err := os.OpenRoot(filepath.Join(dir, rootfsName))
	if err != nil {
		return fmt.Errorf("cannot make mount points: %w", err)
	}
	defer root.Close()
	if err := takePoints(dir, root); err != nil {
		return err
	}
	var p points
	for _, m := range mounts {
		for _, at := range prefixes(m.at) {
			if _, err := root.Lstat(at); errors.Is(err, fs.ErrNotExist) && !slices.Contains(p.Directories, at) {
				p.Directories = append(p.Directories, at)
			}
		}
	}
	if len(p.Directories) == 0 {
		return nil
	}
	// Before they are made: whoever goes on later knows of all.
	p.Format = format
	if err := writeJSON(filepath.Join(dir, pointsName), p); err != nil {
		return err
	}
	if err := makeDirs(root.Name(), p.Directories...); err != nil {
		return full("cannot make mount points", err)
	}
	return nil
}

// takePoints removes the mount points of the run before. One that is not an empty directory any more is the container's own.
func takePoints(dir string, root *os.Root) error {
	var p points
	err := readJSON(filepath.Join(dir, pointsName), &p)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot read the mount points of the run before: %w", err)
	}
	for _, at := range slices.Backward(p.Directories) {
		if now, err := rootfs.Resolve(root.Name(), at); err != nil || now != at {
			continue // the container has put something else in its place
		}
		if entries, err := fs.ReadDir(root.FS(), at); err != nil || len(entries) > 0 {
			continue
		}
		if err := root.Remove(at); err != nil {
			return fmt.Errorf("cannot remove the mount points of the run before: %w", err)
		}
	}
	return removeIfThere(filepath.Join(dir, pointsName))
}

// prefixes are the directories above a clean relative path, the highest first, and the path.
func prefixes(p string) []string {
	var all []string
	for i, c := range p {
		if c == '/' {
			all = append(all, p[:i])
		}
	}
	return append(all, p)
}
