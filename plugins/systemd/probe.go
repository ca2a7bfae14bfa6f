package systemd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	manager "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"

	"github.com/smmd-project/smmd/plugins/adapter"
)

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

// probes is the pattern of the names of the environment's probes: units that look into images.
func (e *env) probes() string { return "smmd-probe-" + escaped(e.id) + "-*.service" }

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
	defer l.endProbe(unit) // also when the answer to what begins it does not come
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
		return fmt.Errorf("cannot look into the package: %d of %d commands of the probe ran", len(ran), len(points))
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

// endProbe removes a probe. What it leaves, since the bus is lost, is swept with the next connection.
func (l *link) endProbe(unit string) {
	ctx, cancel := context.WithTimeout(l.life, shortTime)
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

// sweepProbes removes probes that nobody waits for any more: those of a connection or an adapter that was lost.
func (l *link) sweepProbes(name string) error {
	ctx, cancel := context.WithTimeout(l.life, shortTime)
	defer cancel()
	left, err := l.units.ListUnitsByPatternsContext(ctx, nil, []string{name})
	if err != nil {
		return explain("list the units "+name, err)
	}
	for _, u := range left {
		l.endProbe(u.Name)
	}
	return nil
}

// sweepInspections removes directories for packages that an adapter was reading that was killed. It runs before this one reads its first.
func (e *env) sweepInspections() {
	dir := filepath.Join(e.store.dir, inspections)
	left, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	for _, x := range left {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, x.Name())))
	}
	if err != nil {
		e.log.Warn("what is left of reading a package cannot be removed", "err", err)
	}
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
