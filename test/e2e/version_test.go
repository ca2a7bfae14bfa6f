package e2e

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/test/support"
)

// kept are the properties that a change of the framework's version must leave alone.
func kept(t *testing.T, d *support.Device, units []support.Unit) map[string]any {
	t.Helper()
	all := map[string]any{}
	for _, u := range units {
		now := d.Unit(u.Object)
		now.EU.Status, now.Resolved = "", false // as the launch has it
		all[u.Name+" unit"], all[u.Name+" execution"] = *now.DeploymentUnit, *now.EU
	}
	return all
}

// pinned records a baseline and waits until the agent has saved what belongs to it. Nothing but the log tells that.
func pinned(t *testing.T, d *support.Device, token string) {
	t.Helper()
	complete := func() int { return strings.Count(d.Log(), "baselines are complete") }
	before := complete()
	record(t, d, token)
	support.Until(t, "the baseline is complete", func() error {
		if complete() == before {
			return errors.New("it is not")
		}
		return nil
	})
}

// The framework is changed for another version of it by a line in agent.toml: what runs goes on, the next launch has the new one, with all
// units as they were. Reset goes back to the version of the baseline, and another line in agent.toml away from that.
func TestFrameworkVersion(t *testing.T) {
	each(t, func(t *testing.T, framework string) {
		d := boot(t, support.Env{Framework: framework, InitialRunLevel: 3})
		c := d.InstallConsole(framework)
		yes, no := true, false
		units := []support.Unit{
			d.InstallWith(d.URL("sample-1.0.0.jar"), client.InstallOptions{ExecEnv: framework, AutoStart: &yes}),
			d.InstallWith(d.URL("sample2-1.0.0.jar"), client.InstallOptions{ExecEnv: framework, AutoStart: &yes}),
			d.InstallWith(d.URL("provider-1.0.0.jar"), client.InstallOptions{ExecEnv: framework, AutoStart: &no}),
		}
		set(t, d, units[0].EU.Path+".RunLevel", "2", units[1].EU.Path+".RunLevel", "5", units[0].Path+".Alias", "mine")
		wantStates(t, d, units, "Active", "Idle", "Idle")
		agree(t, d, framework, c)
		record(t, d, "boot")
		env := envRow(t, d, framework)
		first := *d.Tree().ExecEnv(env)
		before := kept(t, d, units)

		// runs checks which version the agent shows, and by the process table and the console which jar it is.
		runs := func(t *testing.T, version, jar string) {
			t.Helper()
			e := d.Tree().ExecEnv(env)
			if e.Vendor != first.Vendor || e.Type != first.Type || !strings.HasPrefix(e.Version, version) {
				t.Errorf("it is %s %s %s, was %s %s %s; want %s", e.Vendor, e.Type, e.Version, first.Vendor, first.Type, first.Version, version)
			}
			if command := d.JVM(framework).Command; !strings.Contains(command, jar) {
				t.Errorf("its process is %s, want one of %s", command, jar)
			}
			if headers := c.Run("headers 0"); !strings.Contains(headers, "Bundle-Version = "+e.Version) {
				t.Errorf("the agent says %s, the console %s", e.Version, headers)
			}
			agree(t, d, framework, c)
		}
		whole := func(t *testing.T) {
			t.Helper()
			wantStates(t, d, units, "Active", "Idle", "Idle")
			support.Until(t, "the units are as before", func() error {
				if diff := cmp.Diff(before, kept(t, d, units)); diff != "" {
					return errors.New(diff)
				}
				return nil
			})
		}
		restart := func(t *testing.T) {
			t.Helper()
			d.Done(d.Client.RestartExecEnv(t.Context(), env, ""))
			d.Up()
			c = d.Console(framework)
		}
		restored := filepath.Join("env", framework, "version") + "/"
		now, jar := first.Version, framework+".jar"
		// configured names another jar, which must not be felt before the next launch.
		configured := func(t *testing.T, next string, between func()) {
			t.Helper()
			pid := d.JVM(framework).PID
			d.Stop()
			useFramework(t, d, framework, next)
			d.Start()
			d.Up()
			if p := d.JVM(framework).PID; p != pid {
				t.Errorf("the JVM was process %d and is %d", pid, p)
			}
			runs(t, now, jar)
			between()
			restart(t)
			now, jar = versionOf(next), filepath.Base(next)
			runs(t, now, jar)
			whole(t)
		}

		t.Run("another version", func(t *testing.T) {
			// The baseline is of what runs, not of what is configured.
			configured(t, support.BundlePath(t, "real/"+older[framework][0]), func() { pinned(t, d, "boot again") })
		})
		t.Run("Reset goes back", func(t *testing.T) {
			u := d.Install("lazy-1.0.0.jar", framework)
			d.Done(d.Client.ResetExecEnv(t.Context(), env, "cwmp"))
			c = d.Console(framework)
			now, jar = first.Version, restored
			runs(t, now, jar)
			whole(t)
			if d.Tree().DeploymentUnit(u.Object) != nil {
				t.Error("what came since the baseline is still there")
			}
			restart(t)
			runs(t, now, jar)
			d.Restart()
			d.Up()
			runs(t, now, jar)
		})
		t.Run("a third version", func(t *testing.T) { configured(t, support.BundlePath(t, "real/"+older[framework][1]), func() {}) })
		t.Run("the first again", func(t *testing.T) {
			d.Configure("") // agent.toml as it was
			d.Restart()
			d.Up()
			restart(t)
			now, jar = first.Version, framework+".jar"
			runs(t, now, jar)
			whole(t)
		})
	})
}
