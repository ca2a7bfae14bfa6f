package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/test/support"
)

// ends are the ways in which a bundle takes the JVM with it.
var ends = map[string][]string{"exit": {"do=exit", "status=7"}, "out of memory": {"do=oom"}}

// launches returns how often an environment has been launched.
func launches(d *support.Device, env string) int { return strings.Count(d.HostLog(env), "=== launch") }

// wantLaunches waits until an environment is up in its n-th launch.
func wantLaunches(t *testing.T, d *support.Device, env string, n int) {
	t.Helper()
	support.Until(t, fmt.Sprintf("launch %d is there", n), func() error {
		if now := launches(d, env); now != n {
			return fmt.Errorf("there were %d launches", now)
		}
		return nil
	})
	d.Up()
}

// A bundle that ends the JVM in a start that was asked for, or later while it runs, is the one to blame, and is told so until it runs
// again. All others come back by themselves.
func TestABundleEndsTheFrameworkWhenAsked(t *testing.T) {
	either(t, "equinox", func(t *testing.T, framework string) {
		x := newTrouble(t)
		d := boot(t, support.Env{Framework: framework, Properties: x.properties()})
		c := d.InstallConsole(framework)
		good := d.Install("sample-1.0.0.jar", framework)
		bad := d.Install("trouble-1.0.0.jar", framework)
		set(t, d, bad.EU.Path+".AutoStart", "false")
		n := 1
		after := func(t *testing.T, status, code string) {
			t.Helper()
			wantLaunches(t, d, framework, n)
			c = d.Console(framework)
			d.Until("the bad one has settled", func(tree *client.Tree) error {
				eu := tree.ExecutionUnit(bad.EU.Object)
				if eu.Status != status || eu.FaultCode != code || (code == "NoFault") != (eu.FaultMessage == "") {
					return fmt.Errorf("it is %s with %s %q", eu.Status, eu.FaultCode, eu.FaultMessage)
				}
				return nil
			})
			wantStates(t, d, []support.Unit{good}, "Active")
			agree(t, d, framework, c)
			wantUnit(t, d, good, "1.0.0", "Active", true)
			if code == "NoFault" {
				d.Restart() // its pauses between launches begin anew
				d.Up()
				wantRest(t, d, bad, status, code, "")
			}
		}
		t.Run("out of memory in start", func(t *testing.T) { // System.exit: see TestABundleThatEndsTheFramework
			x.on("start", ends["out of memory"]...)
			j := d.Job(d.Client.Start(t.Context(), bad.EU.Object))
			if j.State != client.JobFailed || j.FaultName != "ExecEnvUnavailable" {
				t.Error(show(j))
			}
			x.off("start")
			n += 3
			after(t, "Idle", "FailureOnStart")
			d.Done(d.Client.Start(t.Context(), bad.EU.Object))
			after(t, "Active", "NoFault")
		})
		// later ends the JVM by a thread of the bundle, and returns when it has been launched again.
		later := func(t *testing.T, words ...string) {
			t.Helper()
			x.on("later", words...)
			n++
			support.Until(t, "the JVM has ended", func() error {
				if launches(d, framework) < n {
					return fmt.Errorf("it runs")
				}
				return nil
			})
			x.off("later")
		}
		for name, words := range ends {
			t.Run(name+" while active", func(t *testing.T) {
				later(t, words...)
				after(t, "Idle", "FailureWhileActive")
				d.Done(d.Client.Start(t.Context(), bad.EU.Object))
				after(t, "Active", "NoFault")
			})
		}
		t.Run("exit in stop", func(t *testing.T) {
			x.on("stop", ends["exit"]...)
			d.Done(d.Client.Stop(t.Context(), bad.EU.Object)) // after the launch it does not run
			x.off("stop")
			n++
			after(t, "Idle", "NoFault")
		})
		t.Run("while active with AutoStart", func(t *testing.T) {
			set(t, d, bad.EU.Path+".AutoStart", "true")
			after(t, "Active", "NoFault")
			later(t, ends["exit"]...)
			after(t, "Active", "NoFault")
		})
	})
}

// A bundle with AutoStart that ends the framework at each launch keeps everybody from working. That ends when its AutoStart does: the
// framework is told before it starts a bundle.
func TestABundleEndsTheFrameworkAtEachLaunch(t *testing.T) {
	each(t, func(t *testing.T, framework string) {
		x := newTrouble(t)
		d := boot(t, support.Env{Framework: framework, Properties: x.properties()})
		c := d.InstallConsole(framework)
		good := d.Install("sample-1.0.0.jar", framework)
		x.on("start", ends["exit"]...)
		job, err := d.Client.Install(t.Context(), d.URL("trouble-1.0.0.jar"), client.InstallOptions{ExecEnv: framework})
		if j := d.Job(job, err); j.State != client.JobDone || !strings.Contains(j.Message, "did not start") {
			t.Error(show(j))
		}
		bad := unitNamed(t, d, "org.smmd.trouble")
		looping := func(t *testing.T, code string) {
			t.Helper()
			n := launches(d, framework)
			support.Until(t, "it is launched once more", func() error {
				if now := launches(d, framework); now < n+1 {
					return fmt.Errorf("there were %d launches after %d", now, n)
				}
				return nil
			})
			// Until the call that did it has been answered it may show FailureWhileActive: it was starting when everything ended.
			d.Until("the bad one is to blame", func(tree *client.Tree) error {
				if eu := tree.ExecutionUnit(bad.EU.Object); eu.Status != "Idle" || eu.FaultCode != code || eu.FaultMessage == "" || !eu.AutoStart {
					return fmt.Errorf("it is %s with %s %q, AutoStart %v", eu.Status, eu.FaultCode, eu.FaultMessage, eu.AutoStart)
				}
				return nil
			})
		}
		ended := func(t *testing.T) {
			t.Helper()
			d.Up()
			c = d.Console(framework)
			wantStates(t, d, []support.Unit{good, bad}, "Active", "Idle")
			agree(t, d, framework, c)
			wantUnit(t, d, good, "1.0.0", "Active", true)
			wantUnit(t, d, bad, "1.0.0", "Idle", false) // without a fault: something else has been asked of it
		}
		t.Run("AutoStart is set between two launches", func(t *testing.T) {
			looping(t, "FailureOnAutoStart")
			set(t, d, bad.EU.Path+".AutoStart", "false")
			ended(t)
		})
		t.Run("a persistent start", func(t *testing.T) {
			d.Restart()
			d.Up()
			if _, err := d.Client.SetParameterValues(t.Context(), client.Parameter{Path: bad.EU.Path + ".AutoStart", Value: "true"}); err != nil {
				t.Fatal(err)
			}
			looping(t, "FailureOnStart")
			set(t, d, firstEnv+"Enable", "false")
			set(t, d, bad.EU.Path+".AutoStart", "false")
			set(t, d, firstEnv+"Enable", "true")
			ended(t)
		})
		d.Done(d.Client.Uninstall(t.Context(), bad.Object))
		agree(t, d, framework, c)
	})
}

// A bundle that hangs holds up nobody but those that wait for it, on both ways; and for no longer than its environment is to run.
func TestABundleHangs(t *testing.T) {
	either(t, "felix", func(t *testing.T, framework string) {
		x := newTrouble(t)
		d := boot(t, support.Env{Framework: framework, Properties: x.properties(), Settings: "call_timeout = \"1s\"\nstop_timeout = \"2s\""})
		c := d.InstallConsole(framework)
		good := d.Install("sample-1.0.0.jar", framework)
		x.on("start", "do=hang")
		bad := d.Install("trouble-1.0.0.jar", framework)
		late := d.Install("sample2-1.0.0.jar", framework)
		hangs := func(t *testing.T, status string) {
			t.Helper()
			wantRest(t, d, bad, status, "NoFault", "")
			agree(t, d, framework, c)
			wantUnit(t, d, good, "1.0.0", "Active", true)
			other := d.Install("provider-1.0.0.jar", framework)
			wantUnit(t, d, other, "1.0.0", "Active", true)
			d.Done(d.Client.Stop(t.Context(), other.EU.Object))
			d.Done(d.Client.Update(t.Context(), other.Object, client.UpdateOptions{URL: d.URL("provider-2.0.0.jar")}))
			d.Done(d.Client.Uninstall(t.Context(), other.Object))
			wantFault(t, d.Job(d.Client.Uninstall(t.Context(), bad.Object)), "DeadlineExceeded", 9001, 7002)
			// An update of it has done nothing, and so nothing to undo that would hang too.
			wantFault(t, d.Job(d.Client.Update(t.Context(), bad.Object, client.UpdateOptions{URL: d.URL("trouble-2.0.0.jar")})), "DeadlineExceeded", 9001, 7002)
			wantRest(t, d, bad, status, "NoFault", "")
			agree(t, d, framework, c)
		}
		rest := func(t *testing.T, status string) {
			t.Helper()
			wantRest(t, d, bad, status, "NoFault", "")
			wantStates(t, d, []support.Unit{good, late}, "Active", "Active")
			agree(t, d, framework, c)
		}
		// off and on again, by force: the framework itself waits for the bundle.
		off := func(t *testing.T) {
			t.Helper()
			set(t, d, firstEnv+"Enable", "false")
			if _, running := d.Host(framework); running {
				t.Error("the framework runs although its environment is disabled")
			}
			wantStates(t, d, []support.Unit{good, bad, late}, "Idle", "Idle", "Idle")
		}
		on := func(t *testing.T) {
			t.Helper()
			set(t, d, firstEnv+"Enable", "true")
			d.Up()
			c = d.Console(framework)
		}
		t.Run("start", func(t *testing.T) {
			end := reading(t, d)
			hangs(t, "Starting")
			x.off("start")
			rest(t, "Active")
			end()
		})
		t.Run("stop", func(t *testing.T) {
			x.on("stop", "do=hang")
			d.Done(d.Client.Stop(t.Context(), bad.EU.Object))
			hangs(t, "Stopping")
			_, err := d.Client.Start(t.Context(), bad.EU.Object)
			wantRefusal(t, err, "InvalidDUState", 9007, 7022)
			if _, err := d.Client.SetParameterValues(t.Context(), client.Parameter{Path: bad.EU.Path + ".RequestedState", Value: "Active"}); err == nil {
				t.Error("RequestedState is taken")
			}
			x.off("stop")
			rest(t, "Idle")
		})
		t.Run("start for ever", func(t *testing.T) {
			x.on("start", "do=hang")
			d.Done(d.Client.Start(t.Context(), bad.EU.Object))
			hangs(t, "Starting")
			off(t)
			x.off("start")
			on(t)
			rest(t, "Active")
		})
		t.Run("stop for ever", func(t *testing.T) {
			x.on("stop", "do=hang")
			d.Done(d.Client.Stop(t.Context(), bad.EU.Object))
			hangs(t, "Stopping")
			off(t)
			x.off("stop")
			on(t)
			rest(t, "Active")
		})
		t.Run("launch", func(t *testing.T) {
			off(t)
			x.on("start", "do=hang")
			set(t, d, firstEnv+"Enable", "true")
			wantStates(t, d, []support.Unit{good, bad, late}, "Active", "Starting", "Idle") // late waits behind it
			x.off("start")
			d.Up()
			c = d.Console(framework)
			rest(t, "Active")
		})
	})
}
