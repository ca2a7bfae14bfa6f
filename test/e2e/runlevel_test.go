package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/test/support"
)

// set writes parameters over CWMP, all or none, and waits for the jobs that this begins.
func set(t *testing.T, d *support.Device, values ...string) {
	t.Helper()
	var parameters []client.Parameter
	for i := 0; i < len(values); i += 2 {
		parameters = append(parameters, client.Parameter{Path: values[i], Value: values[i+1]})
	}
	before := d.Tree()
	if _, err := d.Client.SetParameterValues(t.Context(), parameters...); err != nil {
		t.Fatal(err)
	}
	for _, j := range d.Tree().Jobs {
		if before.Job(j.Object) == nil {
			d.Done(j.Object, nil)
		}
	}
}

// wantStates checks the units in the order that is given: "Active", "Idle" …
func wantStates(t *testing.T, d *support.Device, units []support.Unit, states ...string) {
	t.Helper()
	d.Until(fmt.Sprintf("the units are %v", states), func(tree *client.Tree) error {
		for i, u := range units {
			if eu := tree.ExecutionUnit(u.EU.Object); eu == nil || eu.Status != states[i] {
				return fmt.Errorf("%s is %s", u.Name, support.Show(eu))
			}
		}
		return nil
	})
}

// stored returns what the framework has on disk of the bundle of a unit.
func stored(t *testing.T, d *support.Device, u support.Unit) support.StoredBundle {
	t.Helper()
	env, location, _ := strings.Cut(u.EU.EUID, "/")
	for _, b := range d.Stored(env) {
		if b.Location == location {
			return b
		}
	}
	t.Fatalf("%s has no bundle %s", env, location)
	return support.StoredBundle{}
}

// Units follow the run level of their environment, level by level; InitialRunLevel is taken at each start.
func TestRunLevels(t *testing.T) {
	each(t, func(t *testing.T, framework string) {
		d := boot(t, support.Env{Framework: framework, InitialRunLevel: 3})
		c := d.InstallConsole(framework)
		agree(t, d, framework, c)
		units := []support.Unit{d.Install("sample-1.0.0.jar", framework), d.Install("sample2-1.0.0.jar", framework), d.Install("no-vendor-1.0.0.jar", framework)}
		for i, level := range []string{"2", "4", "6"} {
			set(t, d, units[i].EU.Path+".RunLevel", level)
		}
		wantStates(t, d, units, "Active", "Idle", "Idle")
		agree(t, d, framework, c)

		env := client.ObjectPath(client.KindExecEnv, 1)
		const path = "Device.SoftwareModules.ExecEnv.1."
		for _, step := range []struct {
			level  int32
			states []string
		}{{6, []string{"Active", "Active", "Active"}}, {5, []string{"Active", "Active", "Idle"}}, {1, []string{"Idle", "Idle", "Idle"}}, {4, []string{"Active", "Active", "Idle"}}} {
			if err := d.Client.SetRunLevel(t.Context(), env, step.level); err != nil {
				t.Fatal(err)
			}
			wantStates(t, d, units, step.states...)
			agree(t, d, framework, c)
		}
		set(t, d, path+"RequestedRunLevel", "2")
		wantStates(t, d, units, "Active", "Idle", "Idle")
		agree(t, d, framework, c)
		set(t, d, path+"RequestedRunLevel", "-1") // without effect
		agree(t, d, framework, c)

		// A unit above the level: a start is refused with both levels in the message, unless it is to be started later anyway.
		set(t, d, units[2].EU.Path+".AutoStart", "false")
		j := d.Job(d.Client.Start(t.Context(), units[2].EU.Object))
		wantFault(t, j, "StartFailed", 9001, 7002)
		wantExecution(t, d, units[2], "FailureOnStart", "")
		d.Done(d.Client.Start(t.Context(), units[1].EU.Object))
		wantUnit(t, d, units[1], "1.0.0", "Idle", true) // it waits for its level

		name := d.Tree().ExecEnv(env).Name
		set(t, d, path+"InitialRunLevel", "5")
		d.Done(d.Client.RestartExecEnv(t.Context(), env, "to see it"))
		c = d.Console(framework)
		wantStates(t, d, units, "Active", "Active", "Idle")
		agree(t, d, framework, c)
		row := d.Up().ExecEnv(env)
		if row.CurrentRunLevel != 5 || row.RestartReason != "to see it" || row.RestartCount != 1 || row.Name == name {
			t.Errorf("the environment is %s, its name was %s", support.Show(row), name)
		}

		set(t, d, path+"InitialRunLevel", "4", path+"Enable", "false")
		set(t, d, path+"Enable", "true")
		d.Up()
		wantStates(t, d, units, "Active", "Active", "Idle")
		agree(t, d, framework, d.Console(framework))
	})
}

// AutoStart is the framework's own flag: a start and a stop leave it alone, and setting it has the side effects of chapter 155 of
// the OSGi specification.
func TestAutoStart(t *testing.T) {
	each(t, func(t *testing.T, framework string) {
		d := boot(t, support.Env{Framework: framework, NoAutoStart: true})
		u := d.Install("sample-1.0.0.jar", framework)
		units := []support.Unit{u}
		wantUnit(t, d, u, "1.0.0", "Idle", false)
		if b := stored(t, d, u); b.AutoStart {
			t.Errorf("the framework has it as %+v", b)
		}
		d.Done(d.Client.Start(t.Context(), u.EU.Object)) // for now only
		wantUnit(t, d, u, "1.0.0", "Active", false)
		if b := stored(t, d, u); b.AutoStart {
			t.Errorf("a transient start is kept: %+v", b)
		}
		d.Done(d.Client.Stop(t.Context(), u.EU.Object))
		wantUnit(t, d, u, "1.0.0", "Idle", false)

		set(t, d, u.EU.Path+".AutoStart", "true") // starts it
		wantStates(t, d, units, "Active")
		if b := stored(t, d, u); !b.AutoStart {
			t.Errorf("the framework has it as %+v", b)
		}
		d.Done(d.Client.Stop(t.Context(), u.EU.Object))
		wantUnit(t, d, u, "1.0.0", "Idle", true)
		if b := stored(t, d, u); !b.AutoStart {
			t.Errorf("a stop has cleared the flag: %+v", b)
		}
		d.Done(d.Client.Update(t.Context(), u.Object, client.UpdateOptions{URL: d.URL("sample-1.5.0.jar")}))
		wantUnit(t, d, u, "1.5.0", "Idle", true) // what is stopped is not started by an update
		d.Done(d.Client.RestartExecEnv(t.Context(), client.ObjectPath(client.KindExecEnv, 1), ""))
		wantStates(t, d, units, "Active")
		set(t, d, u.EU.Path+".AutoStart", "false") // stops it
		wantStates(t, d, units, "Idle")
		wantUnit(t, d, u, "1.5.0", "Idle", false)
		if b := stored(t, d, u); b.AutoStart {
			t.Errorf("the framework has it as %+v", b)
		}

		yes := true
		other := d.InstallWith(d.URL("sample2-1.0.0.jar"), client.InstallOptions{ExecEnv: framework, AutoStart: &yes})
		wantUnit(t, d, other, "1.0.0", "Active", true)

		// The activation policy of a bundle is no AutoStart; once that is set, it is obeyed, by the next launch too.
		lazy := d.Install("lazy-1.0.0.jar", framework)
		wantUnit(t, d, lazy, "1.0.0", "Idle", false)
		if b := stored(t, d, lazy); b.AutoStart {
			t.Errorf("the framework has it as %+v", b)
		}
		set(t, d, lazy.EU.Path+".AutoStart", "true")
		wantStates(t, d, []support.Unit{lazy}, "Starting")
		if b := stored(t, d, lazy); !b.AutoStart {
			t.Errorf("the framework has it as %+v", b)
		}
		d.Done(d.Client.RestartExecEnv(t.Context(), client.ObjectPath(client.KindExecEnv, 1), ""))
		wantStates(t, d, []support.Unit{u, other, lazy}, "Idle", "Active", "Starting")
	})
}

// The operator's own console is followed.
func TestTheConsoleIsFollowed(t *testing.T) {
	each(t, func(t *testing.T, framework string) {
		d := boot(t, support.Env{Framework: framework})
		c := d.InstallConsole(framework)
		u := d.Install("sample-1.0.0.jar", framework)
		units := []support.Unit{u}
		id := u.DUID
		for _, step := range []struct {
			line, state string
			autoStart   bool
			level       int64
		}{
			{"stop " + id, "Idle", false, 1},
			{"start " + id, "Active", true, 1},
			{"stop -t " + id, "Idle", true, 1},
			{"bundlelevel -s 3 " + id, "Idle", true, 3},
			{"frameworklevel 3", "Active", true, 3},
		} {
			c.Run(step.line)
			wantStates(t, d, units, step.state)
			d.Until(step.line+" is followed", func(tree *client.Tree) error {
				if eu := tree.ExecutionUnit(u.EU.Object); eu.AutoStart != step.autoStart || eu.RunLevel != step.level {
					return fmt.Errorf("AutoStart is %v, the level %d", eu.AutoStart, eu.RunLevel)
				}
				return nil
			})
			agree(t, d, framework, c)
		}
		c.Run("uninstall " + id)
		d.Until("the loss is told", func(tree *client.Tree) error {
			if du := tree.DeploymentUnit(u.Object); du != nil && !du.Missing {
				return fmt.Errorf("it is %s", support.Show(du))
			}
			return nil
		})
	})
}

// While an environment is disabled its tree can be read, changes are refused but for a few settings, and those are taken at the
// next launch. Nothing changes its name over that, nor over a restart of the agent.
func TestWhileDisabled(t *testing.T) {
	each(t, func(t *testing.T, framework string) {
		d := boot(t, support.Env{Framework: framework, InitialRunLevel: 2})
		units := []support.Unit{d.Install("sample-1.0.0.jar", framework), d.Install("sample2-1.0.0.jar", framework)}
		one, two := units[0], units[1]
		const env = "Device.SoftwareModules.ExecEnv.1."
		set(t, d, one.Path+".Alias", "mine", one.EU.Path+".Alias", "its-part")
		set(t, d, env+"Enable", "false")
		tree := d.Until("it is disabled, and its units with it", func(tree *client.Tree) error {
			if e := tree.ExecEnvs[0]; e.Status != "Disabled" || e.CurrentRunLevel > 0 || len(e.ActiveExecutionUnits) != 0 || e.Version == "" {
				return fmt.Errorf("it is %s", support.Show(e))
			}
			for _, u := range units {
				if eu := tree.ExecutionUnit(u.EU.Object); eu.Status != "Idle" || eu.FaultCode != "UnStartable" {
					return fmt.Errorf("a unit is %s", support.Show(eu))
				}
			}
			return nil
		})
		if _, running := d.Host(framework); running {
			t.Error("the framework runs although its environment is disabled")
		}
		if err := faces(t, d); err != nil {
			t.Error(err)
		}

		t.Run("refused", func(t *testing.T) {
			_, install := d.Client.Install(t.Context(), d.URL("lazy-1.0.0.jar"), client.InstallOptions{ExecEnv: framework})
			_, update := d.Client.Update(t.Context(), one.Object, client.UpdateOptions{URL: d.URL("sample-2.0.0.jar")})
			_, uninstall := d.Client.Uninstall(t.Context(), one.Object)
			for _, err := range []error{install, update, uninstall} {
				wantRefusal(t, err, "DisabledExecEnv", 9024, 7012)
			}
			_, start := d.Client.Start(t.Context(), one.EU.Object)
			_, restart := d.Client.RestartExecEnv(t.Context(), tree.ExecEnvs[0].Object, "")
			for _, err := range []error{start, restart, d.Client.SetRunLevel(t.Context(), tree.ExecEnvs[0].Object, 3)} {
				if !client.IsName(err, "DisabledExecEnv") {
					t.Errorf("the answer is %v", err)
				}
			}
			before := rows(t, d)
			_, err := d.Client.SetParameterValues(t.Context(), client.Parameter{Path: two.Path + ".Alias", Value: "another"},
				client.Parameter{Path: one.EU.Path + ".RequestedState", Value: "Active"})
			if err == nil {
				t.Error("RequestedState is taken")
			}
			if after := rows(t, d); fmt.Sprint(plain(before)) != fmt.Sprint(plain(after)) {
				t.Errorf("a refused set has changed something: %v is %v", plain(before), plain(after))
			}
		})

		set(t, d, one.EU.Path+".AutoStart", "false", two.EU.Path+".RunLevel", "4", two.Path+".Alias", "yours", env+"InitialRunLevel", "5")
		d.Restart()
		if e := d.Tree().ExecEnvs[0]; e.Status != "Disabled" || e.InitialRunLevel != 5 {
			t.Errorf("after the restart of the agent the environment is %s", support.Show(e))
		}
		set(t, d, env+"Enable", "true")
		d.Up()
		wantStates(t, d, units, "Idle", "Active")
		for i, want := range []struct {
			alias     string
			autoStart bool
			level     int64
		}{{"mine", false, 1}, {"yours", true, 4}} {
			u := untilUnit(t, d, units[i], fmt.Sprintf("%s has AutoStart %v and run level %d", units[i].Name, want.autoStart, want.level), func(u support.Unit) bool {
				return u.EU.AutoStart == want.autoStart && u.EU.RunLevel == want.level
			})
			if u.Alias != want.alias || u.EU.EUID != units[i].EU.EUID || u.UUID != units[i].UUID {
				t.Errorf("the unit is %s with %s", support.Show(u.DeploymentUnit), support.Show(u.EU))
			}
			if b := stored(t, d, u); b.AutoStart != want.autoStart || int64(b.Level) != want.level {
				t.Errorf("the framework has %s as %+v", u.Name, b)
			}
		}
		if eu := d.Tree().ExecutionUnit(one.EU.Object); eu.Alias != "its-part" {
			t.Errorf("the alias of the execution unit is %s", eu.Alias)
		}

		// The agent goes and comes back; the framework and its units do not notice.
		host, _ := d.Host(framework)
		before := rows(t, d)
		d.Restart()
		d.Up()
		support.Until(t, "the tree is as before", func() error {
			if after := rows(t, d); fmt.Sprint(plain(before)) != fmt.Sprint(plain(after)) {
				return fmt.Errorf("%v\nwas %v", plain(after), plain(before))
			}
			return nil
		})
		if now, _ := d.Host(framework); now.PID != host.PID {
			t.Errorf("the framework was process %d and is %d", host.PID, now.PID)
		}
	})
}
