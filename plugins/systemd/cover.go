package systemd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/coreos/go-systemd/v22/unit"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// A cover lies over an image of a file system: an overlay whose lower layer is the image and whose upper one is in /run. The manager mounts such an image
// read-only, a squashfs always, an ext4 for services whose root is read-only anyway (ProtectSystem=strict, which the profiles of portabled say, all but trusted), and then
// cannot make the directories that the paths of volumes lack. In the cover it can, and the services see a root that is read-only as before. It is
// mounted on the device while one of them runs, because a service can have an overlay as its root in no other way.
type cover struct {
	image string // the file
	form  form
	dir   string
}

// coversDir is where the covers are, for root alone: nobody else is to find the setuid programs of images on the device.
const coversDir = "/run/smmd-covers"

// coverOf is the cover that an image would have.
func (e *env) coverOf(g generation) *cover {
	return &cover{image: e.store.image(g.Image), dir: filepath.Join(coversDir, strings.TrimSuffix(g.Image, rawSuffix))}
}

func (c *cover) lower() string { return filepath.Join(c.dir, "image") }
func (c *cover) upper() string { return filepath.Join(c.dir, "upper") }
func (c *cover) work() string  { return filepath.Join(c.dir, "work") }
func (c *cover) root() string  { return filepath.Join(c.dir, "root") }

// mountUnit is the name of the unit that mounts at a path (systemd.mount(5)).
func mountUnit(path string) string { return unit.UnitNamePathEscape(path) + ".mount" }

// files are the units of a cover. They come and go with the services.
func (c *cover) files() map[string]string {
	file := func(what, where, kind, options, needs string) string {
		return "# Made by smmd.\n[Unit]\nDescription=Image of a deployment unit with volumes\nStopWhenUnneeded=yes\n" + needs +
			"\n[Mount]\nWhat=" + strings.ReplaceAll(what, "%", "%%") + "\nWhere=" + where + "\nType=" + kind + "\nOptions=" + options + "\n"
	}
	kind, options := "squashfs", "ro,nodev,loop"
	if c.form == ext4 {
		kind, options = "ext4", options+",norecovery" // of a journal that is not empty: the image is not to be written
	}
	// Without an index one that still runs with an earlier cover, of which the device knows nothing any more, is no reason to mount none.
	layers := fmt.Sprintf("nodev,index=off,lowerdir=%s,upperdir=%s,workdir=%s", c.lower(), c.upper(), c.work())
	return map[string]string{
		mountUnit(c.lower()): file(c.image, c.lower(), kind, options, ""),
		mountUnit(c.root()):  file("overlay", c.root(), "overlay", layers, "RequiresMountsFor="+c.lower()+"\n"),
	}
}

// dropIn is what a service needs for a cover, in its sections Unit and Service; nothing if it can do without.
func (c *cover) dropIn(service string) (needs, root string) {
	if c == nil || c.form == ext4 && !readOnlyRoot(service) {
		return "", ""
	}
	return "RequiresMountsFor=" + c.root() + "\n", "RootImage=\nRootDirectory=" + c.root() + "\nReadOnlyPaths=+/\n"
}

// readOnlyRoot reports whether the root of a service that is attached is read-only because of its unit file or its profile (systemd.exec(5), ProtectSystem and
// DynamicUser).
func readOnlyRoot(service string) bool {
	files := attachedFiles(service)
	for _, f := range files {
		for _, p := range f[[2]string{"Service", "ReadOnlyPaths"}] {
			if slices.ContainsFunc(strings.Fields(p), func(p string) bool { return strings.TrimLeft(p, "+-") == "/" }) {
				return true
			}
		}
	}
	protect := setting(files, "ProtectSystem")
	return protect == "strict" || (protect == "" || no(protect)) && yes(setting(files, "DynamicUser"))
}

// cover makes what a generation needs so that its services can have the unit's volumes: nil where they can as it is. It reports whether the manager has to
// be reloaded.
func (e *env) cover(r *record, g generation) (c *cover, changed bool, err error) {
	if r.Given == nil || len(r.Given.Volumes) == 0 || filepath.Ext(g.Image) != rawSuffix {
		return nil, false, nil
	}
	c = e.coverOf(g)
	if c.form, err = formOf(c.image); errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil // nothing can be started of a unit whose image is gone
	} else if err != nil {
		return nil, false, err
	}
	for _, dir := range []string{c.lower(), c.root(), c.upper(), c.work()} {
		err = errors.Join(err, os.MkdirAll(dir, 0o700))
	}
	if err = errors.Join(err, os.Chmod(c.upper(), 0o755)); err != nil { // the services' users see it as their root
		return nil, false, fmt.Errorf("cannot make the cover of an image: %w", err)
	}
	for name, text := range c.files() {
		did, fileErr := writeRuntime(name, text)
		changed, err = changed || did, errors.Join(err, fileErr)
	}
	return c, changed, err
}

// uncover removes the cover of a generation that has one and of which nothing runs. It reports whether the manager has to be reloaded.
func (e *env) uncover(ctx context.Context, l *link, g generation) (changed bool, err error) {
	if filepath.Ext(g.Image) != rawSuffix {
		return false, nil
	}
	c := e.coverOf(g)
	if _, err := os.Stat(c.dir); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	for _, path := range []string{c.root(), c.lower()} { // the upper one first
		if _, err := l.stopAll(ctx, []string{mountUnit(path)}, "", shortTime); err != nil {
			return changed, err
		}
		s, err := l.state(ctx, mountUnit(path))
		if err != nil {
			return changed, err
		}
		l.clearFailure(ctx, mountUnit(path)) // with which it would be kept
		if !s.over() {
			return changed, adapter.Errorf(adapter.StillRunning, "cannot unmount %s: it is in use, and %s", path, s.active)
		}
	}
	for name := range c.files() {
		if err := os.Remove(filepath.Join(runtimeDir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return changed, fmt.Errorf("cannot remove the cover of an image: %w", err)
		}
		changed = true
	}
	if err := os.RemoveAll(c.dir); err != nil {
		return changed, fmt.Errorf("cannot remove the cover of an image: %w", err)
	}
	return changed, nil
}
