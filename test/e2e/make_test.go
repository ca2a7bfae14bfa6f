package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/test/support"
)

// The storage of one make of framework is nothing to another: it is not touched, and the environment says so until agent.toml names the
// right one again.
func TestFrameworkOfAnotherMake(t *testing.T) {
	each(t, func(t *testing.T, framework string) {
		other := frameworks[1-slices.Index(frameworks, framework)]
		d := support.Boot(t, support.Options{Programs: programs, Envs: []support.Env{{Framework: framework}, {Framework: other}}})
		c := d.InstallConsole(framework)
		u := d.Install("sample-1.0.0.jar", framework)
		agree(t, d, framework, c)
		stored := d.Stored(framework)
		before := rows(t, d)
		env := envRow(t, d, framework)

		d.Stop()
		right := useFramework(t, d, framework, "/not/yet")
		theirs := useFramework(t, d, other, "/not/yet")
		useFramework(t, d, framework, theirs)
		useFramework(t, d, other, theirs)
		d.Start()
		d.Up() // it goes on
		agree(t, d, framework, c)
		j := d.Job(d.Client.RestartExecEnv(t.Context(), env, ""))
		if j.State != client.JobFailed || !strings.Contains(j.Message, "another make") {
			t.Errorf("the restart is %s", show(j))
		}
		refused := func() {
			t.Helper()
			d.Until("what is wrong is told", func(tree *client.Tree) error {
				e, eu := tree.ExecEnv(env), tree.ExecutionUnit(u.EU.Object)
				if e.Status != "Error" || !strings.Contains(e.StatusDetail, "another make") || !strings.Contains(e.StatusDetail, theirs) {
					return fmt.Errorf("the environment is %s: %q", e.Status, e.StatusDetail)
				}
				if eu.Status != "Idle" || tree.DeploymentUnit(u.Object).Missing {
					return fmt.Errorf("the unit is %s", support.Show(eu))
				}
				return nil
			})
		}
		refused()
		t.Log(d.Tree().ExecEnv(env).StatusDetail)
		if diff := cmp.Diff(stored, d.Stored(framework)); diff != "" {
			t.Errorf("the storage has changed: %s", diff)
		}
		d.Restart()
		refused()

		d.Stop()
		useFramework(t, d, framework, right)
		d.Start()
		d.Up()
		c = d.Console(framework)
		agree(t, d, framework, c)
		support.Until(t, "the rows are as they were", func() error {
			strip := func(all objects) map[string]any {
				out := plain(all)
				for _, e := range []dbus.ObjectPath{env, envRow(t, d, other)} {
					for _, name := range []string{"Name", "RestartReason", "RestartCount", "LastRestarted"} {
						delete(out, string(e)+" "+name)
					}
				}
				return out
			}
			if diff := cmp.Diff(strip(before), strip(rows(t, d))); diff != "" {
				return fmt.Errorf("%s", diff)
			}
			return nil
		})

		// Who wants the other make all the same has an empty environment of it.
		d.Stop()
		useFramework(t, d, framework, theirs)
		d.Start()
		d.Up()
		set(t, d, d.Tree().ExecEnv(env).Path+".Enable", "false")
		if err := os.RemoveAll(filepath.Join(d.State, "env", framework, "storage")); err != nil {
			t.Fatal(err)
		}
		set(t, d, d.Tree().ExecEnv(env).Path+".Enable", "true")
		d.Until("the units are missing", func(tree *client.Tree) error {
			if e, du := tree.ExecEnv(env), tree.DeploymentUnit(u.Object); e.Status != "Up" || !du.Missing {
				return fmt.Errorf("the environment is %s, the unit %s", e.Status, support.Show(du))
			}
			return nil
		})
		for _, du := range d.Tree().DeploymentUnits {
			d.Done(d.Client.Uninstall(t.Context(), du.Object))
		}
		u = d.Install("sample-1.0.0.jar", framework)
		wantUnit(t, d, u, "1.0.0", "Active", true)
	})
}
