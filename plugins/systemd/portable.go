package systemd

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/godbus/dbus/v5"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// Where portabled puts the unit files of images that were attached until the next reboot, and for good (portablectl(1), attach).
var attachedDirs = []string{"/run/systemd/system.attached", "/etc/systemd/system.attached"}

func (l *link) portable(ctx context.Context, method string, args ...any) *dbus.Call {
	return l.bus.Object(portableName, portablePath).CallWithContext(ctx, portableName+".Manager."+method, 0, args...)
}

// metadata returns os-release and all unit files of an image.
func (l *link) metadata(ctx context.Context, image string) (release []byte, units map[string][]byte, err error) {
	var path string
	err = l.portable(ctx, "GetImageMetadata", image, []string{}).Store(&path, &release, &units)
	return release, units, err
}

// attach makes the units of an image known until the next reboot. The manager has to be reloaded after it. There is always a prefix: without one
// portabled takes every unit of the image.
func (l *link) attach(ctx context.Context, image string, prefixes []string, profile string) error {
	err := l.portable(ctx, "AttachImage", image, prefixes, profile, true, "").Err
	switch {
	case err == nil:
		return nil
	case errorName(err) == "org.freedesktop.systemd1.UnitExists" || says(err, "exists on the host already"):
		return &adapter.Error{Reason: adapter.Exists, Message: "cannot attach the image: " + err.Error() + "; two units of one name cannot be on a device", Cause: err.Error()}
	case says(err, "No such file or directory") && strings.HasSuffix(image, rawSuffix):
		return noLoop(err)
	}
	return explain("attach image "+filepath.Base(image), err)
}

// noLoop explains what portabled says of an image that it cannot mount.
func noLoop(err error) error {
	if _, statErr := os.Stat("/dev/loop-control"); errors.Is(statErr, fs.ErrNotExist) {
		return &adapter.Error{Reason: adapter.NoResources, Message: "cannot use a .raw image: the device has no loop devices (/dev/loop-control)", Cause: err.Error()}
	}
	return explain("read the image", err)
}

// detach takes back an attach. What is not attached is no error.
func (l *link) detach(ctx context.Context, image string) error {
	err := l.portable(ctx, "DetachImage", image, true).Err
	if err == nil || errorName(err) == "org.freedesktop.systemd1.NoSuchUnit" {
		return nil
	}
	return explain("detach image "+filepath.Base(image), err)
}

// attachedFrom reports whether portabled's file of the unit is there, and made for the image of this name.
func attachedFrom(unit, image string) bool {
	for _, dir := range attachedDirs {
		data, err := os.ReadFile(filepath.Join(dir, unit+".d", "20-portable.conf"))
		if err != nil || !strings.Contains(string(data), "/"+image+"'") {
			continue
		}
		if _, err := os.Stat(filepath.Join(dir, unit)); err == nil {
			return true
		}
	}
	return false
}

// attached reports whether all units of a generation are attached, or any.
func attached(g generation) (all, some bool) {
	all = true
	for _, u := range g.Units {
		if attachedFrom(u, g.Image) {
			some = true
		} else {
			all = false
		}
	}
	return all, some
}

// ensure makes a generation attached and bound to the slice. It reports whether the manager has to be reloaded. The drop-ins come last: should the device have a
// unit of that name, portabled refuses, and the device's unit is not bound to anything.
func (e *env) ensure(ctx context.Context, l *link, r *record, g generation) (changed bool, err error) {
	if all, some := attached(g); !all {
		changed = true
		if some { // half of an attach, or somebody has taken away files
			if err := l.detach(ctx, e.store.image(g.Image)); err != nil {
				return changed, err
			}
		}
		if err := e.attachOwn(ctx, l, g); err != nil {
			return changed, err
		}
	}
	did, err := e.writeDropIns(r, g)
	return changed || did, err
}

// attachOwn attaches a generation. Portabled may still be at work on that for a process before this one, which was ended meanwhile: then the units are in the way that are wanted.
func (e *env) attachOwn(ctx context.Context, l *link, g generation) error {
	err := l.attach(ctx, e.store.image(g.Image), g.Prefixes, e.set.profile)
	if adapter.ReasonOf(err) == adapter.Exists {
		if all, _ := attached(g); all {
			return nil
		}
	}
	return err
}

// writeDropIns writes the drop-ins of a generation, and reports whether the manager has to be reloaded.
func (e *env) writeDropIns(r *record, g generation) (changed bool, err error) {
	errs := []error{e.writeVariables(r)} // before the drop-ins name them
	c, changed, err := e.cover(r, g)
	errs = append(errs, err)
	for _, u := range g.Units {
		did, err := writeRuntime(u+".d/"+dropIn, e.dropInFile(u, r, c))
		changed, errs = changed || did, append(errs, err)
	}
	return changed, errors.Join(errs...)
}

// drop takes a generation out of the manager's sight. Units that keep belongs to stay bound to the slice. It reports whether the manager has to be reloaded.
func (e *env) drop(ctx context.Context, l *link, g generation, keep []string) (changed bool, err error) {
	if changed, err = e.uncover(ctx, l, g); err != nil {
		return changed, err
	}
	if _, some := attached(g); some {
		changed = true
		if err := l.detach(ctx, e.store.image(g.Image)); err != nil {
			return changed, err
		}
	}
	for _, u := range g.Units {
		if slices.Contains(keep, u) {
			continue
		}
		did, err := removeDropIn(u)
		changed = changed || did
		if err != nil {
			return changed, err
		}
	}
	return changed, nil
}
