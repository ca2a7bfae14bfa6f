package lxc

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/smmd-project/smmd/plugins/adapter"
)

const launchName = "launch"

// launch is the file launch: it says that the environment was launched, and is void after the next boot of the device.
type launch struct {
	Format int    `json:"format"`
	Boot   string `json:"boot"`
	Launch string `json:"launch"`
}

// bootID names the present boot of the device: by the boot id of the kernel, and by when process 1 began, as a device that is a container on another
// one has that one's boot id.
func bootID() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("cannot tell the boots of the device apart: %w", err)
	}
	stat, err := os.ReadFile("/proc/1/stat")
	if err != nil {
		return "", fmt.Errorf("cannot tell the boots of the device apart: %w", err)
	}
	// proc(5): after the name, which may hold anything, come the fields from the third on; starttime is the 22nd.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 {
		return "", fmt.Errorf("cannot tell the boots of the device apart: /proc/1/stat is %q", stat)
	}
	return strings.TrimSpace(string(id)) + "." + fields[19], nil
}

// launched returns the present launch of the environment, empty when it is not up.
func (e *env) launched() string {
	var l launch
	if err := readJSON(filepath.Join(e.store.dir, launchName), &l); err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			e.log.Warn("the launch of the environment cannot be read", "err", err)
		}
		return ""
	}
	if boot, err := bootID(); err != nil || l.Boot != boot {
		return ""
	}
	return l.Launch
}

// check returns why the environment cannot be launched on this device as it is configured.
func (e *env) check() error {
	programs := needed
	if e.set.subIDs.count > 0 {
		programs = slices.Concat(programs, mountPrograms)
	}
	for _, name := range programs {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Errorf("%s is not installed", name)
		}
	}
	if e.set.bridge != "" {
		if _, err := os.Stat(filepath.Join("/sys/class/net", e.set.bridge)); err != nil {
			return fmt.Errorf("there is no network interface %q (bridge)", e.set.bridge)
		}
	}
	if _, err := os.Stat(e.set.seccomp); err != nil && e.set.seccompSet {
		return fmt.Errorf("the profile %q cannot be read (seccomp): %w", e.set.seccomp, err)
	}
	return checkSubIDs(e.set.subIDs)
}

// checkSubIDs checks that root may use the range where LXC has newuidmap do the work: it keeps to /etc/subuid, for root too.
func checkSubIDs(ids idRange) error {
	if ids.count == 0 {
		return nil
	}
	for program, file := range map[string]string{"newuidmap": "/etc/subuid", "newgidmap": "/etc/subgid"} {
		if _, err := exec.LookPath(program); err != nil {
			continue
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("%s is needed (sub_ids): %w", file, err)
		}
		if !grants(string(data), ids) {
			return fmt.Errorf("%s has no line that gives root the ids %d to %d, such as \"root:%d:%d\" (sub_ids)",
				file, ids.first, ids.first+ids.count-1, ids.first, ids.count)
		}
	}
	return nil
}

// grants reports whether a file such as /etc/subuid gives root a range (subuid(5)).
func grants(table string, ids idRange) bool {
	for line := range strings.Lines(table) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) != 3 || f[0] != "root" && f[0] != "0" {
			continue
		}
		first, err1 := strconv.ParseUint(f[1], 10, 32)
		count, err2 := strconv.ParseUint(f[2], 10, 32)
		if err1 == nil && err2 == nil && first <= uint64(ids.first) && uint64(ids.first)+uint64(ids.count) <= first+count {
			return true
		}
	}
	return false
}

// enable launches the environment unless it is up.
func (e *env) enable(ctx context.Context) error {
	done, err := e.takeTurn(ctx)
	if err != nil {
		return fmt.Errorf("cannot launch environment %q: %w", e.id, err)
	}
	defer done()
	defer e.wakeWatcher() // there is something new to tell, also about a launch that failed
	if e.launched() != "" {
		e.setDown("", false)
		return nil
	}
	if err := e.check(); err != nil {
		e.setDown(err.Error(), false)
		return adapter.Errorf(adapter.Unstartable, "cannot launch environment %q: %v", e.id, err)
	}
	e.sweep()
	if err := errors.Join(e.store.make(), e.store.writeScripts()); err != nil {
		return fmt.Errorf("cannot launch environment %q: %w", e.id, err)
	}
	// Containers that run although the environment is not up are left of one that was lost.
	if err := e.stopAll(ctx); err != nil {
		return fmt.Errorf("cannot launch environment %q: %w", e.id, err)
	}
	e.warnOfLimits()
	boot, err := bootID()
	if err != nil {
		return fmt.Errorf("cannot launch environment %q: %w", e.id, err)
	}
	err = writeJSON(filepath.Join(e.store.dir, launchName), launch{Format: format, Boot: boot, Launch: rand.Text()})
	if err != nil {
		return fmt.Errorf("cannot launch environment %q: %w", e.id, err)
	}
	e.setDown("", false)
	return nil
}

func (e *env) warnOfLimits() {
	groups, err := readCgroups(e.cgroupView)
	if err != nil {
		e.log.Warn("control groups cannot be used", "err", err)
		return
	}
	for _, name := range missingLimits(e.set, groups) {
		e.log.Warn("a limit of the containers is not kept: the device has no control group for it that can be written", "limit", name)
	}
	if groups.devices() == 0 {
		e.log.Warn("access to devices is not restricted by a control group: the device has none for it that can be written")
	}
}

// disable ends all containers and then the environment.
func (e *env) disable(ctx context.Context) error {
	done, err := e.takeTurn(ctx)
	if err != nil {
		return fmt.Errorf("cannot end environment %q: %w", e.id, err)
	}
	defer done()
	defer e.wakeWatcher()
	up := e.launched() != ""
	if !up {
		return nil
	}
	e.setDown("it was ended on request", true)
	if err := e.stopAll(ctx); err != nil {
		e.setDown("", false)
		if ctx.Err() != nil {
			return fmt.Errorf("cannot end environment %q: %w", e.id, ctx.Err())
		}
		return adapter.Errorf(adapter.StopFailed, "cannot end environment %q: %v", e.id, err)
	}
	if err := removeIfThere(filepath.Join(e.store.dir, launchName)); err != nil {
		e.setDown("", false)
		return fmt.Errorf("cannot end environment %q: %w", e.id, err)
	}
	return syncDir(e.store.dir)
}
