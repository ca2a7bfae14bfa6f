package systemd

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// keeper is a unit that runs and has data.
func keeper(t *testing.T, d *device) adapter.ModuleRef {
	t.Helper()
	p := newImage("keep", "1").service("keep.service", "echo it >> $$STATE_DIRECTORY/seen; "+sleeps, "StateDirectory=keep\nType=exec\n").pkg(t)
	d.install(home, "keep", p)
	m := ref(home, "keep", "keep.service")
	d.must(d.start(m))
	d.status(m, adapter.Active)
	return m
}

// TestFailedUninstallLeavesTheUnit: one whose image cannot be detached stays as it is, with its data, also for later adapters.
func TestFailedUninstallLeavesTheUnit(t *testing.T) {
	envs := map[string]map[string]any{home: {"stop_timeout": "5s"}}
	d := newDevice(t, envs)
	m := keeper(t, d)
	systemctl(t, "mask", "--runtime", "--now", "systemd-portabled.service", "dbus-org.freedesktop.portable1.service")
	t.Cleanup(func() {
		systemctl(t, "unmask", "--runtime", "systemd-portabled.service", "dbus-org.freedesktop.portable1.service")
	})
	stays := func(when string) {
		t.Helper()
		r, err := d.s.envs[home].store.load("keep")
		d.must(err)
		if all, _ := attached(r.Current); r.State != installed || !all {
			t.Fatalf("%s it is %s, attached %v", when, r.State, all)
		}
		if _, err := os.Stat("/var/lib/keep/seen"); err != nil {
			t.Errorf("%s its data are gone: %v", when, err)
		}
		d.status(m, adapter.Idle)
		d.must(d.start(m))
		d.status(m, adapter.Active)
	}
	for range 2 {
		if result, err := d.s.Uninstall(t.Context(), d.op(), m.UnitRef); err == nil {
			t.Fatalf("without portabled an uninstall succeeds: %+v", result)
		}
		stays("after an uninstall that failed")
	}
	systemctl(t, "unmask", "--runtime", "systemd-portabled.service", "dbus-org.freedesktop.portable1.service")
	d.must(d.stop(m))
	kill(t, d.s)
	d.open(envs)
	stays("after another adapter has come")
	d.must(d.s.SetEnabled(t.Context(), d.op(), home, false, nil))
	d.must(d.s.SetEnabled(t.Context(), d.op(), home, true, nil))
	d.await("the launch", func() bool { return d.envs[home].Up })
	stays("after a launch")
}

// TestUninstallKilledBeforeTheImageIsOff: nothing of it was told to anybody, so nothing comes of it.
func TestUninstallKilledBeforeTheImageIsOff(t *testing.T) {
	envs := map[string]map[string]any{home: {"stop_timeout": "5s"}}
	d := newDevice(t, envs)
	m := keeper(t, d)
	e := d.s.envs[home]
	r, err := e.store.load("keep")
	d.must(err)
	r.State = uninstalling
	d.must(e.store.save(r))
	d.must(d.stop(m))
	run(t, "portablectl", "detach", "--runtime", r.Current.Image)
	kill(t, d.s)
	d.open(envs)
	d.status(m, adapter.Idle)
	d.must(d.start(m))
	d.status(m, adapter.Active)
}

// TestUninstallThatCannotRemoveAll has no way back: what is left goes later.
func TestUninstallThatCannotRemoveAll(t *testing.T) {
	d := one(t, nil)
	m := keeper(t, d)
	e := d.s.envs[home]
	r, err := e.store.load("keep")
	d.must(err)
	busy := filepath.Join(e.store.image(r.Current.Image), "tmp")
	run(t, "mount", "-t", "tmpfs", "tmpfs", busy)
	result, err := d.s.Uninstall(t.Context(), d.op(), m.UnitRef)
	if err != nil || !result.Pending {
		t.Errorf("an uninstall that cannot remove the image: %+v, %v", result, err)
	}
	if _, err := os.Stat("/var/lib/keep"); !os.IsNotExist(err) {
		t.Errorf("its data are left: %v", err)
	}
	d.await("the uninstall", func() bool { _, there := d.seen[home]["keep"]; return !there })
	reasonIs(t, "start of what is uninstalled", d.start(m), adapter.NotFound)
	run(t, "umount", busy)
	d.must(d.s.SetEnabled(t.Context(), d.op(), home, false, nil))
	d.must(d.s.SetEnabled(t.Context(), d.op(), home, true, nil))
	for _, pattern := range []string{"/run/systemd/*/keep*", "/run/portables/*", "/var/lib/keep", "/var/lib/private/keep", d.data + "/*/images/*", d.data + "/*/units/*"} {
		if found, err := filepath.Glob(pattern); err != nil || len(found) > 0 {
			t.Errorf("left are %v, %v", found, err)
		}
	}
}
