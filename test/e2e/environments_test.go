package e2e

import (
	"slices"
	"testing"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/test/support"
)

// Two frameworks of different make on one device: the same unit on both is two rows of one UUID, and what happens to one environment is
// not felt in the other.
func TestTwoEnvironments(t *testing.T) {
	either(t, "equinox", func(t *testing.T, framework string) {
		other := frameworks[1-slices.Index(frameworks, framework)]
		d := support.Boot(t, support.Options{Programs: programs, Envs: []support.Env{{Name: "one", Framework: framework}, {Name: "two", Framework: other}}})
		url := d.URL("sample-1.0.0.jar")
		first := d.InstallWith(url, client.InstallOptions{}) // the agent chooses
		second := d.InstallWith(url, client.InstallOptions{ExecEnv: "Device.SoftwareModules.ExecEnv.2."})
		consoles := map[string]*support.Console{}
		for _, env := range []string{"one", "two"} {
			consoles[env] = d.InstallConsole(env)
		}
		for env, c := range consoles {
			agree(t, d, env, c)
		}
		if first.UUID != second.UUID || first.EU.EUID != "one/"+first.UUID || second.EU.EUID != "two/"+first.UUID || first.ExecEnv == second.ExecEnv {
			t.Errorf("the units are %s on %s and %s on %s", first.EU.EUID, first.ExecEnv, second.EU.EUID, second.ExecEnv)
		}
		tree := d.Tree()
		if one, two := tree.ExecEnvs[0], tree.ExecEnvs[1]; one.Vendor == two.Vendor || one.Version == two.Version || one.Name == two.Name || one.Type == "" || one.Alias != "cpe-one" {
			t.Errorf("the environments are %s and %s", support.Show(one), support.Show(two))
		}

		set(t, d, tree.ExecEnvs[0].Path+".Enable", "false")
		wantStates(t, d, []support.Unit{first, second}, "Idle", "Active")
		agree(t, d, "two", consoles["two"])
		third := d.InstallWith(d.URL("sample2-1.0.0.jar"), client.InstallOptions{}) // there is one left to choose
		if third.ExecEnv != second.ExecEnv {
			t.Errorf("the agent has chosen %s", third.ExecEnv)
		}
		d.Done(d.Client.Update(t.Context(), second.Object, client.UpdateOptions{URL: d.URL("sample-2.0.0.jar")}))
		d.Done(d.Client.Uninstall(t.Context(), third.Object))
		agree(t, d, "two", consoles["two"])
		set(t, d, tree.ExecEnvs[0].Path+".Enable", "true")
		d.Up()
		agree(t, d, "one", d.Console("one"))
		wantUnit(t, d, first, "1.0.0", "Active", true)
		wantUnit(t, d, second, "2.0.0", "Active", true)

		// One is restarted while the other works.
		restart, err := d.Client.RestartExecEnv(t.Context(), second.ExecEnv, "")
		if err != nil {
			t.Fatal(err)
		}
		fourth := d.InstallWith(d.URL("sample2-1.0.0.jar"), client.InstallOptions{ExecEnv: string(first.ExecEnv)})
		wantUnit(t, d, fourth, "1.0.0", "Active", true)
		d.Done(restart, nil)
		agree(t, d, "one", d.Console("one"))
		agree(t, d, "two", d.Console("two"))
	})
}
