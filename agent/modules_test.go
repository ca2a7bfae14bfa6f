package agent_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/plugins/adapter"
	"github.com/smmd-project/smmd/plugins/adapter/fake"
)

// modules makes specs of modules.
func modules(ids ...string) (out []fake.ModuleSpec) {
	for _, id := range ids {
		out = append(out, fake.ModuleSpec{ID: id})
	}
	return out
}

// euids are the EUIDs of a unit by module, as far as they follow <env>/<UUID>: what is behind that.
func (d *device) euids(du model.RowID) map[string]string {
	d.t.Helper()
	s := d.agent.Snapshot()
	base := "e/" + s.DeploymentUnit(du).UUID
	out := map[string]string{}
	for u := range s.ExecutionUnitsOf(du) {
		out[u.Module] = strings.TrimPrefix(u.EUID, base)
		if !strings.HasPrefix(u.EUID, base) || len(u.EUID) > 64 {
			d.t.Errorf("the EUID of %s is %s", u.Module, u.EUID)
		}
	}
	return out
}

// TestEUIDs is about the names of execution units over updates in which they come and go, and side by side with another version.
func TestEUIDs(t *testing.T) {
	d := start(t, plain)
	du := d.installed(fake.Spec{Name: "u", Version: "1", Modules: modules("a", "b")}).ID
	check := func(what string, du model.RowID, want map[string]string) {
		t.Helper()
		if got := d.euids(du); !maps.Equal(got, want) {
			t.Errorf("%s: the EUIDs are %v, not %v", what, got, want)
		}
	}
	update := func(version string, ids ...string) {
		t.Helper()
		d.done(d.update(du, fake.Spec{Name: "u", Version: version, Modules: modules(ids...)}))
	}
	check("installed", du, map[string]string{"a": "", "b": "#2"})
	b := d.unitOf(du, "b")
	update("2", "b", "c")
	check("a goes, c comes", du, map[string]string{"b": "#2", "c": "#3"})
	if now := d.unitOf(du, "b"); now.ID != b.ID || now.Alias != b.Alias {
		t.Errorf("what stays was %+v and is %+v", *b, *now)
	}
	other := d.installed(fake.Spec{Name: "u", Version: "other", Modules: modules("a")}).ID
	check("another version", other, map[string]string{"a": "#4"})
	d.restart()
	d.up()
	update("3", "d")
	check("b and c go, d comes", du, map[string]string{"d": "#5"})
	update("4", "c", "a", "d", "b")
	check("all that were there", du, map[string]string{"a": "", "b": "#2", "c": "#3", "d": "#5"})
	d.failed(fault.Internal)(d.update(du, fake.Spec{Name: "u", Version: "5", Modules: modules("x"), UpdateFails: "no luck"}))
	check("an update that failed", du, map[string]string{"a": "", "b": "#2", "c": "#3", "d": "#5"})
	d.ok(d.console("e").Update(d.agent.Snapshot().DeploymentUnit(du).Key, fake.Spec{Name: "u", Version: "6", Modules: modules("b", "y")}))
	d.until("the console is followed", func(s *model.Snapshot) error {
		if v := s.DeploymentUnit(du).Version; v != "6" {
			return errors.New(v)
		}
		return nil
	})
	check("at the console", du, map[string]string{"b": "#2", "y": "#6"})
	d.done(d.uninstall(du))
	check("the other version", other, map[string]string{"a": "#4"})
	du = d.installed(fake.Spec{Name: "u", Version: "1", Modules: modules("b")}).ID
	check("installed anew", du, map[string]string{"b": ""})

	// More names than EUIDs of 64 characters: those that are free are used again.
	for round := range 3 {
		var ids []string
		for i := range 60 {
			ids = append(ids, fmt.Sprintf("m%d-%d", round, i))
		}
		update(fmt.Sprint(10+round), ids...)
		d.euids(du)
		if n := len(slices.Compact(slices.Sorted(maps.Values(d.euids(du))))); n != 60 {
			t.Errorf("%d different EUIDs", n)
		}
	}
}

// TestUpdateOfSeveralModules is about AutoStart, run levels and states of modules over an update, one that fails, and an uninstall that fails.
func TestUpdateOfSeveralModules(t *testing.T) {
	d := start(t, plain)
	d.moveTo(3)
	du := d.installed(fake.Spec{Name: "u", Modules: modules("a", "b", "c", "d")}).ID
	for m, level := range map[string]int{"a": 3, "b": 2, "c": 9} {
		d.setLevel(d.unitOf(du, m), level)
	}
	d.set(ref(model.KindExecutionUnit, d.unitOf(du, "b").ID), model.AutoStart, false)
	d.done(d.request(d.unitOf(du, "d").ID, model.RequestIdle)) // has AutoStart, and was stopped
	before := func() string {
		var all []string
		for _, m := range []string{"a", "b", "c", "d"} {
			u := d.unitOf(du, m)
			all = append(all, fmt.Sprintf("%s: %s %v %d", m, u.Status, u.AutoStart, u.RunLevel))
		}
		return strings.Join(all, ", ")
	}
	const want = "a: Active true 3, b: Active false 2, c: Idle true 9, d: Idle true 1"
	check := func(what string) {
		t.Helper()
		if got := before(); got != want {
			t.Errorf("%s: the modules are\n\t%s, not\n\t%s", what, got, want)
		}
	}
	check("before")
	got := d.calls(func() {
		d.done(d.update(du, fake.Spec{Name: "u", Version: "2", Modules: modules("d", "c", "b", "a", "new")}))
	})
	if order := []string{"Start new", "Start b", "Start a"}; !slices.Equal(got, order) {
		t.Errorf("the calls are %q", got)
	}
	check("after an update")
	if u := d.unitOf(du, "new"); u.Status != model.EUActive || !u.AutoStart {
		t.Errorf("the new one is %+v", *u)
	}
	got = d.calls(func() {
		d.failed(fault.Internal)(d.update(du, fake.Spec{Name: "u", Version: "3", Modules: modules("a", "b", "c", "d"), UpdateFails: "no luck"}))
	})
	if order := []string{"Start new", "Start b", "Start a"}; !slices.Equal(got, order) {
		t.Errorf("after the failed update the calls are %q", got)
	}
	check("after an update that failed")
}

// TestResetOfSeveralModules is about a Reset of a unit with several modules.
func TestResetOfSeveralModules(t *testing.T) {
	k := keep(t, nil, plain)
	du := k.installed(fake.Spec{Name: "u", Modules: modules("a", "b", "c")})
	k.setLevel(k.unitOf(du.ID, "b"), 2)
	k.set(ref(model.KindExecutionUnit, k.unitOf(du.ID, "c").ID), model.AutoStart, false)
	k.set(ref(model.KindExecEnv, 1), model.InitialRunLevel, 2)
	k.moveTo(2)
	k.record("cwmp", "1")
	text := func() string {
		var all []string
		for u := range k.agent.Snapshot().ExecutionUnits() {
			all = append(all, fmt.Sprintf("%s %s %v %d %s %s", k.agent.Snapshot().DeploymentUnit(u.DU).Version, u.Module, u.AutoStart, u.RunLevel, u.Status, u.EUID))
		}
		slices.Sort(all)
		return strings.Join(all, "\n")
	}
	k.done(k.request(k.unitOf(du.ID, "c").ID, model.RequestIdle)) // only what has AutoStart runs after a Reset
	want := text()
	for what, change := range map[string]func(){
		"settings": func() {
			k.setLevel(k.unitOf(du.ID, "a"), 7)
			k.set(ref(model.KindExecutionUnit, k.unitOf(du.ID, "b").ID), model.AutoStart, false)
			k.set(ref(model.KindExecutionUnit, k.unitOf(du.ID, "c").ID), model.AutoStart, true)
			k.set(ref(model.KindExecEnv, 1), model.InitialRunLevel, 9)
		},
		"an update": func() {
			k.done(k.update(du.ID, fake.Spec{Name: "u", Version: "2", Modules: modules("c", "d")}))
		},
		"an uninstall": func() { k.done(k.uninstall(k.row("u").ID)) },
	} {
		change()
		k.done(k.reset("cwmp"))
		if got := text(); got != want {
			t.Errorf("after %s and a Reset there is\n%s\nnot\n%s", what, got, want)
		}
		du = k.row("u")
	}
}

// TestEndsOfModules is about modules that end by themselves, and are started again by their environment.
func TestEndsOfModules(t *testing.T) {
	d := start(t, plain)
	du := d.installed(fake.Spec{Name: "u", Modules: []fake.ModuleSpec{
		{ID: "exits"}, {ID: "ends"}, {ID: "restarts", Restarts: true}, {ID: "later", RestartsLater: true}, {ID: "completes", Completes: true}, {ID: "forced", IgnoresStop: true},
	}})
	key := d.agent.Snapshot().DeploymentUnit(du.ID).Key
	at := func(m string) *model.ExecutionUnit { return d.unitOf(du.ID, m) }
	wait := func(m string, status model.EUStatus, code model.FaultCode, exit int) {
		t.Helper()
		d.until(fmt.Sprintf("%s is %s, %s, %d", m, status, code, exit), func(*model.Snapshot) error {
			if u := at(m); u.Status != status || u.FaultCode != code || u.ExitCode != exit {
				return fmt.Errorf("it is %+v", *u)
			}
			return nil
		})
	}
	crash := func(m string, exit int) { d.ok(d.console("e").Crash(key, m, "last words", exit)) }
	wait("completes", model.EUIdle, model.NoFault, 0)
	crash("exits", 7)
	wait("exits", model.EUIdle, model.FailureWhileActive, 7)
	if u := at("exits"); u.FaultMessage != "last words" {
		t.Errorf("the message is %q", u.FaultMessage)
	}
	crash("ends", 0)
	wait("ends", model.EUIdle, model.NoFault, 0)
	crash("restarts", 1)
	wait("restarts", model.EUActive, model.NoFault, 1)
	// One that waits to be started again is Starting: a start is done already, a stop is obeyed, and a level that sinks stops it.
	crash("later", 1)
	wait("later", model.EUStarting, model.NoFault, 1)
	d.done(d.request(at("later").ID, model.RequestActive))
	d.done(d.request(at("later").ID, model.RequestIdle))
	wait("later", model.EUIdle, model.NoFault, 1)
	d.done(d.request(at("later").ID, model.RequestActive))
	crash("later", 1)
	wait("later", model.EUStarting, model.NoFault, 1)
	d.moveTo(0)
	wait("later", model.EUIdle, model.NoFault, 1)
	if u := at("forced"); u.Status != model.EUIdle || u.FaultCode != model.FailureOnStop {
		t.Errorf("what had to be ended by force is %+v", *u)
	}
	// A fault stays over restarts of the agent, as the environment knows it, until the next start succeeds.
	d.restart()
	d.up()
	wait("exits", model.EUIdle, model.FailureWhileActive, 7)
	d.moveTo(1)
	wait("exits", model.EUActive, model.NoFault, -1)
}

// TestUnstartableModule is about a unit of whose modules one cannot be made: the unit stays.
func TestUnstartableModule(t *testing.T) {
	d := start(t, plain)
	j := d.done(d.install(fake.Spec{Name: "u", Modules: []fake.ModuleSpec{{ID: "bad", Unstartable: "a bad setting"}, {ID: "good"}}}))
	if !strings.Contains(j.Message, "a bad setting") {
		t.Errorf("the remark is %q", j.Message)
	}
	du := d.agent.Snapshot().DeploymentUnit(j.Objects[0].Instance)
	is := func(when string) {
		t.Helper()
		if u := d.unitOf(du.ID, "bad"); u.Status != model.EUIdle || u.FaultCode != model.UnStartable || u.FaultMessage != "a bad setting" {
			t.Errorf("%s it is %+v", when, *u)
		}
		if u := d.unitOf(du.ID, "good"); u.Status != model.EUActive || u.FaultCode != model.NoFault {
			t.Errorf("%s the other one is %+v", when, *u)
		}
	}
	is("installed")
	if du.Status != model.DUInstalled {
		t.Errorf("the unit is %s", du.Status)
	}
	d.failed(fault.StartFailed)(d.request(d.unitOf(du.ID, "bad").ID, model.RequestActive))
	is("after a start")
	d.done(d.agent.RestartExecEnv(t.Context(), 1, "", model.Origin{Name: "test"}))
	is("after a restart of the environment")
}

// TestVersionThatCannotBeThere is about an environment in which two versions of a unit exclude each other.
func TestVersionThatCannotBeThere(t *testing.T) {
	d := start(t, plain)
	first := d.installed(fake.Spec{Name: "u", Version: "1"})
	d.worlds["fake"].FailCall("Install", 1, adapterExists("its services are in use"))
	j := d.failed(fault.DuplicateDU)(d.install(fake.Spec{Name: "u", Version: "2"}))
	if !strings.Contains(j.Message, "in use") {
		t.Errorf("the message is %q", j.Message)
	}
	d.worlds["fake"].FailCall("Update", 1, adapterExists("its services are in use"))
	d.failed(fault.VersionExists)(d.update(first.ID, fake.Spec{Name: "u", Version: "3"}))
	if n := d.agent.Snapshot().Count(model.KindDeploymentUnit); n != 1 || d.eu(first.ID).Status != model.EUActive {
		t.Error(dump(d.agent.Snapshot()))
	}
}

// TestKinds is about packages of three kinds, and who takes them.
func TestKinds(t *testing.T) {
	d := start(t, levels, func(d *device) {
		d.cfg.Operations.CallDeadline = time.Second
		for _, kind := range []string{"one", "two"} {
			d.world(kind, fake.Options{Kind: kind})
			d.env("e-"+kind, kind)
		}
	})
	envs := map[string]string{"fake": "e", "one": "e-one", "two": "e-two"}
	for kind, env := range envs {
		for other := range envs {
			r := model.InstallRequest{URL: d.pkg(fake.Spec{Name: "of-" + other, Kind: other}), ExecEnv: env}
			if other != kind {
				d.failed(fault.DUExecEnvMismatch)(d.agent.Install(t.Context(), r))
			}
		}
	}
	for kind, env := range envs {
		j := d.done(d.agent.Install(t.Context(), model.InstallRequest{URL: d.pkg(fake.Spec{Name: "of-" + kind, Kind: kind})}))
		du := d.agent.Snapshot().DeploymentUnit(j.Objects[0].Instance)
		if du.Env != env || d.eu(du.ID).Status != model.EUActive {
			t.Errorf("%s is on %s", du.Name, du.Env)
		}
	}
	// While the one that would take it is away, the others still do not.
	d.doubles["two"].crash(true)
	d.failed(fault.ExecEnvUnavailable)(d.agent.Install(t.Context(), model.InstallRequest{URL: d.pkg(fake.Spec{Name: "again", Kind: "two"})}))
	d.doubles["two"].resume()
	d.up()
}

func adapterExists(why string) error {
	return adapter.Errorf(adapter.Exists, "cannot install it: %s", why)
}
