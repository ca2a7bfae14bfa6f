package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/test/support"
)

// What class_path names is part of the framework: bundles see it once a property of the framework says so, and not otherwise.
func TestClassPath(t *testing.T) {
	either(t, "equinox", func(t *testing.T, framework string) {
		d := boot(t, support.Env{
			Framework: framework, Settings: fmt.Sprintf("class_path = [%q]", support.BundlePath(t, "provider-1.0.0.jar")),
			Properties: map[string]string{"org.osgi.framework.system.packages.extra": "org.smmd.bundles.provider.api;version=\"1.0.0\""},
		})
		c := d.InstallConsole(framework)
		u := d.Install("consumer-1.0.0.jar", framework)
		wantUnit(t, d, u, "1.0.0", "Active", true)
		agree(t, d, framework, c)
		if log := d.HostLog(framework); !strings.Contains(log, " to "+spokenName(u, framework)) {
			t.Errorf("the bundle has not used the class: %s", log)
		}
		env := envRow(t, d, framework)
		restart := func() {
			t.Helper()
			d.Stop()
			d.Start()
			d.Up()
			d.Done(d.Client.RestartExecEnv(t.Context(), env, ""))
			c = d.Console(framework)
			agree(t, d, framework, c)
		}

		t.Run("without the property", func(t *testing.T) {
			edit(t, d, `(?m)^"org.osgi.framework.system.packages.extra" = .*\n`, "")
			restart()
			wantExecution(t, d, u, "DependencyFailure", "")
			agree(t, d, framework, c)
		})
		t.Run("with a file that is not there", func(t *testing.T) {
			d.Configure("")
			edit(t, d, `class_path = \["`, "class_path = [\"/nowhere/x.jar\", \"")
			d.Restart()
			j := d.Job(d.Client.RestartExecEnv(t.Context(), env, ""))
			if j.State != client.JobFailed || !strings.Contains(j.Message, "/nowhere/x.jar: no such file") {
				t.Error(show(j))
			}
			d.Until("what is wrong is told", func(tree *client.Tree) error {
				if e := tree.ExecEnv(env); e.Status != "Error" || !strings.Contains(e.StatusDetail, "/nowhere/x.jar: no such file") {
					return fmt.Errorf("it is %s: %q", e.Status, e.StatusDetail)
				}
				return nil
			})
		})
		t.Run("as it was", func(t *testing.T) {
			d.Configure("")
			restart()
			wantUnit(t, d, u, "1.0.0", "Active", true)
		})
	})
}

func spokenName(u support.Unit, framework string) string {
	if framework == "equinox" {
		return u.Name + "_" + u.Version
	}
	return u.Name
}
