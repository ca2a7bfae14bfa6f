package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/test/support"
)

// changed is a device on which everything that a Reset takes back is done again and again.
type changed struct {
	*support.Device
	t                                   *testing.T
	framework                           string
	updated, removed, configured, stays support.Unit
}

// bootChanged makes the device, with a baseline.
func bootChanged(t *testing.T, framework string) *changed {
	c := &changed{Device: boot(t, support.Env{Framework: framework, InitialRunLevel: 3}), t: t, framework: framework}
	c.InstallConsole(framework)
	c.updated, c.configured = c.Install("sample-1.0.0.jar", framework), c.Install("sample2-1.0.0.jar", framework)
	c.removed, c.stays = c.Install("provider-1.0.0.jar", framework), c.Install("consumer-1.0.0.jar", framework)
	record(t, c.Device, "first")
	return c
}

// change does everything that the Reset is to take back.
func (c *changed) change() {
	c.t.Helper()
	c.Done(c.Client.Update(c.t.Context(), c.updated.Object, client.UpdateOptions{URL: c.URL("sample-2.0.0.jar")}))
	c.Done(c.Client.Uninstall(c.t.Context(), unitNamed(c.t, c.Device, c.removed.Name).Object))
	c.Install("lazy-1.0.0.jar", c.framework)
	set(c.t, c.Device, c.configured.EU.Path+".AutoStart", "false", c.configured.EU.Path+".RunLevel", "9", "Device.SoftwareModules.ExecEnv.1.InitialRunLevel", "4")
}

// restored checks that all is as in the baseline, and the framework of the same mind.
func (c *changed) restored() {
	c.t.Helper()
	c.Up()
	agree(c.t, c.Device, c.framework, c.Console(c.framework))
	wantUnit(c.t, c, c.updated, "1.0.0", "Active", true)
	back := unitNamed(c.t, c.Device, c.removed.Name)
	wantUnit(c.t, c, back, "1.0.0", "Active", true)
	wantUnit(c.t, c, c.configured, "1.0.0", "Active", true)
	wantUnit(c.t, c, c.stays, "1.0.0", "Active", true)
	if back.UUID != c.removed.UUID || back.URL != c.removed.URL {
		c.t.Errorf("the unit that was installed again is %s", support.Show(back.DeploymentUnit))
	}
	c.Until("there are 7 units and both levels are those of the baseline", func(tree *client.Tree) error {
		e, configured := tree.ExecEnvs[0], tree.ExecutionUnit(c.configured.EU.Object)
		if len(tree.DeploymentUnits) != 7 || e.InitialRunLevel != 3 || e.CurrentRunLevel != 3 || configured == nil || configured.RunLevel != 1 {
			return fmt.Errorf("there are %d; the environment is %s, the unit that had been configured %s", len(tree.DeploymentUnits), support.Show(e), support.Show(configured))
		}
		return nil
	})
}

// when waits until a job is in a state and does f then, once. It reports whether the job was seen in that state: a state that is over in a
// moment may not be.
func (c *changed) when(job dbus.ObjectPath, state string, f func()) bool {
	c.t.Helper()
	ctx, cancel := context.WithCancel(c.t.Context())
	defer cancel()
	done := false
	_, err := c.Client.WaitJob(ctx, job, func(j *client.Job) {
		if j.State == state && !done {
			done = true
			f()
			cancel()
		}
	})
	if !done && err != nil {
		c.t.Fatalf("the job was not seen %s: %v", state, err)
	}
	return done
}

// resetDisturbed begins a Reset and does f while it is in a state. One that has gone through that state unseen is begun again.
func (c *changed) resetDisturbed(state string, f func()) dbus.ObjectPath {
	c.t.Helper()
	for range 20 {
		c.change()
		path, err := c.Client.ResetExecEnv(c.t.Context(), envRow(c.t, c.Device, c.framework), "cwmp")
		if err != nil {
			c.t.Fatal(err)
		}
		if c.when(path, state, f) {
			return path
		}
		c.Done(path, nil)
		c.restored()
	}
	c.t.Fatalf("no Reset was ever seen %s", state)
	return ""
}

// A Reset is killed at each of its steps: the agent, the adapter or the framework, each of which is back by itself or started again. It
// ends as if nothing had been.
func TestKillAtEachStepOfAReset(t *testing.T) {
	either(t, "felix", func(t *testing.T, framework string) {
		c := bootChanged(t, framework)
		victims := map[string]func(){
			"agent":     func() { c.Kill() },
			"adapter":   func() { c.Adapter("osgi").Kill(t) },
			"framework": func() { c.JVM(framework).Kill(t) },
		}
		names := []string{"agent", "framework", "adapter"}
		states := []string{"uninstalling", "updating", "installing", "configuring", "restarting"}
		rounds := 1
		if support.Long() {
			rounds = len(names) // each of them at each step
		}
		for round := range rounds {
			for i, state := range states {
				victim := names[(i+round)%len(names)]
				path := c.resetDisturbed(state, victims[victim])
				if victim == "agent" {
					c.Start()
				}
				c.Done(path, nil)
				c.restored()
				if t.Failed() {
					t.Fatalf("after the end of the %s while the Reset was %s", victim, state)
				}
			}
		}
	})
}

// What cannot be had is told, and keeps nothing else from being restored.
func TestResetTellsWhatIsNotRestorable(t *testing.T) {
	either(t, "felix", func(t *testing.T, framework string) {
		c := bootChanged(t, framework)
		console := c.Console(framework)
		location := "reference:file:" + support.BundlePath(t, "localized-1.0.0.jar")
		console.Run("install " + location)
		found := unitNamed(t, c.Device, "org.smmd.localized")
		record(t, c.Device, "with a unit of which there is no package")
		c.change()
		c.Done(c.Client.Uninstall(t.Context(), found.Object))
		c.Files.Close()

		job := c.Job(c.Client.ResetExecEnv(t.Context(), envRow(t, c.Device, framework), "cwmp"))
		if err := job.Err(); err == nil || !strings.Contains(err.Error(), "org.smmd.localized") || !strings.Contains(err.Error(), "not restorable") {
			t.Errorf("the job ended with %v", err)
		}
		for _, other := range []string{"sample", "provider"} {
			if err := fmt.Sprint(job.Err()); strings.Contains(err, "org.smmd."+other) {
				t.Errorf("the job ended with %s", err)
			}
		}
		c.restored()
	})
}
