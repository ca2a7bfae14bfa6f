package systemd

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	manager "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// rawSuffix is how portabled knows an image that is a file.
const rawSuffix = ".raw"

// inspectRaw lets portabled read os-release and the unit files of an image, and the manager look for mount points. The agent's service may
// not mount anything itself, and whether this device's kernel can mount an image, only its kernel can say.
func (e *env) inspectRaw(ctx context.Context, file string, f form) (content, error) {
	l, err := e.link(ctx)
	if err != nil {
		return content{}, err
	}
	dir, err := e.lookDir()
	if err != nil {
		return content{}, err
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			e.log.Warn("what is left of a look at a package cannot be removed", "err", err)
		}
	}()
	name := filepath.Join(dir, "image"+rawSuffix) // the package's own name may have any suffix
	if err := os.Symlink(file, name); err != nil {
		return content{}, fmt.Errorf("cannot read the package: %w", err)
	}
	c, err := readRaw(ctx, l, name)
	if err != nil || !f.readOnly() {
		return c, err
	}
	return c, l.checkMountPoints(ctx, e.lookUnits(), name, filepath.Join(dir, "mount"), mountPoints(c))
}

// lookDir makes a directory for one look at a package.
func (e *env) lookDir() (string, error) {
	parent := filepath.Join(e.store.dir, "look")
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return "", fmt.Errorf("cannot read the package: %w", err)
	}
	dir, err := os.MkdirTemp(parent, "")
	if err != nil {
		return "", fmt.Errorf("cannot read the package: %w", err)
	}
	return dir, nil
}

// readRaw reads an image. Which of its units belong to it, its os-release says, so portabled is asked for all.
func readRaw(ctx context.Context, l *link, image string) (content, error) {
	release, units, err := l.metadata(ctx, image)
	if err != nil {
		return content{}, notAnImage(ctx, err)
	}
	return contentOf(release, units)
}

// notAnImage classifies what portabled says of an image that it does not take.
func notAnImage(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("cannot inspect the package: %w", ctx.Err())
	case says(err, "lacks os-release"), says(err, "matching unit files"):
		return &adapter.Error{Reason: adapter.Mismatch, Message: "cannot use the package: it is no portable service image: " + err.Error(), Cause: err.Error()}
	case errorName(err) == "org.freedesktop.DBus.Error.ServiceUnknown", !isPeer(err):
		return explain("inspect the package", err)
	case says(err, "No such file or directory"):
		return noLoop(err)
	}
	return &adapter.Error{Reason: adapter.Corrupt, Message: "cannot use the package: its file system cannot be read: " + err.Error(), Cause: err.Error()}
}

// isPeer reports whether err is an answer, and no failure to get one.
func isPeer(err error) bool { return errorName(err) != "" }

// basicMountPoints are those that every profile of portabled needs (service.conf of the profiles, and MountAPIVFS and PrivateTmp in systemd.exec(5)).
var basicMountPoints = []string{"proc", "sys", "dev", "run", "tmp", "var/tmp", "etc/machine-id", "etc/resolv.conf"}

// mountPoints are what an image must have, because it cannot be made in one that is read-only.
func mountPoints(c content) []string {
	points := slices.Clone(basicMountPoints)
	for _, dirs := range c.States {
		for _, d := range dirs {
			points = append(points, strings.TrimPrefix(d, "/"))
		}
	}
	slices.Sort(points)
	return slices.Compact(points)
}

// lookUnits is the pattern of the names of the units that look into images for the environment.
func (e *env) lookUnits() string { return "smmd-look-" + escaped(e.id) + "-*.service" }

// checkMountPoints says which of the points are missing in an image. A unit with a name of the pattern, which starts nothing of the image, has it mounted at
// the directory where, and looks. A unit of a real start would fail late, with a status that names none of them.
func (l *link) checkMountPoints(ctx context.Context, name, image, where string, points []string) error {
	test, err := exec.LookPath("test")
	if err != nil {
		return fmt.Errorf("cannot look into the package: %w", err)
	}
	if err := os.Mkdir(where, 0o700); err != nil {
		return fmt.Errorf("cannot look into the package: %w", err)
	}
	var commands []execCommand
	for _, p := range points {
		at := filepath.Join(where, p)
		commands = append(commands, execCommand{test, []string{test, "-e", at, "-o", "-L", at}, true})
	}
	unit := strings.Replace(name, "*", strings.ToLower(rand.Text()), 1)
	defer l.endLook(unit) // also when the answer to what begins it does not come
	done := make(chan string, 1)
	_, err = l.units.StartTransientUnitContext(ctx, unit, "fail", []manager.Property{
		manager.PropDescription("smmd looks into an image"),
		manager.PropType("oneshot"),
		manager.PropRemainAfterExit(true), // or what came of the commands would be gone
		{Name: "MountImages", Value: dbus.MakeVariant([]mountImage{{Source: image, Where: where, Options: []mountOption{}}})},
		{Name: "ExecStart", Value: dbus.MakeVariant(commands)},
	}, done)
	if err != nil {
		return explain("look into the package", err)
	}
	select {
	case result := <-done:
		if result != "done" {
			return adapter.Errorf(adapter.Corrupt, "cannot use the package: its file system cannot be mounted (%s)", result)
		}
	case <-ctx.Done():
		return fmt.Errorf("cannot look into the package: %w", ctx.Err())
	case <-l.life.Done():
		return adapter.Errorf(adapter.Unavailable, "cannot look into the package: the system bus is lost")
	}
	var ran []commandRun
	v, err := l.property(ctx, unitPath(unit), "Service", "ExecStart")
	if err == nil {
		err = v.Store(&ran)
	}
	if err != nil {
		return explain("look into the package", err)
	}
	if len(ran) != len(points) {
		return fmt.Errorf("cannot look into the package: %d of %d looks were made", len(ran), len(points))
	}
	var missing []string
	for i, r := range ran {
		if name := exitNames[r.Status]; r.Code == exited && name != "" { // of systemd, before it ran the command
			return adapter.Errorf(adapter.Corrupt, "cannot use the package: its file system cannot be mounted (status %d, %s)", r.Status, name)
		}
		if r.Code != exited || r.Status != 0 {
			missing = append(missing, "/"+points[i])
		}
	}
	if len(missing) > 0 {
		return adapter.Errorf(adapter.Corrupt,
			"cannot use the package: its file system is read-only and lacks %s, where something has to be mounted when a service starts: add empty directories and files", strings.Join(missing, ", "))
	}
	return nil
}

// endLook removes the unit of a look. What it leaves, since the bus is lost, is swept with the next connection.
func (l *link) endLook(unit string) {
	ctx, cancel := context.WithTimeout(l.life, lookEnd)
	defer cancel()
	done := make(chan string, 1)
	if _, err := l.units.StopUnitContext(ctx, unit, "replace", done); err != nil {
		return // it is gone, or the bus is
	}
	select {
	case <-done:
	case <-ctx.Done():
	}
	l.clearFailure(ctx, unit) // with which it would be kept
}

// sweepLooks removes units of looks that nobody waits for any more: those of a connection or an adapter that was lost.
func (l *link) sweepLooks(name string) error {
	ctx, cancel := context.WithTimeout(l.life, lookEnd)
	defer cancel()
	left, err := l.units.ListUnitsByPatternsContext(ctx, nil, []string{name})
	if err != nil {
		return explain("list the units "+name, err)
	}
	for _, u := range left {
		l.endLook(u.Name)
	}
	return nil
}

// The types of properties on the bus (org.freedesktop.systemd1(5)).
type (
	execCommand struct {
		Path        string
		Args        []string
		UncleanIsOK bool
	}
	mountOption struct{ Partition, Options string }
	mountImage  struct {
		Source, Where string
		IgnoreMissing bool
		Options       []mountOption
	}
	commandRun struct {
		Path                                   string
		Args                                   []string
		UncleanIsOK                            bool
		Started, StartedMono, Ended, EndedMono uint64
		PID                                    uint32
		Code, Status                           int32
	}
)
