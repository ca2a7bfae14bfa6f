package systemd

import (
	"os"
	"strings"
	"testing"

	"github.com/smmd-project/smmd/plugins/adapter"
	"github.com/smmd-project/smmd/test/machine"
)

// TestPermanentUnits: units of the device itself are started and stopped, and nothing else.
func TestPermanentUnits(t *testing.T) {
	machine.RequireInside(t)
	const name = "of-the-device.service"
	unit := "/run/systemd/system/" + name
	if err := os.WriteFile(unit, []byte("[Unit]\nDescription=Of the device\n[Service]\nExecStart=/bin/busybox sleep 100000\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(unit); err != nil {
			t.Error(err)
		}
		systemctl(t, "daemon-reload")
	})
	systemctl(t, "daemon-reload")
	d := one(t, map[string]any{"units": []string{name, "not-there.timer"}})
	m := ref(home, name, name)
	x := d.status(m, adapter.Idle)
	u := d.seen[home][name]
	if !u.Permanent || !u.Resolved || u.Manifest.Name != name || u.Manifest.Version == "" || u.Manifest.Description != "Of the device" || x.Reason != "" {
		t.Errorf("%+v", u)
	}
	d.must(d.start(m))
	d.status(m, adapter.Active)
	if group := show(t, name, "ControlGroup"); strings.Contains(group, "smmd") {
		t.Errorf("it is in %s", group)
	}
	p := newImage("of", "1").service("of.service", sleeps, "").pkg(t)
	_, err := d.s.Install(t.Context(), d.op(), adapter.InstallSpec{Env: home, Key: name, Package: p, RunLevel: -1})
	reasonIs(t, "Install", err, adapter.Exists)
	_, err = d.s.Update(t.Context(), d.op(), m.UnitRef, p, p)
	reasonIs(t, "Update", err, adapter.NotSupported)
	_, err = d.s.Revert(t.Context(), d.op(), m.UnitRef, p)
	reasonIs(t, "Revert", err, adapter.NotSupported)
	_, err = d.s.Uninstall(t.Context(), d.op(), m.UnitRef)
	reasonIs(t, "Uninstall", err, adapter.NotSupported)
	reasonIs(t, "Start of another module", d.start(ref(home, name, "other.service")), adapter.NotFound)

	// One that the device does not have is shown, and says so.
	gone := d.until(ref(home, "not-there.timer", "not-there.timer"), "told", func(adapter.Module) bool { return true })
	if gone.Reason != adapter.Unstartable || d.seen[home]["not-there.timer"].Resolved {
		t.Errorf("%+v", gone)
	}
	reasonIs(t, "start of what is not there", d.start(ref(home, "not-there.timer", "not-there.timer")), adapter.Unstartable)

	// It ends with the environment, and stays where it is.
	d.must(d.s.SetEnabled(t.Context(), d.op(), home, false, nil))
	if got := show(t, name, "ActiveState"); got != "inactive" {
		t.Errorf("after the end of the environment it is %s", got)
	}
	if _, err := os.Stat(unit + ".d"); err == nil {
		t.Error("it has a drop-in")
	}
}
