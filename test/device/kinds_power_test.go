package device

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/test/support"
)

var errSame = errors.New("it is the same")

// agentKilled ends the agent and waits for the next one.
func (d *Device) agentKilled() {
	d.t.Helper()
	agent := d.MainPID("smmd.service")
	d.Machine.Run(d.t, "kill", "-KILL", strconv.Itoa(agent))
	support.Until(d.t, "another agent runs", func() error {
		if pid := d.MainPID("smmd.service"); pid == agent || pid == 0 || d.Show("smmd.service", "ActiveState") != "active" {
			return errSame
		}
		return nil
	})
}

// adapterKilled ends the adapter of a kind and waits for the next one.
func (d *Device) adapterKilled(k kind) {
	d.t.Helper()
	pattern := "^/usr/bin/smmd adapter " + k.adapter + "$"
	adapter := d.pid(pattern)
	d.Machine.Run(d.t, "kill", "-KILL", strconv.Itoa(adapter))
	support.Until(d.t, "another adapter runs", func() error {
		out, err := d.Machine.Try(d.t.Context(), "pgrep", "-f", pattern)
		if err == nil && strings.TrimSpace(out) == strconv.Itoa(adapter) {
			err = errSame
		}
		return err
	})
}

// TestKindsGoOn: units do not notice what becomes of the agent and its adapters, and what happens to them meanwhile is told.
func TestKindsGoOn(t *testing.T) {
	d := boot(t, Options{Config: bothKinds(1)})
	d.Up()
	runs, dies := map[string]program{}, map[string]program{}
	units, doomed, pids := map[string]support.Unit{}, map[string]support.Unit{}, map[string]string{}
	for _, k := range kinds {
		runs[k.env], dies[k.env] = program{name: k.env + "-runs", version: "1"}, program{name: k.env + "-dies", version: "1"}
		units[k.env], doomed[k.env] = d.install(k, runs[k.env]), d.install(k, dies[k.env])
		d.runs("installed", k, units[k.env], runs[k.env], true)
		pids[k.env] = d.process(runs[k.env])
	}
	goesOn := func(when string) {
		t.Helper()
		d.Up()
		for _, k := range kinds {
			now := d.runs(when, k, units[k.env], runs[k.env], true, "NoFault")
			equal(t, when+": "+k.env, identity(now), identity(units[k.env]))
			equal(t, when+": its process", d.process(runs[k.env]), pids[k.env])
		}
	}
	d.agentKilled()
	goesOn("the agent was killed")
	for _, k := range kinds {
		d.adapterKilled(k)
		goesOn("the adapter of " + k.env + " was killed")
	}
	d.Machine.Run(t, "systemctl", "daemon-reexec")
	goesOn("a reload of systemd")
	d.Machine.Run(t, "systemctl", "stop", "smmd.service")
	for _, k := range kinds {
		equal(t, "without an agent", d.process(runs[k.env]), pids[k.env])
		d.Machine.Run(t, "kill", "-KILL", d.process(dies[k.env]))
	}
	d.Machine.Run(t, "systemctl", "start", "smmd.service")
	goesOn("without an agent for a while")
	for _, k := range kinds {
		d.runs("what was killed meanwhile", k, doomed[k.env], dies[k.env], false, "FailureWhileActive")
	}
}

// firmware is a service of the device itself, which its systemd starts.
func firmware(disk *os.Root) error {
	const dir, wants = "etc/systemd/system", "etc/systemd/system/multi-user.target.wants"
	return errors.Join(disk.MkdirAll(wants, 0o755),
		disk.WriteFile(dir+"/firmware.service", []byte("[Unit]\nDescription=Part of the firmware\n[Service]\nExecStart=/bin/sleep 1000000\n[Install]\nWantedBy=multi-user.target\n"), 0o644),
		disk.Symlink("/"+dir+"/firmware.service", wants+"/firmware.service"))
}

// counting is what a program does that has data: it counts its starts, in what stays and in what does not.
const counting = "echo start >>/kept/starts; echo start >>/cache/starts; sync; " + steady

// counted are the volumes of a program that counts.
var counted = []client.VolumeOptions{
	{Name: "kept", Capacity: 1, Retain: client.RetainForever, AccessPath: "/kept"},
	{Name: "cache", Capacity: 1, Retain: client.RetainUntilStopped, AccessPath: "/cache"},
}

// wantStarts waits until the unit of an environment that counts has been started so many times, as the files of the device say.
func (d *Device) wantStarts(when string, k kind, n int) {
	d.t.Helper()
	want := map[string]string{"kept": strings.Repeat("start\n", n), "cache": "start\n"}
	support.Until(d.t, when+": what "+k.env+" have counted", func() error {
		for _, env := range d.Tree().ExecEnvs {
			if env.Name != k.env {
				continue
			}
			if len(env.ApplicationData) != len(want) {
				return fmt.Errorf("it has %+v", env.ApplicationData)
			}
			for _, v := range env.ApplicationData {
				got, err := d.Machine.Try(d.t.Context(), "cat", fmt.Sprintf("%s/data/%s/%d/starts", stateDir, k.env, v.Number))
				if err != nil || got != want[v.Name] {
					return fmt.Errorf("%s has %q, not %q: %v", v.Name, got, want[v.Name], err)
				}
			}
		}
		return nil
	})
}

// TestKindsPower: over a reboot and over a power cut each unit stays who it is and keeps its data, what has AutoStart runs at its level, and nothing else does.
func TestKindsPower(t *testing.T) {
	for _, c := range []struct {
		name  string
		again func(*Device)
		disk  bool
	}{
		{"reboot", (*Device).Reboot, false},
		{"power cut", func(d *Device) { d.PowerCut(); d.Start() }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := bothKinds(5)
			config = strings.Replace(config, "[exec_env.systemd]\n", "[exec_env.systemd]\nunits = [\"firmware.service\"]\n", 1)
			d := boot(t, Options{Forgets: c.disk, Config: config, Prepare: firmware})
			d.Up()
			var own support.Unit
			for _, du := range d.rows(services) {
				own = d.becomes(du.Object, "Active")
			}
			equal(t, "the firmware", fmt.Sprint(own.Status, own.EU.AutoStart), "Installedtrue")
			_, err := d.Client.Uninstall(t.Context(), own.Object)
			var refused *client.Error
			if !errors.As(err, &refused) || refused.CWMP != 9001 {
				t.Errorf("the removal of firmware: %v", err)
			}
			type expected struct {
				k        kind
				p        program
				identity string
				runs     bool
			}
			units := map[dbus.ObjectPath]expected{}
			for _, k := range kinds {
				for i, u := range []struct {
					prep func(u support.Unit)
					runs bool // after the next start of the device
				}{
					{func(u support.Unit) { d.set(u.Object, "Alias", "named-"+k.env) }, true},
					{func(u support.Unit) { d.Done(d.Client.Stop(t.Context(), u.EU.Object)) }, true},
					{func(u support.Unit) { d.set(u.EU.Object, "AutoStart", false) }, false},
					{func(u support.Unit) { d.setLevel(u, 7) }, false},
				} {
					p := program{name: fmt.Sprintf("%s-p%d", k.env, i), version: "1"}
					o := client.InstallOptions{ExecEnv: k.env}
					if i == 0 {
						p.script, o.Volumes = counting, counted
					}
					unit := d.InstallWith(d.packed(k, p), o)
					u.prep(unit)
					units[unit.Object] = expected{k, p, identity(d.Unit(unit.Object)), u.runs}
				}
			}
			for n := range 2 {
				for _, k := range kinds {
					d.wantStarts("before a "+c.name, k, n+1)
				}
				c.again(d)
				d.Up()
				equal(t, "how many units there are", len(d.Tree().DeploymentUnits), len(units)+1)
				for path, want := range units {
					now := d.runs("after a "+c.name, want.k, d.Unit(path), want.p, want.runs, "NoFault")
					equal(t, "the unit", identity(now), want.identity)
				}
				for _, k := range kinds {
					d.wantStarts("after a "+c.name, k, n+2)
				}
				equal(t, "the firmware", identity(d.becomes(own.Object, "Active")), identity(own))
			}
		})
	}
}

// TestThreeKinds is about one tree with a framework, services and containers.
func TestThreeKinds(t *testing.T) {
	d := boot(t, Options{Config: Felix("felix", 1) + bothKinds(1)})
	d.Up()
	bundle := d.URL("sample-1.0.0.jar")
	one := program{name: "one", version: "1"}
	urls := map[string]string{"felix": bundle, services.env: d.packed(services, one), containers.env: d.packed(containers, one)}
	for env := range urls {
		for other, url := range urls {
			if other == env {
				continue
			}
			j := d.Job(d.Client.Install(t.Context(), url, client.InstallOptions{ExecEnv: env}))
			equal(t, "a package of "+other+" in "+env, fault(j), "DUExecEnvMismatch 9025 7225")
		}
	}
	equal(t, "the rows", len(d.Tree().DeploymentUnits), 0)
	units := map[string]support.Unit{}
	for env, url := range urls {
		units[env] = d.InstallWith(url, client.InstallOptions{})
		equal(t, "who takes a package of "+env, d.Tree().ExecEnv(units[env].ExecEnv).ID, env)
	}
	active := func(when string, but ...string) {
		t.Helper()
		for env, u := range units {
			want := "Active"
			if strings.Contains(strings.Join(but, " "), env) {
				want = "Idle"
			}
			d.Until(when+": "+env+" is "+want, func(tree *client.Tree) error {
				if eu := tree.ExecutionUnit(u.EU.Object); eu == nil || eu.Status != want {
					return fmt.Errorf("it is %s", support.Show(eu))
				}
				return nil
			})
		}
	}
	active("installed")
	if a, b := units[services.env], units[containers.env]; a.Name != b.Name || a.UUID != b.UUID { // of the same name and vendor (TR-181 Annex C)
		t.Errorf("the same unit in two environments is %s and %s", a.UUID, b.UUID)
	}
	tree := d.Smmctl("tree")
	for _, want := range []string{"felix", services.env, containers.env, "org.smmd.sample", "one"} {
		if !strings.Contains(tree, want) {
			t.Errorf("smmctl tree does not have %s:\n%s", want, tree)
		}
	}
	for _, k := range kinds {
		d.set(d.env(k).Object, "Enable", false)
		active(k.env+" is off", k.env)
		d.set(d.env(k).Object, "Enable", true)
		d.Up()
		active(k.env + " is on again")
	}
}
