package agent_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/plugins/adapter/fake"
)

// unitOf returns an execution unit by the module that it is.
func (d *device) unitOf(du model.RowID, module string) *model.ExecutionUnit {
	d.t.Helper()
	for u := range d.agent.Snapshot().ExecutionUnitsOf(du) {
		if u.Module == module {
			return u
		}
	}
	d.t.Fatalf("deployment unit %d has no module %s\n%s", du, module, dump(d.agent.Snapshot()))
	return nil
}

// setLevel sets the RunLevel of an execution unit.
func (d *device) setLevel(u *model.ExecutionUnit, level int) {
	d.t.Helper()
	d.set(ref(model.KindExecutionUnit, u.ID), model.RunLevel, level)
}

// moveTo brings the environment e to a level.
func (d *device) moveTo(level int) {
	d.t.Helper()
	d.set(ref(model.KindExecEnv, d.ee("e").Instance), model.RequestedRunLevel, level)
}

// followed returns the execution units whose state changes while f runs: in the order in which they arrive at it, by modules.
func (d *device) followed(want model.EUStatus, f func()) (modules []string) {
	d.t.Helper()
	feed := d.agent.Feed(d.t.Context())
	<-feed
	f()
	last := d.agent.Snapshot().Seq
	for c := range feed {
		for _, ch := range c.Changes {
			old, _ := ch.Old.(*model.ExecutionUnit)
			now, _ := ch.New.(*model.ExecutionUnit)
			if old != nil && now != nil && old.Status != now.Status && now.Status == want {
				modules = append(modules, now.Module)
			}
		}
		if c.Snapshot.Seq >= last {
			return modules
		}
	}
	return modules
}

// calls are the calls of the adapter that start, stop, launch or end something, while f runs.
func (d *device) calls(f func()) (calls []string) {
	d.t.Helper()
	before := len(d.worlds["fake"].Calls())
	f()
	for _, c := range d.worlds["fake"].Calls()[before:] {
		switch c.Method {
		case "Start", "Stop", "SetEnabled", "SetRunLevel":
			calls = append(calls, strings.TrimSpace(c.Method+" "+c.Module))
		}
	}
	return calls
}

// ladder installs one unit with modules l1 … l5, at the run levels of their names, and brings e to level 5.
func (d *device) ladder() model.RowID {
	d.t.Helper()
	s := fake.Spec{Name: "ladder"}
	for l := 5; l >= 1; l-- { // their rows are in another order than their levels
		s.Modules = append(s.Modules, fake.ModuleSpec{ID: fmt.Sprintf("l%d", l)})
	}
	du := d.installed(s)
	for l := range 5 {
		d.setLevel(d.unitOf(du.ID, fmt.Sprintf("l%d", l+1)), l+1)
	}
	d.moveTo(5)
	return du.ID
}

// TestLevelsInOrder is about one unit with modules on five levels, in an environment for which the agent keeps levels.
func TestLevelsInOrder(t *testing.T) {
	d := start(t, plain)
	d.set(ref(model.KindExecEnv, 1), model.InitialRunLevel, 4)
	d.ladder()
	up, down := []string{"l2", "l3", "l4", "l5"}, []string{"l5", "l4", "l3", "l2"}
	for _, step := range []struct {
		what string
		want []string
		f    func()
	}{
		{"down", []string{"Stop l5", "Stop l4", "Stop l3", "Stop l2"}, func() { d.moveTo(1) }},
		{"up", []string{"Start l2", "Start l3", "Start l4", "Start l5"}, func() { d.moveTo(5) }},
		{"to where it is", nil, func() { d.moveTo(5) }},
		{"restart", []string{"Stop l5", "Stop l4", "Stop l3", "Stop l2", "Stop l1", "SetEnabled", "SetEnabled", "Start l1", "Start l2", "Start l3", "Start l4"},
			func() { d.done(d.agent.RestartExecEnv(t.Context(), 1, "", model.Origin{Name: "test"})) }},
		{"disable", []string{"Stop l4", "Stop l3", "Stop l2", "Stop l1", "SetEnabled"}, func() { d.enable("e", false) }},
		{"enable", []string{"SetEnabled", "Start l1", "Start l2", "Start l3", "Start l4"}, func() {
			d.enable("e", true)
			d.up()
		}},
	} {
		if got := d.calls(step.f); !slices.Equal(got, step.want) {
			t.Errorf("%s: the calls are\n\t%q, not\n\t%q", step.what, got, step.want)
		}
	}
	d.moveTo(1)
	if got := d.followed(model.EUActive, func() { d.moveTo(5) }); !slices.Equal(got, up) {
		t.Errorf("they started in the order %q", got)
	}
	if got := d.followed(model.EUIdle, func() { d.moveTo(1) }); !slices.Equal(got, down) {
		t.Errorf("they stopped in the order %q", got)
	}
}

// TestStopsThatFailBeforeTheEnd is about units that do not stop when their environment is to be ended.
func TestStopsThatFailBeforeTheEnd(t *testing.T) {
	d := start(t, plain)
	d.moveTo(3)
	du := d.installed(fake.Spec{Name: "stubborn", Modules: []fake.ModuleSpec{{ID: "hangs", StopHangs: true}, {ID: "fails", StopFails: "stuck"}, {ID: "forced", IgnoresStop: true}, {ID: "good"}}})
	for i, m := range []string{"good", "forced", "fails", "hangs"} {
		d.setLevel(d.unitOf(du.ID, m), i)
	}
	got := d.calls(func() { d.enable("e", false) })
	if want := []string{"Stop hangs", "Stop fails", "Stop forced", "Stop good", "SetEnabled"}; !slices.Equal(got, want) {
		t.Errorf("the calls are %q", got)
	}
	for u := range d.agent.Snapshot().ExecutionUnitsOf(du.ID) {
		if u.Status != model.EUIdle || u.FaultCode != model.UnStartable {
			t.Errorf("in the disabled environment %s is %s, %s", u.Module, u.Status, u.FaultCode)
		}
	}
}

// TestRunLevelOfAUnit is about what follows from setting RunLevel and AutoStart, and from requests above the level of the environment.
func TestRunLevelOfAUnit(t *testing.T) {
	d := start(t, plain)
	du := d.installed(fake.Spec{Name: "u", Modules: []fake.ModuleSpec{{ID: "a"}, {ID: "b"}, {ID: "bad", AutoStartFails: "no luck"}}})
	at := func(module string) *model.ExecutionUnit { return d.unitOf(du.ID, module) }
	is := func(what, module string, status model.EUStatus, code model.FaultCode) {
		t.Helper()
		if u := at(module); u.Status != status || u.FaultCode != code || u.Pending() {
			t.Errorf("%s: %s is %s, %s: %s", what, module, u.Status, u.FaultCode, u.FaultMessage)
		}
	}
	is("installed", "a", model.EUActive, model.NoFault)
	d.setLevel(at("a"), 2)
	is("RunLevel above", "a", model.EUIdle, model.NoFault)
	is("of another one", "b", model.EUActive, model.NoFault)
	d.setLevel(at("a"), 1)
	is("RunLevel met", "a", model.EUActive, model.NoFault)
	// AutoStart is for the next start of the environment, or the next change of levels.
	d.set(ref(model.KindExecutionUnit, at("a").ID), model.AutoStart, false)
	is("AutoStart off", "a", model.EUActive, model.NoFault)
	d.setLevel(at("a"), 2)
	is("RunLevel above, without AutoStart", "a", model.EUIdle, model.NoFault)
	d.setLevel(at("a"), 0)
	is("RunLevel met, without AutoStart", "a", model.EUIdle, model.NoFault)
	d.set(ref(model.KindExecutionUnit, at("a").ID), model.AutoStart, true)
	is("AutoStart on", "a", model.EUIdle, model.NoFault)
	// A unit that fails shows that; what was set is set.
	is("installed", "bad", model.EUIdle, model.FailureOnAutoStart)
	d.setLevel(at("bad"), 2)
	d.setLevel(at("bad"), 1)
	is("RunLevel met", "bad", model.EUIdle, model.FailureOnAutoStart)

	// Nothing is started above the level. What has AutoStart is started when that comes.
	d.set(ref(model.KindExecutionUnit, at("b").ID), model.AutoStart, false)
	d.setLevel(at("b"), 7)
	j := d.failed(fault.StartFailed)(d.request(at("b").ID, model.RequestActive))
	if !strings.Contains(j.Message, "7") || !strings.Contains(j.Message, "1") {
		t.Errorf("the message is %q", j.Message)
	}
	is("request above", "b", model.EUIdle, model.FailureOnStart)
	d.failed(fault.StartFailed)(d.request(at("b").ID, model.RequestRestart))
	d.doubles["fake"].crash(false) // older news does not take the fault away
	d.eventually("the new adapter is asked", func() error {
		if n := d.worlds["fake"].Count("Watch", ""); n < 2 {
			return fmt.Errorf("it was asked %d times", n)
		}
		return nil
	})
	d.up()
	is("request above", "b", model.EUIdle, model.FailureOnStart)
	d.set(ref(model.KindExecutionUnit, at("b").ID), model.AutoStart, true)
	if j := d.done(d.request(at("b").ID, model.RequestActive)); !strings.Contains(j.Message, "run level 7") {
		t.Errorf("the remark is %q", j.Message)
	}
	d.moveTo(7)
	is("level met", "b", model.EUActive, model.NoFault)

	// What is set while the environment is disabled holds at its launch, which goes to the InitialRunLevel.
	d.enable("e", false)
	d.setLevel(at("b"), 1)
	d.setLevel(at("a"), 3)
	got := d.calls(func() {
		d.enable("e", true)
		d.up()
	})
	if want := []string{"SetEnabled", "Start b", "Start bad"}; !slices.Equal(got, want) {
		t.Errorf("after the launch the calls are %q", got)
	}
	is("launched", "a", model.EUIdle, model.NoFault)
	is("launched", "b", model.EUActive, model.NoFault)
}

// TestLevelsHalfKept is about environments that keep either run levels or AutoStart: the agent does the other half.
func TestLevelsHalfKept(t *testing.T) {
	for name, o := range map[string]fake.Options{"levels only": {RunLevels: true}, "auto-start only": {AutoStart: true}} {
		t.Run(name, func(t *testing.T) {
			d := start(t, o)
			running := func(what string, want ...string) {
				t.Helper()
				d.eventually(what, func() error {
					var got []string
					for u := range d.agent.Snapshot().ExecutionUnits() {
						if u.Status == model.EUActive {
							got = append(got, u.Module)
						}
					}
					if slices.Sort(got); !slices.Equal(got, want) {
						return errors.New(strings.Join(got, " "))
					}
					return nil
				})
			}
			d.ladder()
			running("at level 5", "l1", "l2", "l3", "l4", "l5")
			d.moveTo(2)
			running("at level 2", "l1", "l2")
			d.moveTo(4)
			running("at level 4", "l1", "l2", "l3", "l4")
			d.set(ref(model.KindExecEnv, 1), model.InitialRunLevel, 3)
			d.done(d.agent.RestartExecEnv(t.Context(), 1, "", model.Origin{Name: "test"}))
			running("after a restart", "l1", "l2", "l3")
			if l := d.ee("e").CurrentRunLevel; l != 3 {
				t.Errorf("the level is %d", l)
			}
			// A new unit above the level waits for it.
			d.set(ref(model.KindExecEnv, 1), model.InitialExecutionUnitRunLevel, 5)
			du := d.installed(fake.Spec{Name: "late", Modules: []fake.ModuleSpec{{ID: "late"}}})
			running("a new one above the level", "l1", "l2", "l3")
			d.setLevel(d.unitOf(du.ID, "late"), 2)
			running("a new one that is met", "l1", "l2", "l3", "late")
			d.setLevel(d.unitOf(du.ID, "late"), 5)
			running("the same one above the level", "l1", "l2", "l3")
			d.moveTo(5)
			running("at level 5", "l1", "l2", "l3", "l4", "l5", "late")
		})
	}
}

// TestLevelUntilBroughtUp is about what is shown between the launch of an environment and its arrival at InitialRunLevel.
func TestLevelUntilBroughtUp(t *testing.T) {
	d := start(t, plain)
	d.ladder()
	d.set(ref(model.KindExecEnv, 1), model.InitialRunLevel, 5)
	d.kill()
	d.ok(d.console("e").Lose("the device was switched off"))
	entered, release := d.worlds["fake"].Block("Start")
	defer release()
	d.start()
	<-entered
	if e := d.ee("e"); e.Status != model.EEUp || e.CurrentRunLevel != 0 {
		t.Errorf("while its first unit is started it is %s at level %d", e.Status, e.CurrentRunLevel)
	}
	release()
	d.until("it has arrived", func(s *model.Snapshot) error {
		if l := s.ExecEnvByID("e").CurrentRunLevel; l != 5 {
			return fmt.Errorf("it is at level %d", l)
		}
		return nil
	})
	if got := d.active(); len(got) != 5 {
		t.Errorf("there run %q", got)
	}
}
