package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/test/support"
)

// Whatever is done at the framework's own console is what the rows say, and they are the rows they were: while the agent runs, once it is
// back, and once its adapter is.
func TestBehindTheAgent(t *testing.T) {
	each(t, func(t *testing.T, framework string) {
		for _, away := range []victim{"", theAgent, theAdapter} {
			if away == map[string]victim{"felix": theAgent, "equinox": theAdapter}[framework] && !support.Long() {
				continue // what is found afterwards is told in the same way by both
			}
			t.Run(strings.TrimSpace("without "+string(away)), func(t *testing.T) {
				b := newBehind(t, framework, away)
				b.flags()
				b.levels()
				b.updates()
				b.refreshes()
				b.foreign()
				b.losses()
			})
		}
	})
}

// behind is a device whose framework is changed at its console.
type behind struct {
	*support.Device
	t    *testing.T
	env  string
	c    *support.Console
	away victim // what does not run while that is done; none: everything runs
	left int    // how often the adapter may be killed before it takes its time to come back

	rows  map[string]*expected // by a name of our own
	level int64                // of the framework
	fresh int64                // of new bundles
}

// expected is how a unit has to be.
type expected struct {
	support.Unit
	version, status           string
	level                     int64
	auto, unresolved, missing bool
	fault                     string // none: NoFault
}

func newBehind(t *testing.T, framework string, away victim) *behind {
	t.Helper()
	b := &behind{t: t, env: framework, away: away, rows: map[string]*expected{}, level: 1, fresh: 1}
	b.Device = boot(t, support.Env{Framework: framework})
	b.c = b.InstallConsole(framework)
	for _, u := range [][2]string{{"sample", "sample"}, {"provider", "provider"}, {"consumer", "consumer"}} {
		b.take(u[0], b.Install(u[1]+"-1.0.0.jar", framework))
	}
	b.check("installed")
	return b
}

// take expects a unit that runs from now on, under aliases that somebody chose.
func (b *behind) take(name string, u support.Unit) *expected {
	b.t.Helper()
	set(b.t, b.Device, u.Path+".Alias", "my-"+name, u.EU.Path+".Alias", "run-"+name)
	b.rows[name] = &expected{Unit: b.Unit(u.Object), version: u.Version, status: u.EU.Status, level: u.EU.RunLevel, auto: u.EU.AutoStart}
	return b.rows[name]
}

// at types lines at the console, and checks that the rows follow.
func (b *behind) at(lines ...string) {
	b.t.Helper()
	b.unchecked(lines...)
	b.check(strings.Join(lines, ", "))
}

// unchecked types lines at the console while nobody is there. The name of a unit in braces stands for its id, a bundle in angle brackets for
// the URL of its file.
func (b *behind) unchecked(lines ...string) {
	b.t.Helper()
	switch b.away {
	case theAgent:
		b.Stop()
	case theAdapter:
		if b.left == 0 {
			b.Restart()
			b.up()
			b.left = 2
		}
		b.left--
		b.Adapter("osgi").Kill(b.t)
	}
	for _, line := range lines {
		for name, e := range b.rows {
			line = strings.ReplaceAll(line, "{"+name+"}", e.DUID)
		}
		if before, rest, ok := strings.Cut(line, "<"); ok {
			bundle, after, _ := strings.Cut(rest, ">")
			line = before + "file:" + support.BundlePath(b.t, bundle) + after
		}
		if answer := strings.TrimSpace(b.c.Run(line)); answer != "" {
			b.t.Logf("%s: %s", line, answer)
		}
		if strings.HasPrefix(line, "refresh") { // it goes on, and what bundles say meanwhile is said where it was asked for
			b.c = b.Console(b.env)
		}
	}
	if b.away == theAgent {
		b.Start()
	}
}

// up waits until the environment is up, at whatever level.
func (b *behind) up() {
	b.t.Helper()
	b.Until("the environment is up", func(tree *client.Tree) error {
		if e := tree.ExecEnvs[0]; e.Status != "Up" {
			return fmt.Errorf("it is %s: %s", e.Status, e.StatusDetail)
		}
		return nil
	})
}

// check waits until everything is as it has to be, for the framework, on D-Bus and in CWMP.
func (b *behind) check(what string) {
	b.t.Helper()
	gone := false
	b.Until("the rows follow "+what, func(tree *client.Tree) error {
		if e := tree.ExecEnvs[0]; e.Status != "Up" || e.CurrentRunLevel != b.level || e.InitialExecutionUnitRunLevel != b.fresh || e.InitialRunLevel != 1 || e.RestartCount != 0 {
			return fmt.Errorf("the environment is %s, not at level %d with %d for new units", support.Show(e), b.level, b.fresh)
		}
		for name, e := range b.rows {
			du, eu := tree.DeploymentUnit(e.Object), tree.ExecutionUnit(e.EU.Object)
			if du == nil || eu == nil {
				return fmt.Errorf("%s has lost its rows", name)
			}
			if err := e.is(du, eu); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			gone = gone || du.Missing
		}
		if got, want := len(tree.DeploymentUnits), len(b.rows)+len(support.ConsoleBundles); got != want {
			return fmt.Errorf("there are %d units, not %d", got, want)
		}
		return nil
	})
	if gone { // a row that no bundle agrees with
		support.Until(b.t, "both faces agree", func() error { return faces(b.t, b.Device) })
		return
	}
	support.Until(b.t, "the framework has written it", func() error { // in its own time: nobody has asked it to
		return storage(b.Tree(), b.env, b.Stored(b.env))
	})
	agree(b.t, b.Device, b.env, b.c)
}

// is compares the rows with what they have to be.
func (e *expected) is(du *client.DeploymentUnit, eu *client.ExecutionUnit) error {
	if du.Instance != e.Instance || eu.Instance != e.EU.Instance || du.UUID != e.UUID || du.Alias != e.Alias || eu.EUID != e.EU.EUID || eu.Alias != e.EU.Alias ||
		du.Name != e.Name || eu.Name != e.EU.Name || du.URL != e.URL || !du.Installed.Equal(e.Installed) {
		return fmt.Errorf("its rows are %s, %s and were %s, %s", support.Show(du), support.Show(eu), support.Show(e.DeploymentUnit), support.Show(e.EU))
	}
	if du.Missing != e.missing || du.Status != "Installed" || du.Resolved == (e.unresolved || e.missing) || du.Version != e.version || eu.Version != e.version {
		return fmt.Errorf("it is %s in version %s and %s, resolved=%v, missing=%v; want version %s, resolved=%v, missing=%v",
			du.Status, du.Version, eu.Version, du.Resolved, du.Missing, e.version, !e.unresolved, e.missing)
	}
	fault := e.fault
	if fault == "" {
		fault = "NoFault"
	}
	if eu.Status != e.status || !e.missing && (eu.RunLevel != e.level || eu.AutoStart != e.auto) || eu.FaultCode != fault || (fault == "NoFault") != (eu.FaultMessage == "") {
		return fmt.Errorf("it is %s at level %d, AutoStart %v, %s %q; want %s at level %d, AutoStart %v, %s",
			eu.Status, eu.RunLevel, eu.AutoStart, eu.FaultCode, eu.FaultMessage, e.status, e.level, e.auto, fault)
	}
	return nil
}

// flags are starts and stops, for now and for good.
func (b *behind) flags() {
	b.t.Helper()
	sample := b.rows["sample"]
	for _, step := range []struct {
		line, status string
		auto         bool
	}{
		{"stop {sample}", "Idle", false},
		{"start -t {sample}", "Active", false},
		{"stop -t {sample}", "Idle", false},
		{"start {sample}", "Active", true},
		{"stop -t {sample}", "Idle", true},
		{"start -t {sample}", "Active", true},
	} {
		sample.status, sample.auto = step.status, step.auto
		b.at(step.line)
	}
}

// levels are those of a bundle, of the framework, and of bundles to come.
func (b *behind) levels() {
	b.t.Helper()
	sample := b.rows["sample"]
	sample.level, sample.status = 3, "Idle"
	b.at("bundlelevel -s 3 {sample}")
	b.level, sample.status = 4, "Active"
	b.at("frameworklevel 4")
	b.level, sample.status = 2, "Idle"
	b.at("frameworklevel 2")
	sample.level, sample.status = 2, "Active"
	b.at("bundlelevel -s 2 {sample}")
	b.level, sample.level = 1, 1
	b.at("bundlelevel -s 1 {sample}", "frameworklevel 1")
	b.fresh = 5
	b.at("bundlelevel -i 5")
	b.fresh = 1
	b.at("bundlelevel -i 1")
}

// updates are those of a bundle on which no other depends.
func (b *behind) updates() {
	b.t.Helper()
	sample := b.rows["sample"]
	for _, version := range []string{"2.0.0", "1.5.0", "1.0.0"} {
		sample.version = version
		b.at("update {sample} <sample-" + version + ".jar>")
	}
	sample.version, sample.status, sample.auto, sample.unresolved = "2.0.0", "Idle", false, true // nothing has needed it yet
	b.at("stop {sample}", "update {sample} <sample-2.0.0.jar>")
	sample.status, sample.auto, sample.unresolved = "Active", true, false
	b.at("start {sample}")
}

// refreshes are felt by dependents, updates alone are not. A bundle that is removed serves them until then.
func (b *behind) refreshes() {
	b.t.Helper()
	provider := b.rows["provider"]
	provider.version = "2.0.0"
	b.at("update {provider} <provider-2.0.0.jar>")
	b.wiredTo("1.0.0")
	b.at("refresh {provider}")
	b.wiredTo("2.0.0")
	provider.version = "1.0.0"
	b.at("update {provider} <provider-1.0.0.jar>", "refresh {provider}")
	b.wiredTo("1.0.0")
}

// wiredTo waits until the consumer uses that version of what the provider exports.
func (b *behind) wiredTo(version string) {
	b.t.Helper()
	support.Until(b.t, "the consumer uses "+version, func() error {
		if wires := b.c.Run("inspect req osgi.wiring.package " + b.rows["consumer"].DUID); !strings.Contains(wires, " org.smmd.bundles.provider.api "+version+" from ") {
			return fmt.Errorf("%s", wires)
		}
		return nil
	})
}

// foreign are bundles that the agent never had.
func (b *behind) foreign() {
	b.t.Helper()
	known := map[dbus.ObjectPath]bool{}
	for _, du := range b.Tree().DeploymentUnits {
		known[du.Object] = true
	}
	find := func(tree *client.Tree) (found *client.DeploymentUnit) {
		for _, du := range tree.DeploymentUnits {
			if !known[du.Object] {
				found = du
			}
		}
		return found
	}
	b.unchecked("install <sample2-1.0.0.jar>")
	tree := b.Until("the bundle is a unit", func(tree *client.Tree) error {
		if find(tree) == nil {
			return fmt.Errorf("it has no row")
		}
		return nil
	})
	found := b.take("found", b.Unit(find(tree).Object))
	if found.UUID == "" || found.Name != "org.smmd.sample2" || found.URL != "" || found.EU.EUID == "" {
		b.t.Errorf("the row of the found bundle is %s with %s", support.Show(found.DeploymentUnit), support.Show(found.EU))
	}
	found.version, found.status, found.unresolved, found.level, found.auto = "1.0.0", "Idle", true, 1, false
	b.check("install")
	found.status, found.unresolved, found.auto = "Active", false, true
	b.at("start {found}")
	found.level = 2
	found.status = "Idle"
	b.at("bundlelevel -s 2 {found}")
	found.level, found.status = 1, "Active"
	b.at("bundlelevel -s 1 {found}")
	b.at("update {found} <sample2-1.0.0.jar>")
	b.at("refresh {found}")
	found.status, found.auto = "Idle", false
	b.at("stop {found}")

	// It goes and comes back.
	found.missing, found.fault = true, "UnStartable"
	b.at("uninstall {found}")
	b.unchecked("install <sample2-1.0.0.jar>")
	found.missing, found.fault, found.unresolved = false, "", true
	b.Until("it has its row again", func(tree *client.Tree) error {
		du := tree.DeploymentUnit(found.Object)
		if du == nil || du.Missing {
			return fmt.Errorf("it is %s", support.Show(du))
		}
		return nil
	})
	found.DUID = b.Unit(found.Object).DUID
	b.check("the second install")
}

// losses are units that are removed; their rows go when they are removed for the agent too.
func (b *behind) losses() {
	b.t.Helper()
	for _, name := range []string{"found", "sample"} {
		lost := b.rows[name]
		lost.missing, lost.status, lost.fault = true, "Idle", "UnStartable"
		b.at("uninstall {" + name + "}")
		b.Done(b.Client.Uninstall(b.t.Context(), lost.Object))
		delete(b.rows, name)
		b.check("the removal of a lost row")
	}
	again := b.Install("sample-1.0.0.jar", b.env)
	b.take("sample", again)
	b.check("install")
}

// A refresh at the console that leaves a dependent behind is a fault of that dependent: nobody asked for its end.
func TestRefreshAtTheConsole(t *testing.T) {
	each(t, func(t *testing.T, framework string) {
		d := boot(t, support.Env{Framework: framework})
		c := d.InstallConsole(framework)
		provider := d.Install("provider-1.0.0.jar", framework)
		wide, strict, once := d.Install("consumer-1.0.0.jar", framework), d.Install("consumer-strict-1.0.0.jar", framework), d.Install("rewire-1.0.0.jar", framework)
		for _, line := range []string{"update " + provider.DUID + " file:" + support.BundlePath(t, "provider-2.0.0.jar"), "refresh " + provider.DUID} {
			c.Run(line)
		}
		d.Until("the faults follow the refresh", func(tree *client.Tree) error {
			for _, want := range []struct {
				unit  support.Unit
				fault string
			}{{wide, "NoFault"}, {strict, "DependencyFailure"}, {once, "FailureWhileActive"}} {
				eu := tree.ExecutionUnit(want.unit.EU.Object)
				healthy := want.fault == "NoFault"
				if eu.FaultCode != want.fault || healthy != (eu.Status == "Active") || healthy != (eu.FaultMessage == "") {
					return fmt.Errorf("%s is %s with %s %q, not %s", eu.Name, eu.Status, eu.FaultCode, eu.FaultMessage, want.fault)
				}
			}
			return nil
		})
		agree(t, d, framework, d.Console(framework))
	})
}
