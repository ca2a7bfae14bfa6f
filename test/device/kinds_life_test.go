package device

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/test/support"
)

// install installs a program and returns its unit.
func (d *Device) install(k kind, p program) support.Unit {
	d.t.Helper()
	return d.InstallWith(d.packed(k, p), client.InstallOptions{ExecEnv: k.env})
}

// processes are those of the device that run a program.
func (d *Device) processes(p program) []string {
	d.t.Helper()
	out, err := d.Machine.Try(d.t.Context(), "pgrep", "-f", "^/bin/sh "+p.file()+"$")
	if err != nil && strings.TrimSpace(out) != "" {
		d.t.Fatalf("pgrep: %v: %s", err, out)
	}
	return strings.Fields(out)
}

// process is the one that runs a program.
func (d *Device) process(p program) (pid string) {
	d.t.Helper()
	support.Until(d.t, p.name+" has a process", func() error {
		all := d.processes(p)
		if len(all) != 1 {
			return fmt.Errorf("it has %v", all)
		}
		pid = all[0]
		return nil
	})
	return pid
}

// runs waits until a unit and its program are as they should be: in the rows, for the environment's own tools, and among the processes. With
// codes the unit has one of them for a fault.
func (d *Device) runs(when string, k kind, u support.Unit, p program, want bool, codes ...string) support.Unit {
	d.t.Helper()
	status, n := "Idle", 0
	if want {
		status, n = "Active", 1
	}
	var now support.Unit
	support.Until(d.t, fmt.Sprintf("%s: it is %s %v", when, status, codes), func() error {
		now = d.Unit(u.Object)
		state, processes := k.state(d, now), d.processes(p)
		if now.EU.Status != status || (state == "active") != want || len(processes) != n ||
			want && !strings.Contains(fmt.Sprint(now.EU.PIDs), processes[0]) || len(codes) > 0 && !slices.Contains(codes, now.EU.FaultCode) {
			return fmt.Errorf("%s has the processes %v; its environment says %q, the processes of the device are %v", now, now.EU.PIDs, state, processes)
		}
		return nil
	})
	return now
}

// env returns the environment of a kind.
func (d *Device) env(k kind) *client.ExecEnv {
	d.t.Helper()
	for _, e := range d.Tree().ExecEnvs {
		if e.ID == k.env {
			return e
		}
	}
	d.t.Fatalf("there is no environment %s", k.env)
	return nil
}

// remove uninstalls a unit.
func (d *Device) remove(u support.Unit) {
	d.t.Helper()
	d.Done(d.Client.Uninstall(d.t.Context(), u.Object))
}

// left are the files that an environment has of units.
func (d *Device) left(k kind) string {
	d.t.Helper()
	return d.sh("find " + stateDir + "/env/" + k.env + " /etc/systemd/system.attached /run/systemd/system.attached /etc/portables /run/portables 2>/dev/null -not -type d | sort || true")
}

// TestKinds is about environments of systemd and of LXC on one device, in groups that follow each other.
func TestKinds(t *testing.T) {
	d := boot(t, Options{Config: bothKinds(1)})
	d.Up()
	for _, g := range []struct {
		name string
		f    func(*testing.T, *Device, kind)
	}{
		{"life", testLife}, {"levels", testLevels}, {"faults", testFaults}, {"behind", testBehind}, {"together", testTogether}, {"reset", testReset},
	} {
		t.Run(g.name, func(t *testing.T) { each(t, d, g.f) })
	}
}

// testLife follows one unit from its installation to its end, in the rows and in the environment.
func testLife(t *testing.T, d *Device, k kind) {
	before := d.left(k)
	v1, v2 := program{name: "life", version: "1.0"}, program{name: "life", version: "2.0"}
	u := d.install(k, v1)
	equal(t, "the unit", fmt.Sprint(u.Name, " ", u.Version, " ", u.Vendor, " ", u.Status, " ", u.Resolved), "life 1.0 Example Installed true")
	equal(t, "its URL", u.URL, d.Files.URL+"/"+k.adapter+"/life-1.0.tar")
	equal(t, "its EUID", u.EU.EUID, k.env+"/"+u.UUID)
	equal(t, "AutoStart and RunLevel", fmt.Sprint(u.EU.AutoStart, u.EU.RunLevel), "true 1")
	d.runs("installed", k, u, v1, true)
	if !k.listed(d, u) {
		t.Error("the environment does not list it")
	}
	d.Done(d.Client.Stop(t.Context(), u.EU.Object))
	u = d.runs("stopped", k, u, v1, false, "NoFault")
	d.Done(d.Client.Start(t.Context(), u.EU.Object))
	pids := d.runs("started", k, u, v1, true).EU.PIDs
	d.Done(d.Client.Restart(t.Context(), u.EU.Object))
	if again := d.runs("restarted", k, u, v1, true).EU.PIDs; fmt.Sprint(again) == fmt.Sprint(pids) {
		t.Errorf("after a restart the processes are still %v", pids)
	}
	update := func(p program) {
		t.Helper()
		d.Done(d.Client.Update(t.Context(), u.Object, client.UpdateOptions{URL: d.packed(k, p)}))
	}
	update(v2)
	now := d.runs("updated", k, u, v2, true)
	equal(t, "the unit after an update", fmt.Sprint(now.Object, now.UUID, now.Alias, now.Version, now.EU.Object, now.EU.EUID),
		fmt.Sprint(u.Object, u.UUID, u.Alias, "2.0", u.EU.Object, u.EU.EUID))
	equal(t, "the processes of before", len(d.processes(v1)), 0)
	d.Done(d.Client.Stop(t.Context(), u.EU.Object))
	update(v1)
	d.runs("updated while it was stopped", k, u, v1, false)
	d.set(u.EU.Object, "AutoStart", false)
	d.Done(d.Client.Start(t.Context(), u.EU.Object))
	d.runs("started", k, u, v1, true)
	d.Done(d.Client.RestartExecEnv(t.Context(), d.env(k).Object, "a test"))
	d.Up()
	d.runs("after a restart of the environment, without AutoStart", k, u, v1, false)
	d.set(u.EU.Object, "AutoStart", true)
	d.set(d.env(k).Object, "Enable", false)
	d.Until("the environment is off", func(tree *client.Tree) error { return off(tree.ExecEnv(d.env(k).Object)) })
	d.runs("off", k, u, v1, false, "UnStartable")
	d.set(d.env(k).Object, "Enable", true)
	d.Up()
	d.runs("after Enable, with AutoStart", k, u, v1, true)
	d.remove(u)
	equal(t, "the processes of what was removed", len(d.processes(v1)), 0)
	equal(t, "the units", len(d.rows(k)), 0)
	if k.listed(d, u) {
		t.Error("the environment still lists it")
	}
	equal(t, "what is left of it", d.left(k), before)
}

func off(e *client.ExecEnv) error {
	if e.Status != "Disabled" {
		return fmt.Errorf("it is %s", e.Status)
	}
	return nil
}
