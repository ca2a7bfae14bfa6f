package device

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/test/fileserver"
	"github.com/smmd-project/smmd/test/support"
)

// said are the words that programs of a group have said since an earlier number of them, as the device's journal has them in their order.
func (d *Device) said(from int) (words []string) {
	d.t.Helper()
	out := d.sh("journalctl --no-pager -o cat | grep -E '^(hello|bye) ' || true")
	for line := range strings.Lines(out) {
		words = append(words, strings.TrimSpace(line))
	}
	return words[min(from, len(words)):]
}

// says waits until the words that have been said since are these: those of programs that end in this order, as each is waited for, those of programs that
// begin in any.
func (d *Device) says(when string, from int, want ...string) {
	d.t.Helper()
	ordered := func(words []string) []string {
		ends := 0
		for ends < len(words) && strings.HasPrefix(words[ends], "bye") {
			ends++
		}
		slices.Sort(words[ends:])
		return words
	}
	support.Until(d.t, when+": they say what they should", func() error {
		if got := ordered(d.said(from)); !slices.Equal(got, want) {
			return fmt.Errorf("%q, not %q", got, want)
		}
		return nil
	})
}

// began is when a process began, in ticks of the device's clock.
func (d *Device) began(pid string) int {
	d.t.Helper()
	_, stat, _ := strings.Cut(d.Machine.Run(d.t, "cat", "/proc/"+pid+"/stat"), ") ") // the name may have spaces
	began, err := strconv.Atoi(strings.Fields(stat)[19])
	if err != nil {
		d.t.Fatal(err)
	}
	return began
}

// level moves the environment of a kind and waits until it is there.
func (d *Device) level(k kind, level int32) {
	d.t.Helper()
	if err := d.Client.SetRunLevel(d.t.Context(), d.env(k).Object, level); err != nil {
		d.t.Fatal(err)
	}
	d.Until(fmt.Sprintf("the environment is at level %d", level), func(tree *client.Tree) error {
		for _, e := range tree.ExecEnvs {
			if e.ID == k.env && e.CurrentRunLevel != int64(level) {
				return fmt.Errorf("it is at %d", e.CurrentRunLevel)
			}
		}
		return nil
	})
}

// setLevel sets the RunLevel of a unit.
func (d *Device) setLevel(u support.Unit, level int) {
	d.t.Helper()
	d.set(u.EU.Object, "RunLevel", uint32(level))
}

// testLevels moves an environment with units on five levels.
func testLevels(t *testing.T, d *Device, k kind) {
	programs, units := map[int]program{}, map[int]support.Unit{}
	for _, level := range []int{3, 1, 5, 2, 4} { // the order of their rows is another one
		name := fmt.Sprintf("%s-l%d", k.env, level)
		programs[level] = program{name: name, version: "1", script: "echo hello " + name + "; trap 'echo bye " + name + "; exit 0' TERM; " + forever}
		units[level] = d.install(k, programs[level])
		d.runs("installed", k, units[level], programs[level], true)
		d.setLevel(units[level], level)
		d.runs("its RunLevel is set", k, units[level], programs[level], level == 1)
	}
	all := func(when string, level int) {
		t.Helper()
		for l := 1; l <= 5; l++ {
			d.runs(when, k, units[l], programs[l], l <= level)
		}
	}
	words := func(verb string, levels ...int) (all []string) {
		for _, l := range levels {
			all = append(all, verb+" "+programs[l].name)
		}
		return all
	}
	from := len(d.said(0))
	step := func(when string, level int, want []string, f func()) {
		t.Helper()
		f()
		all(when, level)
		d.says(when, from, want...)
		from += len(want)
		var began []int
		for l := 1; l <= level; l++ {
			began = append(began, d.began(d.process(programs[l])))
		}
		if !slices.IsSorted(began) {
			t.Errorf("%s: the programs began at %v, by their levels", when, began)
		}
	}
	step("up to 5", 5, words("hello", 2, 3, 4, 5), func() { d.level(k, 5) })
	step("down to 2", 2, words("bye", 5, 4, 3), func() { d.level(k, 2) })
	d.set(d.env(k).Object, "InitialRunLevel", uint32(4))
	step("restarted", 4, slices.Concat(words("bye", 2, 1), words("hello", 1, 2, 3, 4)), func() {
		d.Done(d.Client.RestartExecEnv(t.Context(), d.env(k).Object, "a test"))
	})
	step("disabled", 0, words("bye", 4, 3, 2, 1), func() {
		d.set(d.env(k).Object, "Enable", false)
		d.Until("the environment is off", func(tree *client.Tree) error { return off(tree.ExecEnv(d.env(k).Object)) })
	})
	d.set(d.env(k).Object, "InitialRunLevel", uint32(1))
	step("enabled", 1, words("hello", 1), func() {
		d.set(d.env(k).Object, "Enable", true)
		d.Up()
	})
	// Nothing is started above the level of the environment.
	d.set(units[3].EU.Object, "AutoStart", false)
	j := d.Job(d.Client.Start(t.Context(), units[3].EU.Object))
	if u := d.Unit(units[3].Object); j.FaultName != "StartFailed" || u.EU.FaultCode != "FailureOnStart" || !strings.Contains(u.EU.FaultMessage, "3") {
		t.Errorf("a start above the level: %s; the unit shows %s: %s", j.FaultName, u.EU.FaultCode, u.EU.FaultMessage)
	}
	d.runs("not started", k, units[3], programs[3], false)
	for _, u := range units {
		d.remove(u)
	}
}

// fault is what a job that failed has for a fault.
func fault(j *client.Job) string { return fmt.Sprint(j.FaultName, " ", j.FaultCWMP, " ", j.FaultUSP) }

// prepared waits until a process has seen to a signal: ignores it (SigIgn) or handles it (SigCgt).
func (d *Device) prepared(pid, how string, s unix.Signal) {
	d.t.Helper()
	support.Until(d.t, fmt.Sprintf("signal %d is in %s of process %s", s, how, pid), func() error {
		set, err := strconv.ParseUint(strings.TrimSpace(d.Machine.Run(d.t, "sed", "-n", "s/^"+how+"://p", "/proc/"+pid+"/status")), 16, 64)
		if err == nil && set&(1<<(s-1)) == 0 {
			err = fmt.Errorf("there is %x", set)
		}
		return err
	})
}

// testFaults is about packages and programs that are not as they should be.
func testFaults(t *testing.T, d *Device, k kind) {
	other := kinds[0]
	if other.adapter == k.adapter {
		other = kinds[1]
	}
	before := d.left(k)
	good := program{name: k.env + "-good", version: "1"}
	install := func(url string) *client.Job {
		t.Helper()
		return d.Job(d.Client.Install(t.Context(), url, client.InstallOptions{ExecEnv: k.env}))
	}
	whole, err := d.content(k, good)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "a package of another kind", fault(install(d.packed(other, good))), "DUExecEnvMismatch 9025 7225")
	equal(t, "a bundle", fault(install(d.URL("sample-1.0.0.jar"))), "DUExecEnvMismatch 9025 7225")
	equal(t, "half a package", fault(install(d.Serve("/half", fileserver.File{Content: whole[:len(whole)/2]}))), "PackageCorrupt 9018 7035")
	equal(t, "no package", install(d.Files.URL+"/no-such-file").FaultName, "TransferFileUnavailable")
	equal(t, "rows of what was refused", len(d.rows(k)), 0)
	equal(t, "what is left of what was refused", d.left(k), before)

	u := d.install(k, good)
	pid := d.process(good)
	equal(t, "the same version again", fault(install(d.packed(k, good))), "DuplicateDU 9026 7226")
	j := d.Job(d.Client.Update(t.Context(), u.Object, client.UpdateOptions{URL: d.packed(other, good)}))
	equal(t, "an update to a package of another kind", j.FaultName, "DUExecEnvMismatch")
	d.runs("after what was refused", k, u, good, true)
	equal(t, "its processes", d.process(good), pid)

	d.Machine.Run(t, "kill", "-KILL", pid)
	d.runs("killed", k, u, good, false, "FailureWhileActive")
	d.Done(d.Client.Start(t.Context(), u.EU.Object))
	d.runs("started again", k, u, good, true, "NoFault")

	// Programs that end by themselves, at once or later, or do not end.
	exits := program{name: k.env + "-exits", version: "1", script: "trap 'echo tired on purpose; exit 7' USR1; " + steady}
	e := d.install(k, exits)
	pid = d.process(exits)
	d.prepared(pid, "SigCgt", unix.SIGUSR1)
	d.Machine.Run(t, "kill", "-USR1", pid)
	now := d.runs("ended", k, e, exits, false, "FailureWhileActive")
	equal(t, "its exit status", now.EU.ExitCode, 7)
	if !strings.Contains(now.EU.FaultMessage, "7") {
		t.Errorf("the fault message is %q", now.EU.FaultMessage)
	}
	fails := program{name: k.env + "-fails", version: "1", script: "echo boom on purpose; exit 3"}
	f := d.install(k, fails)
	now = d.runs("failed", k, f, fails, false, "FailureOnAutoStart", "FailureWhileActive")
	if now.EU.ExitCode != 3 || now.Status != "Installed" {
		t.Errorf("what failed at once is %s, exit status %d", now.Status, now.EU.ExitCode)
	}
	holds := program{name: k.env + "-holds", version: "1", script: stubborn}
	h := d.install(k, holds)
	pid = d.process(holds)
	d.prepared(pid, "SigIgn", unix.SIGTERM)
	equal(t, "a stop that is ignored", d.Job(d.Client.Stop(t.Context(), h.EU.Object)).FaultName, "StopFailed")
	d.runs("ended by force", k, h, holds, false, "FailureOnStop")

	d.set(d.env(k).Object, "Enable", false)
	_, err = d.Client.Install(t.Context(), d.packed(k, program{name: "late", version: "1"}), client.InstallOptions{ExecEnv: k.env})
	var refused *client.Error
	if !errors.As(err, &refused) || refused.Name != "DisabledExecEnv" || refused.CWMP != 9024 {
		t.Errorf("an install in an environment that is off: %v", err)
	}
	d.set(d.env(k).Object, "Enable", true)
	d.Up()
	for _, u := range []support.Unit{u, e, f, h} {
		d.remove(u)
	}
	equal(t, "what is left", d.left(k), before)
}

// testBehind changes things with the environment's own tools.
func testBehind(t *testing.T, d *Device, k kind) {
	before := d.left(k)
	p := program{name: k.env + "-behind", version: "1"}
	u := d.install(k, p)
	d.runs("installed", k, u, p, true)
	k.halt(d, u)
	d.runs("stopped by somebody else", k, u, p, false)
	d.Done(d.Client.Start(t.Context(), u.EU.Object))
	d.runs("started again", k, u, p, true)
	k.forget(d, u)
	d.Until("it is told to be missing", func(tree *client.Tree) error {
		now, err := support.UnitOf(tree, u.Object)
		if err == nil && (!now.Missing || now.Status != "Installed" || now.EU.Status != "Idle" || now.EU.FaultCode != "UnStartable") {
			err = fmt.Errorf("it is %s, missing %t", now, now.Missing)
		}
		return err
	})
	d.remove(u)
	equal(t, "what is left", d.left(k), before)
	again := d.install(k, p)
	equal(t, "its UUID", again.UUID, u.UUID)
	d.runs("installed again", k, again, p, true)
	d.remove(again)
}

// testTogether asks for many things at once.
func testTogether(t *testing.T, d *Device, k kind) {
	before := d.left(k)
	var programs []program
	var urls []string
	for i := range 5 {
		p := program{name: fmt.Sprintf("%s-t%d", k.env, i), version: "1"}
		programs, urls = append(programs, p), append(urls, d.packed(k, p))
	}
	together := func(f func(i int) (dbus.ObjectPath, error)) []*client.Job {
		t.Helper()
		var paths []dbus.ObjectPath
		for i := range programs {
			path, err := f(i)
			if err != nil {
				t.Fatal(err)
			}
			paths = append(paths, path)
		}
		var jobs []*client.Job
		for _, path := range paths {
			jobs = append(jobs, d.Done(path, nil))
		}
		return jobs
	}
	units := make([]support.Unit, len(programs))
	for i, j := range together(func(i int) (dbus.ObjectPath, error) {
		return d.Client.Install(t.Context(), urls[i], client.InstallOptions{ExecEnv: k.env})
	}) {
		for _, path := range j.Objects {
			if r, ok := client.ParseRef(string(path)); ok && r.Kind() == client.KindDeploymentUnit {
				units[i] = d.Unit(path)
			}
		}
		d.runs("installed", k, units[i], programs[i], true)
	}
	together(func(i int) (dbus.ObjectPath, error) { return d.Client.Restart(t.Context(), units[i].EU.Object) })
	for i := range units {
		d.runs("restarted", k, units[i], programs[i], true)
	}
	together(func(i int) (dbus.ObjectPath, error) { return d.Client.Uninstall(t.Context(), units[i].Object) })
	equal(t, "the rows", len(d.rows(k)), 0)
	equal(t, "what is left", d.left(k), before)
}

// testReset goes back to a baseline.
func testReset(t *testing.T, d *Device, k kind) {
	program := func(name, version string) program { return program{name: k.env + "-" + name, version: version} }
	stays, goes, comes := program("stays", "1"), program("goes", "1"), program("comes", "1")
	s, g := d.install(k, stays), d.install(k, goes)
	d.setLevel(g, 1)
	d.set(g.Object, "Alias", "named-"+k.adapter)
	d.set(s.EU.Object, "AutoStart", false)
	if err := d.Client.RecordBaseline(t.Context(), "cwmp", "token-"+k.adapter); err != nil {
		t.Fatal(err)
	}
	d.Done(d.Client.Update(t.Context(), s.Object, client.UpdateOptions{URL: d.packed(k, program("stays", "2"))}))
	d.set(s.EU.Object, "AutoStart", true)
	d.setLevel(s, 3)
	d.remove(g)
	c := d.install(k, comes)
	d.set(d.env(k).Object, "InitialRunLevel", uint32(9))
	d.Files.Set("/gone", fileserver.File{}) // a Reset needs no network
	d.Done(d.Client.ResetExecEnv(t.Context(), d.env(k).Object, "cwmp"))
	tree := d.Up()
	equal(t, "InitialRunLevel", d.env(k).InitialRunLevel, 1)
	if tree.DeploymentUnit(c.Object) != nil || len(d.processes(comes)) > 0 {
		t.Error("what came since is still there")
	}
	now := d.runs("what was updated, without AutoStart", k, s, stays, false)
	equal(t, "what was updated", fmt.Sprint(now.Version, now.EU.AutoStart, now.EU.RunLevel, now.UUID), fmt.Sprint("1", false, 1, s.UUID))
	var back support.Unit
	for _, du := range tree.DeploymentUnits {
		if du.Name == goes.name {
			back = d.Unit(du.Object)
		}
	}
	if back.DeploymentUnit == nil {
		t.Fatal("what was removed is not there again")
	}
	back = d.runs("what was removed", k, back, goes, true)
	equal(t, "what was removed", fmt.Sprint(back.UUID, back.Alias, back.Version, back.URL, back.EU.AutoStart), fmt.Sprint(g.UUID, "named-"+k.adapter, "1", g.URL, true))
	d.remove(back)
	d.remove(now)
}
