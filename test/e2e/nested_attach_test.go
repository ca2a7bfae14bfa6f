package e2e

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/test/support"
)

// A nest is a device with a framework that the agent launches, outer, and one inside its JVM that a bundle of outer launches, inner.
type nest struct {
	*support.Device
	t            *testing.T
	outer, inner dbus.ObjectPath
	bundle       support.Unit // who launches the inner framework
	consoles     map[string]*support.Console
	names        []string // of all launches so far
}

// build makes the device, with a sample and a console in the outer framework.
func build(t *testing.T, outer, inner string) *nest {
	t.Helper()
	l := support.NewLauncher(t, inner)
	env := support.Env{Name: "outer", Framework: outer, Properties: l.Nest()}
	if outer == "felix" && inner == "equinox" { // which puts its URL handlers before those of Felix
		env.Settings = `jvm_options = ["--add-opens=java.base/java.net=ALL-UNNAMED"]`
	}
	n := &nest{
		Device: support.New(t, support.Options{Programs: programs, Envs: []support.Env{env, {Name: "inner", Launcher: l, InitialRunLevel: 5}}}),
		t:      t, consoles: map[string]*support.Console{},
	}
	edit(t, n.Device, `name = "inner"\n`, "name = \"inner\"\nparent = \"outer\"\n")
	n.Start()
	n.outer, n.inner = envRow(t, n.Device, "outer"), envRow(t, n.Device, "inner")
	n.waits("nobody listens on " + l.Socket)
	n.consoles["outer"] = n.InstallConsole("outer")
	n.bundle = n.Install("nested-1.0.0.jar", "outer")
	n.up()
	return n
}

// up waits until both frameworks are up, new launches if they are to be, and everybody says the same of them.
func (n *nest) up(launched ...string) {
	n.t.Helper()
	n.Until("both are up", func(tree *client.Tree) error {
		for _, env := range []dbus.ObjectPath{n.outer, n.inner} {
			e := tree.ExecEnv(env)
			if e.Status != "Up" || e.CurrentRunLevel != e.InitialRunLevel || slices.Contains(launched, e.ID) && slices.Contains(n.names, e.Name) {
				return fmt.Errorf("%s is %s, %s at level %d: %s", e.ID, e.Name, e.Status, e.CurrentRunLevel, e.StatusDetail)
			}
		}
		return nil
	})
	for _, env := range append(launched, "inner") {
		if n.consoles[env] == nil || slices.Contains(launched, env) {
			n.consoles[env] = n.Console(env)
		}
	}
	n.agree()
	tree := n.Tree()
	for _, env := range []dbus.ObjectPath{n.outer, n.inner} {
		e := tree.ExecEnv(env)
		if told := n.consoles[e.ID].Run("$.context getProperty org.osgi.framework.uuid"); strings.TrimSpace(told) != e.Name {
			n.t.Errorf("%s has the name %s, its framework says %q", e.ID, e.Name, told)
		}
		if slices.Contains(launched, e.ID) || !slices.Contains(n.names, e.Name) {
			n.names = append(n.names, e.Name)
		}
	}
	if o, i := tree.ExecEnv(n.outer), tree.ExecEnv(n.inner); o.Name == i.Name || i.AllocatedMemory != o.AllocatedMemory {
		n.t.Errorf("the frameworks are %s and %s", support.Show(o), support.Show(i))
	}
	for env, want := range map[dbus.ObjectPath][]string{n.outer: {"", "/", ""}, n.inner: {tree.ExecEnv(n.outer).Path, string(n.outer), string(n.outer)}} {
		cwmp, bus, typed := parentOf(n.t, n.Device, env)
		if got := []string{cwmp, bus, typed}; !slices.Equal(got, want) {
			n.t.Errorf("the parent of %s is %q, want %q", env, got, want)
		}
	}
}

// agree waits until everybody says the same of both frameworks.
func (n *nest) agree() {
	n.t.Helper()
	for env, c := range n.consoles {
		agree(n.t, n.Device, env, c)
	}
}

// waits waits until the inner framework is waited for, for this reason.
func (n *nest) waits(why string, units ...support.Unit) {
	n.t.Helper()
	n.Until("the inner framework is waited for", func(tree *client.Tree) error {
		i := tree.ExecEnv(n.inner)
		if i.Status != "Error" || !strings.HasPrefix(i.StatusDetail, "waiting for the framework: ") || !strings.Contains(i.StatusDetail, why) || i.CurrentRunLevel != 0 {
			return fmt.Errorf("it is %s at level %d: %s", i.Status, i.CurrentRunLevel, i.StatusDetail)
		}
		return down(tree, units)
	})
}

// down reports as an error which of the units runs, or does not say why it cannot.
func down(tree *client.Tree, units []support.Unit) error {
	for _, u := range units {
		if eu := tree.ExecutionUnit(u.EU.Object); eu.Status != "Idle" || eu.FaultCode != "UnStartable" {
			return fmt.Errorf("%s is %s with %s", eu.EUID, eu.Status, eu.FaultCode)
		}
	}
	return nil
}

// stop stops the bundle, and the inner framework with it.
func (n *nest) stop(units ...support.Unit) {
	n.t.Helper()
	n.consoles["inner"].Run("telnetd stop") // else the listener lives on in the JVM and keeps the port
	delete(n.consoles, "inner")
	n.Done(n.Client.Stop(n.t.Context(), n.bundle.EU.Object))
	n.waits("its last words: the framework is stopping", units...)
	n.agree()
}

// start starts the bundle again.
func (n *nest) start() {
	n.t.Helper()
	n.Done(n.Client.Start(n.t.Context(), n.bundle.EU.Object))
	n.up("inner")
}

// kill ends the JVM of both.
func (n *nest) kill() {
	n.t.Helper()
	n.JVM("outer").Kill(n.t)
	n.up("outer", "inner")
}

// A framework that a bundle launches inside its own is managed when it has the host's bundle, and is nested in that other one.
func TestNestedInOneJVM(t *testing.T) {
	either(t, "felix", func(t *testing.T, framework string) {
		n := build(t, framework, framework)
		outer := n.Install("sample-1.0.0.jar", "outer")
		n.agree()
		bundles := n.consoles["outer"].Bundles()

		// What is done in the inner framework is done there alone.
		u := n.Install("sample-1.0.0.jar", "inner")
		wantUnit(t, n, u, "1.0.0", "Active", true)
		n.agree()
		n.Done(n.Client.Update(t.Context(), u.Object, client.UpdateOptions{URL: n.URL("sample-2.0.0.jar")}))
		wantUnit(t, n, u, "2.0.0", "Active", true)
		n.agree()
		n.Done(n.Client.Stop(t.Context(), u.EU.Object))
		wantStates(t, n.Device, []support.Unit{u, outer}, "Idle", "Active")
		n.agree()
		n.Done(n.Client.Start(t.Context(), u.EU.Object))
		wantStates(t, n.Device, []support.Unit{u, outer}, "Active", "Active")
		n.agree()
		gone := n.Install("sample2-1.0.0.jar", "inner")
		n.Done(n.Client.Uninstall(t.Context(), gone.Object))
		n.agree()
		wantUnit(t, n, outer, "1.0.0", "Active", true)
		if now := n.consoles["outer"].Bundles(); !slices.Equal(now, bundles) {
			t.Errorf("the outer framework had %v and has %v", bundles, now)
		}

		// Who launches it ends it, and nobody else.
		path := n.Tree().ExecEnv(n.inner).Path
		_, err := n.Client.SetParameterValues(t.Context(), client.Parameter{Path: path + ".Enable", Value: "false"})
		wantRefusal(t, err, "RequestDenied", 9001, 7002)
		wantRefusal(t, n.Client.SetProperty(t.Context(), n.inner, "Enable", false), "RequestDenied", 9007, 7002)
		n.agree()
		pid := n.JVM("outer").PID
		n.stop(u)
		set(t, n.Device, u.EU.Path+".RunLevel", "4")
		n.start()
		wantStates(t, n.Device, []support.Unit{u, outer}, "Active", "Active")
		untilUnit(t, n, u, "the unit has run level 4", func(now support.Unit) bool { return now.EU.RunLevel == 4 })
		if now := n.JVM("outer").PID; now != pid {
			t.Errorf("the JVM was %d and is %d", pid, now)
		}

		n.disable(outer, u)
		set(t, n.Device, n.Tree().ExecEnv(n.outer).Path+".Enable", "true")
		n.up("outer", "inner")
		wantStates(t, n.Device, []support.Unit{u, outer, n.bundle}, "Active", "Active", "Active")
		n.kill()
		wantStates(t, n.Device, []support.Unit{u, outer, n.bundle}, "Active", "Active", "Active")

		n.Done(n.Client.Uninstall(t.Context(), n.bundle.Object))
		delete(n.consoles, "inner")
		n.waits("its last words: the framework is stopping", u)
		n.agree()
	})
}

// disable disables the outer environment: its JVM ends, and nothing can be asked of the inner one.
func (n *nest) disable(units ...support.Unit) {
	n.t.Helper()
	set(n.t, n.Device, n.Tree().ExecEnv(n.outer).Path+".Enable", "false")
	downAll := func() {
		n.t.Helper()
		n.Until("both are down", func(tree *client.Tree) error {
			o, i := tree.ExecEnv(n.outer), tree.ExecEnv(n.inner)
			if o.Status != "Disabled" || i.Status != "Error" || i.StatusDetail != "parent disabled: outer" || !i.Enable || i.CurrentRunLevel > 0 {
				return fmt.Errorf("they are %s, and %s: %q, at level %d", o.Status, i.Status, i.StatusDetail, i.CurrentRunLevel)
			}
			if _, runs := n.Host("outer"); runs {
				return errors.New("the JVM runs")
			}
			return down(tree, units)
		})
		if err := faces(n.t, n.Device); err != nil {
			n.t.Error(err)
		}
	}
	downAll()
	inner := units[len(units)-1]
	_, install := n.Client.Install(n.t.Context(), n.URL("lazy-1.0.0.jar"), client.InstallOptions{ExecEnv: "inner"})
	_, update := n.Client.Update(n.t.Context(), inner.Object, client.UpdateOptions{URL: n.URL("sample-1.0.0.jar")})
	_, uninstall := n.Client.Uninstall(n.t.Context(), inner.Object)
	for _, err := range []error{install, update, uninstall} {
		wantRefusal(n.t, err, "DisabledExecEnv", 9024, 7012)
	}
	_, start := n.Client.Start(n.t.Context(), inner.EU.Object)
	_, reset := n.Client.ResetExecEnv(n.t.Context(), n.inner, "cwmp")
	for _, err := range []error{start, reset, n.Client.SetRunLevel(n.t.Context(), n.inner, 3)} {
		if !client.IsName(err, "DisabledExecEnv") {
			n.t.Errorf("the answer is %v", err)
		}
	}
	n.Restart()
	downAll()
}

// The two frameworks need not be of one make.
func TestNestedInOneJVMOfAnotherMake(t *testing.T) {
	either(t, "equinox", func(t *testing.T, framework string) {
		n := build(t, framework, frameworks[1-slices.Index(frameworks, framework)])
		here, there := n.Install("sample-1.0.0.jar", "outer"), n.Install("sample-1.0.0.jar", "inner")
		n.Done(n.Client.Update(t.Context(), there.Object, client.UpdateOptions{URL: n.URL("sample-2.0.0.jar")}))
		n.agree()
		n.stop(there)
		n.start()
		n.kill()
		wantStates(t, n.Device, []support.Unit{here, there, n.bundle}, "Active", "Active", "Active")
		wantUnit(t, n, here, "1.0.0", "Active", true)
		wantUnit(t, n, there, "2.0.0", "Active", true)
	})
}
