package e2e

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/test/support"
)

// parentOf returns what CWMP, D-Bus and the client say of the parent of an environment.
func parentOf(t *testing.T, d *support.Device, env dbus.ObjectPath) (cwmp, bus, typed string) {
	t.Helper()
	row := d.Tree().ExecEnv(env)
	values, err := d.Client.GetParameterValues(t.Context(), row.Path+".ParentExecEnv")
	if err != nil {
		t.Fatal(err)
	}
	return values[0].Value, fmt.Sprint(managed(t, d)[env]["org.smmd.ExecEnv1"]["ParentExecEnv"].Value()), string(row.Parent)
}

// An environment that is nested in another one goes down with the parent's Enable, and comes back with it.
func TestNested(t *testing.T) {
	either(t, "felix", func(t *testing.T, framework string) {
		d := support.New(t, support.Options{Programs: programs, Envs: []support.Env{
			{Name: "outer", Framework: framework}, {Name: "inner", Framework: frameworks[1-slices.Index(frameworks, framework)], InitialRunLevel: 2},
		}})
		edit(t, d, `name = "inner"\n`, "name = \"inner\"\nparent = \"outer\"\n")
		d.Start()
		d.Up()
		outer, inner := envRow(t, d, "outer"), envRow(t, d, "inner")
		consoles := map[string]*support.Console{"outer": d.InstallConsole("outer"), "inner": d.InstallConsole("inner")}
		here, there := d.Install("sample-1.0.0.jar", "outer"), d.Install("sample-1.0.0.jar", "inner")
		both := func() {
			t.Helper()
			d.Up()
			for env, c := range consoles {
				agree(t, d, env, c)
			}
			wantStates(t, d, []support.Unit{here, there}, "Active", "Active")
			for env, want := range map[dbus.ObjectPath][]string{outer: {"", "/", ""}, inner: {d.Tree().ExecEnv(outer).Path, string(outer), string(outer)}} {
				cwmp, bus, typed := parentOf(t, d, env)
				if got := []string{cwmp, bus, typed}; !slices.Equal(got, want) {
					t.Errorf("the parent of %s is %q, want %q", env, got, want)
				}
			}
		}
		both()

		t.Run("the parent ends", func(t *testing.T) {
			name, pid := d.Tree().ExecEnv(inner).Name, d.JVM("inner").PID
			launch := d.Tree().ExecEnv(outer).Name
			d.JVM("outer").Kill(t)
			d.Until("it is launched again", func(tree *client.Tree) error {
				if e := tree.ExecEnv(outer); e.Status != "Up" || e.Name == launch {
					return fmt.Errorf("it is %s and %s", e.Status, e.Name)
				}
				return nil
			})
			consoles["outer"] = d.Console("outer")
			d.Done(d.Client.RestartExecEnv(t.Context(), outer, ""))
			consoles["outer"] = d.Console("outer")
			both()
			if e := d.Tree().ExecEnv(inner); e.Name != name || d.JVM("inner").PID != pid {
				t.Errorf("the nested framework was %s, process %d, and is %s, process %d", name, pid, e.Name, d.JVM("inner").PID)
			}
		})
		t.Run("the parent is disabled", func(t *testing.T) {
			set(t, d, d.Tree().ExecEnv(outer).Path+".Enable", "false")
			down := func() {
				t.Helper()
				d.Until("both are down", func(tree *client.Tree) error {
					o, i := tree.ExecEnv(outer), tree.ExecEnv(inner)
					if o.Status != "Disabled" || i.Status != "Error" || i.StatusDetail != "parent disabled: outer" || !i.Enable || i.CurrentRunLevel > 0 {
						return fmt.Errorf("they are %s, and %s: %q, at level %d", o.Status, i.Status, i.StatusDetail, i.CurrentRunLevel)
					}
					for _, u := range []support.Unit{here, there} {
						if eu := tree.ExecutionUnit(u.EU.Object); eu.Status != "Idle" || eu.FaultCode != "UnStartable" {
							return fmt.Errorf("%s is %s with %s", eu.EUID, eu.Status, eu.FaultCode)
						}
					}
					if _, runs := d.Host("inner"); runs {
						return errors.New("the nested framework runs")
					}
					return nil
				})
				if err := faces(t, d); err != nil {
					t.Error(err)
				}
			}
			down()
			_, install := d.Client.Install(t.Context(), d.URL("lazy-1.0.0.jar"), client.InstallOptions{ExecEnv: "inner"})
			_, update := d.Client.Update(t.Context(), there.Object, client.UpdateOptions{URL: d.URL("sample-2.0.0.jar")})
			_, uninstall := d.Client.Uninstall(t.Context(), there.Object)
			for _, err := range []error{install, update, uninstall} {
				wantRefusal(t, err, "DisabledExecEnv", 9024, 7012)
				if err != nil && !strings.Contains(err.Error(), "parent outer is disabled") {
					t.Errorf("the refusal does not name the parent: %v", err)
				}
			}
			_, start := d.Client.Start(t.Context(), there.EU.Object)
			_, restart := d.Client.RestartExecEnv(t.Context(), inner, "")
			_, reset := d.Client.ResetExecEnv(t.Context(), inner, "cwmp")
			for _, err := range []error{start, restart, reset, d.Client.SetRunLevel(t.Context(), inner, 3)} {
				if !client.IsName(err, "DisabledExecEnv") {
					t.Errorf("the answer is %v", err)
				}
			}
			set(t, d, there.EU.Path+".RunLevel", "2", d.Tree().ExecEnv(inner).Path+".InitialRunLevel", "3")
			d.Restart()
			down()

			set(t, d, d.Tree().ExecEnv(outer).Path+".Enable", "true")
			d.Up()
			consoles["outer"], consoles["inner"] = d.Console("outer"), d.Console("inner")
			both()
			untilUnit(t, d, there, "the unit has run level 2", func(now support.Unit) bool { return now.EU.RunLevel == 2 })
			if e := d.Tree().ExecEnv(inner); e.CurrentRunLevel != 3 {
				t.Errorf("the environment is at level %d", e.CurrentRunLevel)
			}
		})
		t.Run("the nested one is disabled alone", func(t *testing.T) {
			path := d.Tree().ExecEnv(inner).Path
			set(t, d, path+".Enable", "false")
			wantStates(t, d, []support.Unit{here, there}, "Active", "Idle")
			agree(t, d, "outer", consoles["outer"])
			set(t, d, path+".Enable", "true")
			consoles["inner"] = d.Console("inner")
			both()
		})

		original, err := os.ReadFile(d.Config)
		if err != nil {
			t.Fatal(err)
		}
		refused := func(t *testing.T, want ...string) {
			t.Helper()
			_, stderr, status := d.Run(programs.Smmd, "check-config", d.Config)
			_, refusal, code := d.Run(programs.Smmd, "--config", d.Config)
			for _, w := range want {
				if status == 0 || code == 0 || !strings.Contains(stderr, w) || !strings.Contains(refusal, w) {
					t.Errorf("the check ends with %d and %q, the agent with %d and %q; want %q", status, stderr, code, refusal, w)
				}
			}
			if err := os.WriteFile(d.Config, original, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		pids := map[string]int{"outer": d.JVM("outer").PID, "inner": d.JVM("inner").PID}
		d.Stop()
		const table = `(?s)\[\[exec_env\]\]\nname = "outer"\n.*?\n(\[\[exec_env\]\]\n)`
		t.Run("the parent's table is removed", func(t *testing.T) {
			edit(t, d, table, "${1}")
			refused(t, `exec_env[0].parent: "outer" is no exec_env`)
		})
		t.Run("a cycle", func(t *testing.T) {
			edit(t, d, `name = "outer"\n`, "name = \"outer\"\nparent = \"inner\"\n")
			refused(t, `exec_env[0].parent: "outer" is nested in itself`, `exec_env[1].parent: "inner" is nested in itself`)
		})
		t.Run("the parent is removed", func(t *testing.T) {
			edit(t, d, table, "${1}")
			edit(t, d, `parent = "outer"\n`, "")
			d.Start()
			d.Up()
			agree(t, d, "inner", consoles["inner"])
			tree := d.Tree()
			if len(tree.ExecEnvs) != 1 || tree.ExecEnv(inner) == nil || tree.DeploymentUnit(here.Object) != nil || d.JVM("inner").PID != pids["inner"] {
				t.Errorf("the environments are %s, the units %s", support.Show(tree.ExecEnvs), support.Show(tree.DeploymentUnits))
			}
			if cwmp, bus, typed := parentOf(t, d, inner); cwmp != "" || bus != "/" || typed != "" {
				t.Errorf("the parent is %q, %q, %q", cwmp, bus, typed)
			}
			d.Stop()
		})
		if err := os.WriteFile(d.Config, original, 0o600); err != nil {
			t.Fatal(err)
		}
		d.Start()
		d.Up()
		if p, runs := d.Host("outer"); !runs {
			t.Error("the framework that was not configured for a while does not run")
		} else {
			t.Logf("the framework that was not configured for a while was process %d and is %d", pids["outer"], p.PID)
		}
		agree(t, d, "inner", consoles["inner"])
	})
}
