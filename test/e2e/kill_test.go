package e2e

import (
	gocmp "cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/test/support"
)

// A victim is a process that is killed in a test.
type victim string

const (
	theAgent   victim = "agent"
	theAdapter victim = "adapter"
	theJVM     victim = "JVM"
)

var victims = []victim{theAgent, theAdapter, theJVM}

// A crash is a device whose processes are killed, with the console of its one environment.
type crash struct {
	*support.Device
	t     *testing.T
	c     *support.Console
	env   string // its name, which is that of its framework
	kills int    // since the agent was started: it waits longer after each
	// launch is the framework's UUID when it was killed last.
	launch string
}

func newCrash(t *testing.T, env support.Env) *crash {
	t.Helper()
	d := boot(t, env)
	return &crash{Device: d, t: t, c: d.InstallConsole(env.Framework), env: env.Framework}
}

// sub returns the same device for a part of the test.
func (k *crash) sub(t *testing.T) *crash {
	own := *k
	own.t = t
	return &own
}

// fresh starts the agent anew when so much was killed that it would take its time with the next launch.
func (k *crash) fresh() {
	k.t.Helper()
	if k.kills >= 2 {
		k.Restart()
		k.Up()
		k.kills = 0
	}
}

// die kills one process. The agent is started again; the others have to come back by themselves.
func (k *crash) die(v victim) {
	k.t.Helper()
	switch v {
	case theAgent:
		k.Kill()
		k.Start()
		k.kills = 0
	case theAdapter:
		k.Adapter("osgi").Kill(k.t)
		k.kills++
	case theJVM:
		k.launch = k.Tree().ExecEnvs[0].Name
		k.JVM(k.env).Kill(k.t)
		k.kills++
	}
}

// whole waits until everything is up again and checks that all views of it agree and no process is there that should not be.
func (k *crash) whole(v victim) {
	k.t.Helper()
	if v == theJVM {
		k.Until("the framework is launched again", func(tree *client.Tree) error {
			if e := tree.ExecEnvs[0]; e.Name == k.launch {
				return fmt.Errorf("it is %s and %s", e.Name, e.Status)
			}
			return nil
		})
	}
	k.Up()
	if v == theJVM {
		k.c = k.Console(k.env)
	}
	agree(k.t, k.Device, k.env, k.c)
	support.Until(k.t, "no process is too many", func() error {
		adapters, jvms := 0, 0
		for _, p := range k.Processes() {
			if p.IsAdapter("osgi") {
				adapters++
			}
			if p.IsEnv(k.env) {
				jvms++
			}
		}
		if zombies := k.Zombies(); adapters != 1 || jvms != 1 || len(zombies) > 0 {
			return fmt.Errorf("there are %d adapters, %d JVMs, zombies %v", adapters, jvms, zombies)
		}
		return nil
	})
}

// jobs returns every job without what is in memory only.
func jobs(t *testing.T, d *support.Device) objects {
	t.Helper()
	all := managed(t, d)
	maps.DeleteFunc(all, func(p dbus.ObjectPath, _ map[string]map[string]dbus.Variant) bool {
		return !strings.Contains(string(p), "/Job/")
	})
	for _, ifaces := range all {
		for _, properties := range ifaces {
			delete(properties, "BytesDone")
			delete(properties, "BytesTotal")
		}
	}
	return all
}

// started tells what bundles said when they were started and stopped, and how often the framework was launched: its own proof that
// nothing was disturbed.
func (k *crash) started() []string {
	var lines []string
	for line := range strings.Lines(k.HostLog(k.env)) {
		if strings.HasPrefix(line, "hello ") || strings.HasPrefix(line, "goodbye ") || strings.HasPrefix(line, "=== launch") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

// A household is a set of units in every state that a launch treats differently.
type household struct {
	auto      support.Unit // AutoStart, active
	off       support.Unit // no AutoStart, idle
	transient support.Unit // no AutoStart, active
	stopped   support.Unit // AutoStart, stopped: the next launch starts it
	high      support.Unit // AutoStart, above the run level
}

// furnish installs a household in an environment at run level 5, with names that the test gives.
func (k *crash) furnish() household {
	k.t.Helper()
	no := false
	h := household{
		auto:      k.Install("sample-1.0.0.jar", k.env),
		off:       k.InstallWith(k.URL("sample2-1.0.0.jar"), client.InstallOptions{ExecEnv: k.env, AutoStart: &no}),
		transient: k.InstallWith(k.URL("no-vendor-1.0.0.jar"), client.InstallOptions{ExecEnv: k.env, AutoStart: &no}),
		stopped:   k.Install("throws-in-start-1.0.1.jar", k.env),
		high:      k.Install("large-1.0.0.jar", k.env),
	}
	k.Done(k.Client.Start(k.t.Context(), h.transient.EU.Object))
	k.Done(k.Client.Stop(k.t.Context(), h.stopped.EU.Object))
	for _, set := range []struct {
		path  dbus.ObjectPath
		name  string
		value any
	}{
		{h.auto.Object, "Alias", "ours-du"}, {h.auto.EU.Object, "Alias", "ours-eu"}, {h.auto.EU.ExecEnv, "Alias", "ours-env"},
		{h.auto.EU.Object, "RunLevel", uint32(3)}, {h.high.EU.Object, "RunLevel", uint32(9)},
	} {
		if err := k.Client.SetProperty(k.t.Context(), set.path, set.name, set.value); err != nil {
			k.t.Fatal(err)
		}
	}
	k.Until("the household is as it should be", func(tree *client.Tree) error {
		err := h.check(tree, map[string]string{"auto": "Active", "off": "Idle", "transient": "Active", "stopped": "Idle", "high": "Idle"})
		for _, j := range tree.Jobs {
			if !j.Final() {
				err = errors.Join(err, fmt.Errorf("%s is %s", j, j.State))
			}
		}
		return err
	})
	return h
}

// afterLaunch are the properties that a launch may change: a framework resolves a bundle when it starts it. Faults are checked with
// the states.
var afterLaunch = []string{"Name", "Status", "Resolved", "ActiveExecutionUnits", "ExecutionFaultCode", "ExecutionFaultMessage"}

// launched is what the units of a household are after the launch that follows a sudden end. transient is what the one is that was at work
// and is not started again: with the fault of that, if the agent saw the end.
func launched(transient string) map[string]string {
	return map[string]string{"auto": "Active", "off": "Idle", "transient": transient, "stopped": "Active", "high": "Idle"}
}

// check compares the states of the units, and their faults, none unless one is wanted.
func (h household) check(tree *client.Tree, want map[string]string) error {
	for name, u := range h.units() {
		eu := tree.ExecutionUnit(u.EU.Object)
		if eu == nil {
			return fmt.Errorf("the unit %s is gone", name)
		}
		if status, code, _ := strings.Cut(want[name], " "); eu.Status != status || eu.FaultCode != gocmp.Or(code, "NoFault") {
			return fmt.Errorf("the unit %s is %s with %s %q, want %s", name, eu.Status, eu.FaultCode, eu.FaultMessage, want[name])
		}
	}
	return nil
}

func (h household) units() map[string]support.Unit {
	return map[string]support.Unit{"auto": h.auto, "off": h.off, "transient": h.transient, "stopped": h.stopped, "high": h.high}
}

// same waits until rows and jobs are what they were. A launch changes what except names: Name of the environment, states.
func (k *crash) same(rowsBefore, jobsBefore objects, except ...string) {
	k.t.Helper()
	strip := func(all objects) map[string]any {
		out := plain(all)
		maps.DeleteFunc(out, func(name string, _ any) bool {
			return slices.ContainsFunc(except, func(e string) bool { return strings.HasSuffix(name, " "+e) })
		})
		return out
	}
	support.Until(k.t, "rows and jobs are what they were", func() error {
		diff := cmp.Diff(strip(rowsBefore), strip(rows(k.t, k.Device))) + cmp.Diff(plain(jobsBefore), plain(jobs(k.t, k.Device)))
		if diff != "" {
			return errors.New(diff)
		}
		return nil
	})
}

// Nobody works: the death of agent and adapter disturbs no bundle, that of the framework is told and mended, and no row changes
// but in what has changed.
func TestKillIdle(t *testing.T) {
	either(t, "felix", func(t *testing.T, framework string) {
		whole := newCrash(t, support.Env{Framework: framework, InitialRunLevel: 5})
		h := whole.furnish()
		agree(t, whole.Device, framework, whole.c)
		before, jobsBefore, packages := rows(t, whole.Device), jobs(t, whole.Device), whole.Packages()
		said, pid := whole.started(), whole.JVM(framework).PID
		bundles := whole.c.Bundles()

		undisturbed := func(k *crash) {
			k.t.Helper()
			if now := k.JVM(framework).PID; now != pid {
				k.t.Errorf("the JVM was process %d and is %d", pid, now)
			}
			if diff := cmp.Diff(said, k.started()) + cmp.Diff(bundles, k.c.Bundles()) + cmp.Diff(packages, k.Packages()); diff != "" {
				k.t.Errorf("what should not have noticed has: %s", diff)
			}
		}

		t.Run("agent", func(t *testing.T) {
			k := whole.sub(t)
			k.Kill()
			undisturbed(k)
			k.Start()
			k.whole(theAgent)
			k.same(before, jobsBefore)
			undisturbed(k)
		})
		t.Run("adapter", func(t *testing.T) {
			k := whole.sub(t)
			old := k.Adapter("osgi")
			last := k.Tree()
			k.die(theAdapter)
			k.Until("the loss is told", func(tree *client.Tree) error {
				if e := tree.ExecEnvs[0]; e.Status != "Error" || !strings.Contains(e.StatusDetail, "adapter") || !strings.Contains(e.StatusDetail, "kill") {
					return fmt.Errorf("the environment is %s: %q", e.Status, e.StatusDetail)
				}
				if diff := cmp.Diff(last.ExecutionUnits, tree.ExecutionUnits) + cmp.Diff(last.DeploymentUnits, tree.DeploymentUnits); diff != "" {
					t.Fatalf("the loss of the adapter changed units: %s", diff)
				}
				return nil
			})
			undisturbed(k)
			k.whole(theAdapter)
			k.same(before, jobsBefore)
			undisturbed(k)
			if now := k.Adapter("osgi"); now.PID == old.PID {
				t.Errorf("the adapter is still process %d", old.PID)
			}
		})
		t.Run("JVM", func(t *testing.T) {
			k := whole.sub(t)
			k.die(theJVM)
			k.Until("the end of the framework is told", func(tree *client.Tree) error {
				if e := tree.ExecEnvs[0]; e.Status != "Error" || !strings.Contains(e.StatusDetail, "not running") || e.CurrentRunLevel != 0 {
					return fmt.Errorf("the environment is %s at level %d: %q", e.Status, e.CurrentRunLevel, e.StatusDetail)
				}
				for name, u := range h.units() {
					eu := tree.ExecutionUnit(u.EU.Object)
					code := "UnStartable"
					if was := before[u.EU.Object]["org.smmd.ExecutionUnit1"]["Status"].Value(); was == "Active" {
						code = "FailureWhileActive"
					}
					if eu == nil || eu.Status != "Idle" || eu.FaultCode != code || eu.FaultMessage == "" {
						return fmt.Errorf("the unit %s is %s, want %s", name, support.Show(eu), code)
					}
				}
				return nil
			})
			k.whole(theJVM)
			k.Until("what must run runs", func(tree *client.Tree) error { return h.check(tree, launched("Idle FailureWhileActive")) })
			k.same(before, jobsBefore, afterLaunch...)
			if now := k.JVM(framework).PID; now == pid {
				t.Errorf("the JVM is still process %d", pid)
			}
			whole.c = k.c
		})
		t.Run("all at once", func(t *testing.T) {
			k := whole.sub(t)
			k.Done(k.Client.Start(t.Context(), h.transient.EU.Object))
			jobsBefore := jobs(t, k.Device)
			pid := k.JVM(framework).PID
			k.JVM(framework).Signal(t, syscall.SIGKILL)
			k.Adapter("osgi").Signal(t, syscall.SIGKILL)
			k.Kill()
			k.Start()
			k.whole(theJVM)
			k.Until("what must run runs", func(tree *client.Tree) error { return h.check(tree, launched("Idle")) })
			k.same(before, jobsBefore, afterLaunch...)
			if now := k.JVM(framework).PID; now == pid {
				t.Errorf("the JVM is still process %d", pid)
			}
		})
	})
}
