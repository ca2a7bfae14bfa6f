package e2e

import (
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/test/support"
)

// Reset goes back to the recorded baseline with the file server gone: what came since goes, what was updated is rolled back, what
// was removed is installed again, levels and AutoStart are restored, and the framework is launched anew.
func TestReset(t *testing.T) {
	each(t, func(t *testing.T, framework string) {
		d := boot(t, support.Env{Framework: framework, InitialRunLevel: 5})
		c := d.InstallConsole(framework)
		updated, removed := d.Install("sample-1.0.0.jar", framework), d.Install("provider-1.0.0.jar", framework)
		stopped := d.Install("sample2-1.0.0.jar", framework)
		record(t, d, "first")

		d.Done(d.Client.Update(t.Context(), updated.Object, client.UpdateOptions{URL: d.URL("sample-2.0.0.jar")}))
		d.Done(d.Client.Uninstall(t.Context(), removed.Object))
		came := d.Install("lazy-1.0.0.jar", framework)
		set(t, d, stopped.EU.Path+".AutoStart", "false", stopped.EU.Path+".RunLevel", "9", "Device.SoftwareModules.ExecEnv.1.InitialRunLevel", "8")
		agree(t, d, framework, c)
		host, _ := d.Host(framework)
		d.Files.Close()

		d.Done(d.Client.ResetExecEnv(t.Context(), envRow(t, d, framework), "cwmp"))

		agree(t, d, framework, d.Console(framework))
		if now, _ := d.Host(framework); now.PID == host.PID {
			t.Error("the framework was not launched again")
		}
		tree := d.Up()
		if tree.DeploymentUnit(came.Object) != nil {
			t.Error("what came since the baseline is still there")
		}
		if got := wantUnit(t, d, updated, "1.0.0", "Active", true); got.URL != updated.URL || got.Alias != updated.Alias {
			t.Errorf("the unit that was rolled back is %s, was %s", support.Show(got.DeploymentUnit), support.Show(updated.DeploymentUnit))
		}
		back := unitNamed(t, d, removed.Name)
		if back.UUID != removed.UUID || back.Version != removed.Version || back.URL != removed.URL {
			t.Errorf("the unit that was installed again is %s, was %s", support.Show(back.DeploymentUnit), support.Show(removed.DeploymentUnit))
		}
		wantUnit(t, d, back, removed.Version, "Active", true)
		if level := wantUnit(t, d, stopped, "1.0.0", "Active", true).EU.RunLevel; level != stopped.EU.RunLevel {
			t.Errorf("the run level is %d, in the baseline it was %d", level, stopped.EU.RunLevel)
		}
		if e := tree.ExecEnvs[0]; e.InitialRunLevel != 5 || e.CurrentRunLevel != 5 {
			t.Errorf("the environment is at level %d, initially %d; in the baseline 5", e.CurrentRunLevel, e.InitialRunLevel)
		}
	})
}

// A second baseline with the same token is the first one; with another it is a new one.
func TestBaselineToken(t *testing.T) {
	either(t, "equinox", func(t *testing.T, framework string) {
		d := boot(t, support.Env{Framework: framework})
		record(t, d, "boot 1")
		u := d.Install("sample-1.0.0.jar", framework)
		record(t, d, "boot 1")
		d.Done(d.Client.ResetExecEnv(t.Context(), envRow(t, d, framework), "cwmp"))
		if d.Tree().DeploymentUnit(u.Object) != nil {
			t.Error("the same token recorded another baseline")
		}
		u = d.Install("sample-1.0.0.jar", framework)
		record(t, d, "boot 2")
		d.Done(d.Client.ResetExecEnv(t.Context(), envRow(t, d, framework), "cwmp"))
		wantUnit(t, d, u, "1.0.0", "Active", true)

		// The other protocol's baseline is that of the first sync.
		d.Done(d.Client.ResetExecEnv(t.Context(), envRow(t, d, framework), "usp"))
		if tree := d.Tree(); len(tree.DeploymentUnits) != 0 {
			t.Errorf("the baseline of usp has %d units, it was taken when there were none", len(tree.DeploymentUnits))
		}
	})
}

// The agent is killed in the middle of a Reset, at several moments: the next one ends it.
func TestKillInReset(t *testing.T) {
	either(t, "equinox", func(t *testing.T, framework string) {
		d := boot(t, support.Env{Framework: framework, InitialRunLevel: 2})
		d.InstallConsole(framework)
		u := d.Install("sample-1.0.0.jar", framework)
		record(t, d, "boot")
		for _, step := range []string{"at once", "later", "late"} {
			d.Done(d.Client.Update(t.Context(), u.Object, client.UpdateOptions{URL: d.URL("sample-2.0.0.jar")}))
			d.Install("lazy-1.0.0.jar", framework)
			job, err := d.Client.ResetExecEnv(t.Context(), envRow(t, d, framework), "cwmp")
			if err != nil {
				t.Fatal(err)
			}
			for n := map[string]int{"at once": 0, "later": 20, "late": 200}[step]; n > 0; n-- {
				if _, err := d.Client.Job(t.Context(), job); err != nil { // takes its time
					t.Fatal(err)
				}
			}
			d.Kill()
			d.Start()
			d.Done(job, nil)
			agree(t, d, framework, d.Console(framework))
			wantUnit(t, d, u, "1.0.0", "Active", true)
			if tree := d.Tree(); len(tree.DeploymentUnits) != 4 {
				t.Errorf("%s: there are %d units, in the baseline 4", step, len(tree.DeploymentUnits))
			}
		}
	})
}

func record(t *testing.T, d *support.Device, token string) {
	t.Helper()
	if err := d.Client.RecordBaseline(t.Context(), "cwmp", token); err != nil {
		t.Fatal(err)
	}
}

func envRow(t *testing.T, d *support.Device, id string) dbus.ObjectPath {
	t.Helper()
	for _, e := range d.Tree().ExecEnvs {
		if e.ID == id {
			return e.Object
		}
	}
	t.Fatalf("there is no environment %s", id)
	return ""
}
