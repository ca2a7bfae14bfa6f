package e2e

import (
	"crypto/sha256"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/test/support"
)

// An attachment is a device with an environment that somebody else launches.
type attachment struct {
	*support.Device
	t        *testing.T
	launcher *support.Launcher
	c        *support.Console
	env      string // its name, which is that of its framework
	object   dbus.ObjectPath
}

// attach makes a device whose one environment waits for its framework, at InitialRunLevel 5. The launcher brings the framework to level 3.
func attach(t *testing.T, framework string, prepare func(*support.Launcher)) *attachment {
	t.Helper()
	l := support.NewLauncher(t, framework)
	if prepare != nil {
		prepare(l)
	}
	d := support.New(t, support.Options{Programs: programs, Envs: []support.Env{{Launcher: l, InitialRunLevel: 5}}})
	d.Start()
	a := &attachment{Device: d, t: t, launcher: l, env: framework}
	a.waits("nobody listens on " + l.Socket)
	a.object = envRow(t, d, framework)
	return a
}

// launch launches the framework and waits until it is up.
func (a *attachment) launch() {
	a.t.Helper()
	a.launcher.Launch()
	a.up()
}

// up waits until the framework is up and everybody says the same of it.
func (a *attachment) up() {
	a.t.Helper()
	a.Up()
	a.c = a.Console(a.env)
	agree(a.t, a.Device, a.env, a.c)
}

// waits waits until the environment waits for its framework, for this reason.
func (a *attachment) waits(why string) {
	a.t.Helper()
	a.Until("the environment waits", func(tree *client.Tree) error {
		e := tree.ExecEnvs[0]
		if e.Status != "Error" || !strings.HasPrefix(e.StatusDetail, "waiting for the framework: ") || !strings.Contains(e.StatusDetail, why) || e.CurrentRunLevel != 0 {
			return fmt.Errorf("it is %s at level %d: %s", e.Status, e.CurrentRunLevel, e.StatusDetail)
		}
		return nil
	})
}

// row is the environment as D-Bus shows it.
func (a *attachment) row() *client.ExecEnv { return a.Tree().ExecEnv(a.object) }

// named returns the one unit of that name.
func (a *attachment) named(name string) support.Unit { return unitNamed(a.t, a.Device, name) }

// host is the unit that the host is.
func (a *attachment) host() support.Unit { return a.named("org.smmd.osgi.host") }

// at runs lines at the console and waits until the rows say what they changed.
func (a *attachment) at(lines ...string) {
	a.t.Helper()
	for _, line := range lines {
		a.c.Run(line)
	}
	support.Until(a.t, "the framework has written it, and the rows follow", func() error { return storage(a.Tree(), a.env, a.Stored(a.env)) })
	agree(a.t, a.Device, a.env, a.c)
}

// exported waits until the agent has a package of a bundle that somebody else installed.
func (a *attachment) exported(bundle string) {
	a.t.Helper()
	sum := fmt.Sprintf("%x", sha256.Sum256(a.Content(bundle)))
	support.Until(a.t, bundle+" is exported", func() error {
		if files := a.Packages(); !slices.ContainsFunc(files, func(f string) bool { return strings.Contains(f, sum) }) {
			return fmt.Errorf("the packages are %v, that of the bundle is %s", files, sum)
		}
		return nil
	})
}

// A framework that somebody else launched is driven as any other.
func TestAttached(t *testing.T) {
	each(t, func(t *testing.T, framework string) {
		a := attach(t, framework, nil)
		a.launch()
		if e := a.row(); e.CurrentRunLevel != 5 || e.Name == "" || e.Version == "" || !e.Enable {
			t.Errorf("the environment is %s", support.Show(e))
		}
		// What the launcher installed is there as it is: the console, and the host itself.
		if tree := a.Tree(); len(tree.DeploymentUnits) != 4 {
			t.Errorf("the units are %v", tree.DeploymentUnits)
		}
		wantUnit(t, a, a.host(), "1.0.0", "Active", true)
		wantUnit(t, a, a.named("org.apache.felix.gogo.shell"), "1.1.4", "Active", true)

		u := a.Install("sample-1.0.0.jar", a.env)
		wantUnit(t, a, u, "1.0.0", "Active", true)
		agree(t, a.Device, a.env, a.c)
		a.Done(a.Client.Update(t.Context(), u.Object, client.UpdateOptions{URL: a.URL("sample-2.0.0.jar")}))
		wantUnit(t, a, u, "2.0.0", "Active", true)
		agree(t, a.Device, a.env, a.c)
		a.Done(a.Client.Stop(t.Context(), u.EU.Object))
		wantStates(t, a.Device, []support.Unit{u}, "Idle")
		agree(t, a.Device, a.env, a.c)
		set(t, a.Device, u.EU.Path+".AutoStart", "false", u.EU.Path+".RunLevel", "4")
		agree(t, a.Device, a.env, a.c)
		set(t, a.Device, u.EU.Path+".AutoStart", "true")
		wantStates(t, a.Device, []support.Unit{u}, "Active")
		for level, state := range map[int32]string{3: "Idle", 4: "Active"} {
			if err := a.Client.SetRunLevel(t.Context(), a.object, level); err != nil {
				t.Fatal(err)
			}
			wantStates(t, a.Device, []support.Unit{u}, state)
			agree(t, a.Device, a.env, a.c)
		}
		set(t, a.Device, "Device.SoftwareModules.ExecEnv.1.InitialExecutionUnitRunLevel", "2")
		bad := a.InstallWith(a.URL("throws-in-start-1.0.0.jar"), client.InstallOptions{ExecEnv: a.env})
		wantExecution(t, a, bad, "FailureOnAutoStart", "boom on purpose")
		if bad.EU.RunLevel != 2 {
			t.Errorf("the run level of a new unit is %d", bad.EU.RunLevel)
		}
		wantFault(t, a.Job(a.Client.Install(t.Context(), a.URL("truncated.jar"), client.InstallOptions{ExecEnv: a.env})), "PackageCorrupt", 9018, 7035)
		agree(t, a.Device, a.env, a.c)
		a.Done(a.Client.Uninstall(t.Context(), bad.Object))
		agree(t, a.Device, a.env, a.c)

		// What is done at the console is followed.
		a.at("stop " + u.EU.Label)
		wantStates(t, a.Device, []support.Unit{u}, "Idle")
		a.at("bundlelevel -s 3 "+u.EU.Label, "start "+u.EU.Label)
		wantStates(t, a.Device, []support.Unit{u}, "Active")
		a.at("install file:" + support.BundlePath(t, "sample2-1.0.0.jar"))
		other := a.named("org.smmd.sample2")
		a.at("start " + other.EU.Label)
		wantUnit(t, a, other, "1.0.0", "Active", true)
		a.Done(a.Client.Uninstall(t.Context(), other.Object))
		agree(t, a.Device, a.env, a.c)
	})
}

// What only the launcher can do is refused, and so is everything that would take the host away.
func TestAttachedIsNotOurs(t *testing.T) {
	either(t, "equinox", func(t *testing.T, framework string) {
		a := attach(t, framework, nil)
		a.launch()
		pid := a.launcher.PID()
		before := tracesOf(t, a.Device, a.c)
		const env = "Device.SoftwareModules.ExecEnv.1."

		_, err := a.Client.SetParameterValues(t.Context(), client.Parameter{Path: env + "Enable", Value: "false"})
		wantRefusal(t, err, "RequestDenied", 9001, 7002)
		wantRefusal(t, a.Client.SetProperty(t.Context(), a.object, "Enable", false), "RequestDenied", 9007, 7002)
		set(t, a.Device, env+"Enable", "true")
		_, err = a.Client.RestartExecEnv(t.Context(), a.object, "why not")
		wantRefusal(t, err, "RequestDenied", 9001, 7002)

		host := a.host()
		a.Done(a.Client.Start(t.Context(), host.EU.Object))
		_, err = a.Client.Uninstall(t.Context(), host.Object)
		wantRefusal(t, err, "RequestDenied", 9001, 7002)
		_, err = a.Client.Update(t.Context(), host.Object, client.UpdateOptions{URL: a.URL("sample-1.0.0.jar")})
		wantRefusal(t, err, "NotSupported", 9001, 7002)
		wantFault(t, a.Job(a.Client.Stop(t.Context(), host.EU.Object)), "NotSupported", 9001, 7002)
		for name, value := range map[string]any{"AutoStart": false, "RunLevel": uint32(7)} {
			if err := a.Client.SetProperty(t.Context(), host.EU.Object, name, value); err != nil { // it is told to the framework later
				t.Errorf("%s: %v", name, err)
			}
		}
		support.Until(t, "what was set is taken back", func() error {
			if now := a.host(); !now.EU.AutoStart || now.EU.RunLevel != 1 {
				return fmt.Errorf("it is %s", support.Show(now.EU))
			}
			return nil
		})
		unchanged(t, before, a.Device, a.c)
		if now := a.launcher.PID(); now != pid {
			t.Errorf("the framework was process %d and is %d", pid, now)
		}
	})
}

// Whoever is killed: what is set holds, and a framework that its launcher launches again is brought to where it should be.
func TestAttachedKills(t *testing.T) {
	either(t, "felix", func(t *testing.T, framework string) {
		a := attach(t, framework, nil)
		a.launch()
		u, low := a.Install("sample-1.0.0.jar", a.env), a.Install("sample2-1.0.0.jar", a.env)
		set(t, a.Device, u.EU.Path+".RunLevel", "5", "Device.SoftwareModules.ExecEnv.1.InitialExecutionUnitRunLevel", "4")
		set(t, a.Device, low.EU.Path+".AutoStart", "false")
		agree(t, a.Device, a.env, a.c)
		first := a.row().Name

		a.Kill()
		a.Start()
		a.up()
		a.Adapter("osgi").Kill(t)
		a.up()
		if now := a.row().Name; now != first {
			t.Errorf("the framework was %s and is %s", first, now)
		}
		for name, end := range map[string]func(){
			"killed": a.launcher.Kill,
			"ended in order": func() {
				a.c.Last("stop 0")
				a.waits("its last words: the framework is stopping")
				a.launcher.Kill() // the console's listener lives on in the process
			},
			"killed, agent down": func() { a.Stop(); a.launcher.Kill(); a.Start() },
		} {
			end()
			a.waits("nobody listens")
			a.Until("the units say that they do not run", func(tree *client.Tree) error {
				if eu := tree.ExecutionUnit(u.EU.Object); eu.Status != "Idle" {
					return fmt.Errorf("%s is %s", u.Name, eu.Status)
				}
				return nil
			})
			start, err := a.Client.Start(t.Context(), u.EU.Object) // which waits too
			a.launch()
			a.Done(start, err)
			wantStates(t, a.Device, []support.Unit{u, low}, "Active", "Idle")
			if e := a.row(); e.CurrentRunLevel != 5 || e.Name == first || e.RestartCount != 0 {
				t.Errorf("%s: the environment is %s", name, support.Show(e))
			}
			first = a.row().Name
			if other := a.Install("no-vendor-1.0.0.jar", a.env); other.EU.RunLevel != 4 {
				t.Errorf("%s: a new unit has level %d", name, other.EU.RunLevel)
			} else {
				a.Done(a.Client.Uninstall(t.Context(), other.Object))
			}
		}

		// The framework is launched again in the same process.
		a.c.Last("telnetd stop; update 0") // else the listener lives on and keeps the port
		a.Until("the framework is another launch", func(tree *client.Tree) error {
			if e := tree.ExecEnvs[0]; e.Status != "Up" || e.Name == first {
				return fmt.Errorf("it is %s %s: %s", e.Status, e.Name, e.StatusDetail)
			}
			return nil
		})
		a.up()
		wantStates(t, a.Device, []support.Unit{u, low}, "Active", "Idle")
		first = a.row().Name

		// The host alone goes, and comes back.
		id := a.host().EU.Label
		a.c.Run("stop " + id)
		a.waits("its last words: the host bundle " + id + " was stopped")
		a.c.Run("start " + id)
		a.Up()
		agree(t, a.Device, a.env, a.c)
		if now := a.row().Name; now != first {
			t.Errorf("the framework was %s and is %s", first, now)
		}

		// A framework that hangs is not up.
		hung := support.Process{PID: a.launcher.PID()}
		hung.Signal(t, syscall.SIGSTOP)
		a.waits("nothing was heard of it")
		hung.Signal(t, syscall.SIGCONT)
		a.Up()
		agree(t, a.Device, a.env, a.c)
	})
}

// A Reset restores bundles and levels, also of what the launcher installed, and says what it did not do.
func TestAttachedReset(t *testing.T) {
	each(t, func(t *testing.T, framework string) {
		a := attach(t, framework, nil)
		a.launch()
		a.at("install file:" + support.BundlePath(t, "sample2-1.0.0.jar"))
		found := a.named("org.smmd.sample2")
		updated, removed := a.Install("sample-1.0.0.jar", a.env), a.Install("provider-1.0.0.jar", a.env)
		set(t, a.Device, updated.EU.Path+".RunLevel", "2")
		record(t, a.Device, "first")
		a.exported("sample2-1.0.0.jar")
		pid, name := a.launcher.PID(), a.row().Name

		a.Done(a.Client.Update(t.Context(), updated.Object, client.UpdateOptions{URL: a.URL("sample-2.0.0.jar")}))
		a.Done(a.Client.Uninstall(t.Context(), removed.Object))
		a.Done(a.Client.Uninstall(t.Context(), found.Object))
		came := a.Install("lazy-1.0.0.jar", a.env)
		set(t, a.Device, updated.EU.Path+".RunLevel", "4", updated.EU.Path+".AutoStart", "false", "Device.SoftwareModules.ExecEnv.1.InitialRunLevel", "8")
		agree(t, a.Device, a.env, a.c)
		a.Files.Close()

		j := a.Done(a.Client.ResetExecEnv(t.Context(), a.object, "cwmp"))
		if !strings.Contains(j.Message, "somebody else launches it") {
			t.Errorf("the remark of the Reset is %q", j.Message)
		}
		agree(t, a.Device, a.env, a.c)
		if now := a.row(); a.launcher.PID() != pid || now.Name != name || now.InitialRunLevel != 5 || now.CurrentRunLevel != 5 {
			t.Errorf("the environment is %s", support.Show(now))
		}
		if a.Tree().DeploymentUnit(came.Object) != nil {
			t.Error("what came since the baseline is still there")
		}
		back := wantUnit(t, a, updated, "1.0.0", "Active", true)
		if back.EU.RunLevel != 2 {
			t.Errorf("the run level is %d, in the baseline it was 2", back.EU.RunLevel)
		}
		wantUnit(t, a, a.named(removed.Name), "1.0.0", "Active", true)
		wantUnit(t, a, a.named(found.Name), "1.0.0", "Idle", false)
		wantUnit(t, a, a.host(), "1.0.0", "Active", true)
	})
}

// The framework runs as another user, who cannot read what the agent has.
func TestAttachedAsAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may run something as another user")
	}
	either(t, "felix", func(t *testing.T, framework string) {
		a := attach(t, framework, func(l *support.Launcher) { l.User = 65534 })
		a.launch()
		u := a.Install("sample-1.0.0.jar", a.env)
		a.Done(a.Client.Update(t.Context(), u.Object, client.UpdateOptions{URL: a.URL("sample-2.0.0.jar")}))
		wantUnit(t, a, u, "2.0.0", "Active", true)
		a.at("install file:" + support.BundlePath(t, "sample2-1.0.0.jar"))
		found := a.named("org.smmd.sample2")
		record(t, a.Device, "first")
		a.exported("sample2-1.0.0.jar")
		a.Done(a.Client.Uninstall(t.Context(), found.Object))
		a.Done(a.Client.ResetExecEnv(t.Context(), a.object, "cwmp"))
		wantUnit(t, a, a.named(found.Name), "1.0.0", "Idle", false)
		agree(t, a.Device, a.env, a.c)
	})
}
