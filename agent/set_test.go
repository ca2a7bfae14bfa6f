package agent_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/plugins/adapter"
	"github.com/smmd-project/smmd/plugins/adapter/fake"
)

func TestSetRefuses(t *testing.T) {
	d := start(t, levels, func(d *device) {
		d.env("other", "fake")
		d.cfg.Agent.ProtectedEnvs = []string{"other"}
	})
	du := d.installed(fake.Spec{Name: "a"})
	second := d.installed(fake.Spec{Name: "b"})
	eu := d.eu(du.ID)
	ee, other := ref(model.KindExecEnv, d.ee("e").Instance), ref(model.KindExecEnv, d.ee("other").Instance)
	duRef, euRef := ref(model.KindDeploymentUnit, du.ID), ref(model.KindExecutionUnit, eu.ID)
	bad := []struct {
		row  model.Ref
		a    model.Attribute
		v    any
		want fault.Reason
	}{
		{ee, model.Alias, "", fault.InvalidArguments},
		{ee, model.Alias, "1x", fault.InvalidArguments},
		{ee, model.Alias, "cpe-other", fault.InvalidArguments},
		{ee, model.Alias, strings.Repeat("x", 65), fault.InvalidArguments},
		{ee, model.Alias, 1, fault.InvalidArguments},
		{ee, model.Enable, "true", fault.InvalidArguments},
		{other, model.Enable, false, fault.RequestDenied},
		{ee, model.InitialRunLevel, -1, fault.InvalidArguments},
		{ee, model.InitialRunLevel, 65536, fault.InvalidArguments},
		{ee, model.InitialRunLevel, "1", fault.InvalidArguments},
		{ee, model.InitialExecutionUnitRunLevel, -2, fault.InvalidArguments},
		{ee, model.InitialExecutionUnitRunLevel, 65536, fault.InvalidArguments},
		{ee, model.RequestedRunLevel, -2, fault.InvalidArguments},
		{ee, model.RequestedRunLevel, 65536, fault.InvalidArguments},
		{ee, model.AutoStart, true, fault.InvalidArguments},
		{ref(model.KindExecEnv, 99), model.Alias, "x", fault.UnknownExecEnv},
		{duRef, model.Alias, ref(model.KindDeploymentUnit, 1), fault.InvalidArguments},
		{duRef, model.Alias, second.Alias, fault.InvalidArguments},
		{duRef, model.Enable, true, fault.InvalidArguments},
		{ref(model.KindDeploymentUnit, 99), model.Alias, "x", fault.UnknownDU},
		{euRef, model.Alias, "-", fault.InvalidArguments},
		{euRef, model.AutoStart, "false", fault.InvalidArguments},
		{euRef, model.RunLevel, -1, fault.InvalidArguments},
		{euRef, model.RunLevel, 65536, fault.InvalidArguments},
		{euRef, model.RequestedState, "Starting", fault.InvalidArguments},
		{euRef, model.RequestedState, true, fault.InvalidArguments},
		{euRef, model.Enable, true, fault.InvalidArguments},
		{ref(model.KindExecutionUnit, 99), model.RequestedState, "Active", fault.UnknownDU},
		{ref(model.KindJob, 1), model.Alias, "x", fault.UnknownDU},
	}
	before := dump(d.agent.Snapshot())
	for _, b := range bad {
		// The bad one is between two good ones, of which nothing may remain.
		_, err := d.agent.Set(t.Context(), []model.Assignment{
			{Row: ee, Attribute: model.InitialRunLevel, Value: 7}, {Row: b.row, Attribute: b.a, Value: b.v},
			{Row: duRef, Attribute: model.Alias, Value: "good"}, {Row: euRef, Attribute: model.RequestedState, Value: "Idle"},
		}, model.Origin{Name: "test"})
		var se *model.SetError
		if !errors.As(err, &se) || len(se.Faults) != 1 || fault.ReasonOf(se.Faults[1]) != b.want {
			t.Errorf("setting %s of %v to %v: %v, %v", b.a, b.row, b.v, err, se)
		}
		if now := dump(d.agent.Snapshot()); now != before {
			t.Fatalf("setting %s of %v to %v changed\n%s\nto\n%s", b.a, b.row, b.v, before, now)
		}
	}
	_, err := d.agent.Set(t.Context(), []model.Assignment{
		{Row: ee, Attribute: model.InitialRunLevel, Value: 7},
		{Row: duRef, Attribute: model.Alias, Value: "x"}, {Row: ref(model.KindDeploymentUnit, second.ID), Attribute: model.Alias, Value: "x"},
		{Row: ee, Attribute: model.Enable, Value: 1},
	}, model.Origin{Name: "test"})
	var se *model.SetError
	if !errors.As(err, &se) || len(se.Faults) != 2 || se.Faults[2] == nil || se.Faults[3] == nil {
		t.Errorf("the errors are %v", se)
	}
}

func TestSet(t *testing.T) {
	d := start(t, levels)
	du := d.installed(fake.Spec{Name: "a"})
	d.rest(du.ID, model.EUActive)
	ee, duRef, euRef := ref(model.KindExecEnv, d.ee("e").Instance), ref(model.KindDeploymentUnit, du.ID), ref(model.KindExecutionUnit, d.eu(du.ID).ID)
	d.set(ee, model.Alias, "first")
	d.set(duRef, model.Alias, "second")
	d.set(euRef, model.Alias, "third")
	d.set(ee, model.InitialRunLevel, 3)
	d.set(ee, model.InitialExecutionUnitRunLevel, 2)
	d.set(euRef, model.RunLevel, 0)
	d.set(euRef, model.AutoStart, false)
	d.rest(du.ID, model.EUIdle) // as OSGi does it
	check := func() {
		t.Helper()
		e, u := d.ee("e"), d.eu(du.ID)
		if e.Alias != "first" || d.agent.Snapshot().DeploymentUnit(du.ID).Alias != "second" || u.Alias != "third" ||
			e.InitialRunLevel != 3 || e.InitialExecutionUnitRunLevel != 2 || u.RunLevel != 0 || u.AutoStart {
			t.Errorf("there is\n%s", dump(d.agent.Snapshot()))
		}
	}
	check()
	d.restart()
	d.up()
	check()
	if b := d.installed(fake.Spec{Name: "b"}); d.eu(b.ID).RunLevel != 2 || d.eu(b.ID).Status != model.EUIdle {
		t.Errorf("a new execution unit is %+v", *d.eu(b.ID))
	}
	d.set(euRef, model.RequestedState, "Active")
	d.rest(du.ID, model.EUActive)
	d.set(euRef, model.RequestedState, "Idle")
	d.rest(du.ID, model.EUIdle)

	// What the environment refuses goes back to what it has.
	w := d.worlds["fake"]
	for _, x := range []struct {
		method string
		row    model.Ref
		a      model.Attribute
		v      any
	}{
		{"SetAutoStart", euRef, model.AutoStart, true},
		{"SetModuleRunLevel", euRef, model.RunLevel, 9},
		{"SetInitialModuleRunLevel", ee, model.InitialExecutionUnitRunLevel, 9},
	} {
		w.FailCall(x.method, 1, adapter.Errorf(adapter.NotSupported, "cannot: a test"))
		jobs, err := d.agent.Set(t.Context(), []model.Assignment{{Row: x.row, Attribute: x.a, Value: x.v}}, model.Origin{Name: "test"})
		d.ok(err)
		d.failed(fault.NotSupported)(jobs[0], nil)
		check()
	}
}

func TestSetWhileDisabled(t *testing.T) {
	d := start(t, levels)
	a, b := d.installed(fake.Spec{Name: "a"}).ID, d.installed(fake.Spec{Name: "b"}).ID
	d.enable("e", false)
	d.set(ref(model.KindExecutionUnit, d.eu(a).ID), model.AutoStart, false)
	d.set(ref(model.KindExecutionUnit, d.eu(b).ID), model.RunLevel, 5)
	d.set(ref(model.KindExecEnv, 1), model.InitialRunLevel, 3)
	d.set(ref(model.KindExecEnv, 1), model.InitialExecutionUnitRunLevel, 2)
	_, err := d.agent.Set(t.Context(), []model.Assignment{{Row: ref(model.KindExecEnv, 1), Attribute: model.RequestedRunLevel, Value: 2}}, model.Origin{Name: "test"})
	var se *model.SetError
	if !errors.As(err, &se) || fault.ReasonOf(se.Faults[0]) != fault.DisabledExecEnv {
		t.Errorf("RequestedRunLevel while disabled: %v", err)
	}
	d.restart() // it survives that
	d.enable("e", true)
	d.up()
	d.until("the launch is brought up", func(s *model.Snapshot) error {
		if e := s.ExecEnvByID("e"); e.CurrentRunLevel != 3 {
			return fmt.Errorf("level %d", e.CurrentRunLevel)
		}
		return nil
	})
	world, err := d.worlds["fake"].State()
	d.ok(err)
	units, rows := world.Envs["e"].Units, d.agent.Snapshot()
	if m := units[rows.DeploymentUnit(a).Key].Modules[0]; m.AutoStart || m.Status != adapter.Idle {
		t.Errorf("the module is %+v", *m)
	}
	if m := units[rows.DeploymentUnit(b).Key].Modules[0]; m.RunLevel != 5 || m.Status != adapter.Idle {
		t.Errorf("the module is %+v", *m)
	}
	if l := world.Envs["e"].InitialModuleRunLevel; l != 2 {
		t.Errorf("new modules get level %d", l)
	}
	for _, id := range []model.RowID{a, b} {
		if u := d.eu(id); u.AutoStartPending || u.RunLevelPending {
			t.Errorf("the execution unit is %+v", *u)
		}
	}
}

func TestSetTwice(t *testing.T) {
	d := start(t, levels)
	du := d.installed(fake.Spec{Name: "a"}).ID
	d.rest(du, model.EUActive)
	row := ref(model.KindExecutionUnit, d.eu(du).ID)
	entered, release := d.worlds["fake"].Block("SetAutoStart")
	defer release()
	off, err := d.agent.Set(t.Context(), []model.Assignment{{Row: row, Attribute: model.AutoStart, Value: false}}, model.Origin{Name: "test"})
	d.ok(err)
	<-entered
	on, err := d.agent.Set(t.Context(), []model.Assignment{{Row: row, Attribute: model.AutoStart, Value: true}}, model.Origin{Name: "test"})
	d.ok(err)
	release()
	d.done(off[0], nil)
	d.done(on[0], nil)
	d.rest(du, model.EUActive)
	if u := d.eu(du); !u.AutoStart || u.AutoStartPending {
		t.Errorf("the execution unit is %+v", *u)
	}
	world, err := d.worlds["fake"].State()
	d.ok(err)
	for _, u := range world.Envs["e"].Units {
		if !u.Modules[0].AutoStart {
			t.Error("the environment was not told the second value")
		}
	}
}

func TestDisableWithQueue(t *testing.T) {
	d := start(t, levels)
	a, b := d.installed(fake.Spec{Name: "a"}).ID, d.installed(fake.Spec{Name: "b"}).ID
	d.rest(a, model.EUActive)
	entered, release := d.worlds["fake"].Block("Stop")
	defer release()
	running, err := d.request(d.eu(a).ID, model.RequestIdle)
	d.ok(err)
	<-entered
	queued := []uint32{}
	for _, begin := range []func() (uint32, error){
		func() (uint32, error) { return d.request(d.eu(b).ID, model.RequestIdle) },
		func() (uint32, error) { return d.uninstall(b) },
		func() (uint32, error) { return d.update(a, fake.Spec{Name: "a", Version: "2"}) },
		func() (uint32, error) { return d.install(fake.Spec{Name: "c"}) },
	} {
		job, err := begin()
		d.ok(err)
		queued = append(queued, job)
	}
	d.state(queued[2], model.JobInspecting)
	jobs, err := d.agent.Set(t.Context(), []model.Assignment{{Row: ref(model.KindExecEnv, 1), Attribute: model.Enable, Value: false}}, model.Origin{Name: "test"})
	d.ok(err)
	if d.ee("e").Status != model.EEUp {
		t.Error("it did not wait for the call in progress")
	}
	release()
	d.done(running, nil)
	d.done(jobs[0], nil)
	for _, job := range queued {
		d.failed(fault.DisabledExecEnv)(job, nil)
	}
	for _, id := range []model.RowID{a, b} {
		if u := d.agent.Snapshot().DeploymentUnit(id); u.Status != model.DUInstalled || u.Version != "1" {
			t.Errorf("the row is %+v", *u)
		}
	}
	if len(d.units("e")) != 2 {
		t.Errorf("the environment has %v", d.units("e"))
	}
}

func TestParent(t *testing.T) {
	d := start(t, plain, func(d *device) {
		d.env("child", "fake").Parent = "e"
		d.env("grandchild", "fake").Parent = "child"
		d.env("protected", "fake").Parent = "top"
		d.env("top", "fake")
		d.cfg.Agent.ProtectedEnvs = []string{"protected"}
	})
	top := ref(model.KindExecEnv, d.ee("top").Instance)
	_, err := d.agent.Set(t.Context(), []model.Assignment{{Row: top, Attribute: model.Enable, Value: false}}, model.Origin{Name: "test"})
	var se *model.SetError
	if !errors.As(err, &se) || fault.ReasonOf(se.Faults[0]) != fault.RequestDenied {
		t.Errorf("the parent of a protected environment: %v", err)
	}
	du := d.done(d.agent.Install(t.Context(), model.InstallRequest{URL: d.pkg(fake.Spec{Name: "a"}), ExecEnv: "grandchild"})).Objects[0].Instance
	d.rest(du, model.EUActive)
	d.enable("e", false)
	d.until("the children are down", func(s *model.Snapshot) error {
		for _, id := range []string{"child", "grandchild"} {
			if e := s.ExecEnvByID(id); e.Status != model.EEError || !strings.Contains(e.StatusDetail, "parent disabled") || !e.Enable {
				return fmt.Errorf("%s is %s: %s", id, e.Status, e.StatusDetail)
			}
		}
		return nil
	})
	d.faults(model.UnStartable, du)
	_, err = d.agent.Install(t.Context(), model.InstallRequest{URL: d.pkg(fake.Spec{Name: "b"}), ExecEnv: "child"})
	wantReason(t, fault.DisabledExecEnv, err)
	d.enable("e", true)
	d.up()
	d.rest(du, model.EUActive)
}

func TestRequestedRunLevel(t *testing.T) {
	d := start(t, levels)
	before := d.agent.Snapshot().Count(model.KindJob)
	d.set(ref(model.KindExecEnv, 1), model.RequestedRunLevel, -1)
	if n := d.agent.Snapshot().Count(model.KindJob); n != before {
		t.Error("-1 has an effect")
	}
	d.set(ref(model.KindExecEnv, 1), model.RequestedRunLevel, 4)
	if l := d.ee("e").CurrentRunLevel; l != 4 {
		t.Errorf("the level is %d", l)
	}
}

// active are the names of the deployment units whose execution unit is active.
func (d *device) active() (names []string) {
	s := d.agent.Snapshot()
	for u := range s.ExecutionUnits() {
		if u.Status == model.EUActive {
			names = append(names, s.DeploymentUnit(u.DU).Name)
		}
	}
	slices.Sort(names)
	return names
}

// watched returns how states of execution units change while f runs.
func (d *device) watched(f func()) (events []string) {
	d.t.Helper()
	feed := d.agent.Feed(d.t.Context())
	<-feed
	f()
	last := d.agent.Snapshot().Seq
	for c := range feed {
		for _, ch := range c.Changes {
			old, _ := ch.Old.(*model.ExecutionUnit)
			now, _ := ch.New.(*model.ExecutionUnit)
			if old != nil && now != nil && old.Status != now.Status {
				events = append(events, c.Snapshot.DeploymentUnit(now.DU).Name+" "+string(now.Status))
			}
		}
		if c.Snapshot.Seq >= last {
			return events
		}
	}
	return events
}

func TestRunLevelsOfTheAgent(t *testing.T) {
	d := start(t, plain)
	if e := d.ee("e"); e.CurrentRunLevel != 1 {
		t.Errorf("the level is %d", e.CurrentRunLevel)
	}
	ids := map[string]model.RowID{}
	for name, level := range map[string]int{"one": 1, "two": 2, "two-b": 2, "three": 3, "manual": 2, "fails": 2} {
		s := fake.Spec{Name: name}
		if name == "fails" {
			s.Modules = []fake.ModuleSpec{{ID: "main", AutoStartFails: "no luck"}}
		}
		ids[name] = d.installed(s).ID
		eu := d.eu(ids[name])
		d.set(ref(model.KindExecutionUnit, eu.ID), model.RunLevel, level)
		d.done(d.request(eu.ID, model.RequestIdle))
		d.rest(ids[name], model.EUIdle)
	}
	d.set(ref(model.KindExecutionUnit, d.eu(ids["manual"]).ID), model.AutoStart, false)
	ee := ref(model.KindExecEnv, 1)

	up := d.watched(func() { d.set(ee, model.RequestedRunLevel, 3) })
	if len(up) != 4 || up[0] != "one Active" || up[3] != "three Active" {
		t.Errorf("they started in the order %v", up)
	}
	if u := d.eu(ids["fails"]); u.Status != model.EUIdle || u.FaultCode != model.FailureOnAutoStart || u.FaultMessage != "no luck" {
		t.Errorf("the one that fails is %+v", *u)
	}
	if got := fmt.Sprint(d.active()); got != "[one three two two-b]" || d.ee("e").CurrentRunLevel != 3 {
		t.Errorf("at level %d there run %s", d.ee("e").CurrentRunLevel, got)
	}
	d.done(d.request(d.eu(ids["manual"]).ID, model.RequestActive))
	down := d.watched(func() { d.set(ee, model.RequestedRunLevel, 1) })
	if len(down) != 4 || down[0] != "three Idle" {
		t.Errorf("they stopped in the order %v", down)
	}
	if got := fmt.Sprint(d.active()); got != "[one]" {
		t.Errorf("at level 1 there run %s", got)
	}
	d.set(ee, model.RequestedRunLevel, 2)

	// The level is kept over a restart of the agent, and nothing is started again.
	d.done(d.request(d.eu(ids["two"]).ID, model.RequestIdle))
	d.restart()
	d.up()
	d.rest(ids["two-b"], model.EUActive)
	if got := fmt.Sprint(d.active()); got != "[one two-b]" || d.ee("e").CurrentRunLevel != 2 {
		t.Errorf("after a restart of the agent at level %d there run %s", d.ee("e").CurrentRunLevel, got)
	}
	// After a launch the level is InitialRunLevel.
	d.set(ee, model.InitialRunLevel, 3)
	d.done(d.agent.RestartExecEnv(t.Context(), 1, "a reason", model.Origin{Name: "test"}))
	e := d.ee("e")
	if got := fmt.Sprint(d.active()); got != "[one three two two-b]" || e.CurrentRunLevel != 3 {
		t.Errorf("after a launch at level %d there run %s", e.CurrentRunLevel, got)
	}
	if e.RestartCount != 1 || e.RestartReason != "a reason" || e.LastRestarted.IsZero() || e.Status != model.EEUp {
		t.Errorf("the row is %+v", *e)
	}
	if n := d.launches(); n != 2 {
		t.Errorf("there were %d launches", n)
	}
	d.enable("e", false)
	if e := d.ee("e"); e.RestartReason != "" || e.RestartCount != 0 || e.LastRestarted.IsZero() {
		t.Errorf("after it has been disabled: reason %q, %d restarts, the last at %v", e.RestartReason, e.RestartCount, e.LastRestarted)
	}
}
