package agent_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/plugins/adapter"
	"github.com/smmd-project/smmd/plugins/adapter/fake"
)

// What was set while an environment was down holds before its launch starts a unit.
func TestSetBeforeLaunch(t *testing.T) {
	t.Parallel()
	d := start(t, levels)
	bad, late := d.installed(fake.Spec{Name: "bad", Modules: []fake.ModuleSpec{{ID: "m", StartFails: "a test"}}}), d.installed(fake.Spec{Name: "late"})
	d.rest(late.ID, model.EUActive)
	if u := d.eu(bad.ID); !u.AutoStart || u.FaultCode == model.NoFault {
		t.Fatalf("the execution unit is %+v", *u)
	}
	d.enable("e", false)
	d.set(ref(model.KindExecutionUnit, d.eu(bad.ID).ID), model.AutoStart, false)
	d.set(ref(model.KindExecutionUnit, d.eu(late.ID).ID), model.RunLevel, 5)
	starts := 0
	d.worlds["fake"].Hook("SetEnabled", fake.After, func(fake.Call) error {
		s, err := d.worlds["fake"].State()
		if err != nil {
			return err
		}
		for key, u := range s.Envs["e"].Units {
			if m := u.Modules[0]; m.Status != adapter.Idle || m.Reason != "" {
				t.Errorf("right after the launch %s is %s, %s", key, m.Status, m.Reason)
			}
			starts++
		}
		return nil
	})
	d.enable("e", true)
	if starts != 2 {
		t.Errorf("after the launch there were %d units", starts)
	}
	for _, id := range []model.RowID{bad.ID, late.ID} {
		if u := d.rest(id, model.EUIdle); u.FaultCode != model.NoFault || u.AutoStartPending || u.RunLevelPending {
			t.Errorf("the execution unit is %+v", *u)
		}
	}
	d.set(ref(model.KindExecEnv, 1), model.RequestedRunLevel, 5)
	d.rest(late.ID, model.EUActive)
}

// A start that brings its environment down each time is a fault of the unit, also when the environment is back. It lasts until the
// unit is started well.
func TestStartEndsTheEnvironment(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]fake.Options{"levels": levels, "plain": plain} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := start(t, o, func(d *device) { d.cfg.ExecEnvs[0].AutoStart = false })
			du := d.installed(fake.Spec{Name: "a"}).ID
			d.worlds["fake"].Hook("Start", fake.Before, func(fake.Call) error {
				return errors.Join(d.console("e").Lose("it ended with status 7"), adapter.Errorf(adapter.Unavailable, "cannot start a: the environment is gone"))
			})
			j := d.failed(fault.ExecEnvUnavailable)(d.request(d.eu(du).ID, model.RequestActive))
			d.worlds["fake"].Hook("Start", fake.Before, nil)
			d.until("the environment is back", func(s *model.Snapshot) error {
				if e := s.ExecEnvByID("e"); e.Status != model.EEUp {
					return errors.New(e.StatusDetail)
				}
				return nil
			})
			d.up()
			if u := d.eu(du); u.Status != model.EUIdle || u.FaultCode != model.FailureOnStart || u.FaultMessage == "" {
				t.Errorf("the execution unit is %+v after %s", *u, j.Message)
			}
			d.done(d.request(d.eu(du).ID, model.RequestActive))
			if u := d.rest(du, model.EUActive); u.FaultCode != model.NoFault {
				t.Errorf("the execution unit is %+v", *u)
			}

			// One that ran without AutoStart says what has become of it.
			d.ok(d.console("e").Lose("it died"))
			d.until("it is launched again", func(s *model.Snapshot) error {
				e := s.ExecEnvByID("e")
				if u := s.ExecutionUnit(d.eu(du).ID); e.Status != model.EEUp || u.Status != model.EUIdle {
					return fmt.Errorf("%s, %s", e.Status, u.Status)
				}
				return nil
			})
			d.faults(model.FailureWhileActive, du)
			d.enable("e", false)
			d.faults(model.UnStartable, du)
			d.enable("e", true)
			if u := d.eu(du); u.FaultCode != model.NoFault {
				t.Errorf("the execution unit is %+v", *u)
			}
		})
	}
}

// The unit is to blame also when its environment cannot be launched again for a while.
func TestStartEndsTheEnvironmentForLong(t *testing.T) {
	t.Parallel()
	d := start(t, levels, func(d *device) { d.cfg.ExecEnvs[0].AutoStart = false })
	bad := d.installed(fake.Spec{Name: "bad"}).ID
	d.worlds["fake"].Hook("Start", fake.Before, func(fake.Call) error {
		return errors.Join(d.console("e").Lose("it ended with status 7"), adapter.Errorf(adapter.Unavailable, "cannot start bad: the environment is gone"))
	})
	d.worlds["fake"].Hook("SetEnabled", fake.Before, func(fake.Call) error {
		return adapter.Errorf(adapter.StartFailed, "cannot launch it: a test")
	})
	d.failed(fault.ExecEnvUnavailable)(d.request(d.eu(bad).ID, model.RequestActive))
	d.faults(model.FailureOnStart, bad)
	d.until("the row says that the environment cannot be launched", func(s *model.Snapshot) error {
		if e := s.ExecEnvByID("e"); !strings.Contains(e.StatusDetail, "a test") {
			return errors.New(e.StatusDetail)
		}
		return nil
	})
	d.worlds["fake"].Hook("Start", fake.Before, nil)
	d.worlds["fake"].Hook("SetEnabled", fake.Before, nil)
	d.until("the environment is back", func(s *model.Snapshot) error {
		if e := s.ExecEnvByID("e"); e.Status != model.EEUp {
			return errors.New(e.StatusDetail)
		}
		return nil
	})
	d.up()
	d.faults(model.FailureOnStart, bad)
	d.done(d.request(d.eu(bad).ID, model.RequestActive))
	if u := d.rest(bad, model.EUActive); u.FaultCode != model.NoFault {
		t.Errorf("the execution unit is %+v", *u)
	}
}

// What was set while only the adapter was away is told when it is back, and not overwritten by what the environment had.
func TestInitialLevelWhileTheAdapterIsAway(t *testing.T) {
	t.Parallel()
	d := start(t, levels)
	d.set(ref(model.KindExecEnv, 1), model.RequestedRunLevel, 3)
	d.doubles["fake"].crash(true)
	d.until("the row says that the adapter is gone", func(s *model.Snapshot) error {
		if e := s.ExecEnvByID("e"); e.Status != model.EEError {
			return errors.New(string(e.Status))
		}
		return nil
	})
	if e := d.ee("e"); e.CurrentRunLevel != 3 {
		t.Errorf("the run level is %d", e.CurrentRunLevel)
	}
	d.set(ref(model.KindExecEnv, 1), model.InitialExecutionUnitRunLevel, 4)
	d.doubles["fake"].resume()
	d.until("the environment is up and told", func(s *model.Snapshot) error {
		if e := s.ExecEnvByID("e"); e.Status != model.EEUp || e.InitialLevelPending {
			return fmt.Errorf("%+v", *e)
		}
		return nil
	})
	state, err := d.worlds["fake"].State()
	d.ok(err)
	if e := d.ee("e"); e.InitialExecutionUnitRunLevel != 4 || state.Envs["e"].InitialModuleRunLevel != 4 {
		t.Errorf("the row says %d, the environment %d", e.InitialExecutionUnitRunLevel, state.Envs["e"].InitialModuleRunLevel)
	}
}

// An environment that somebody else launches is managed while it is there, and left to them.
func TestAttached(t *testing.T) {
	t.Parallel()
	d := prepare(t, fake.Options{RunLevels: true, AutoStart: true, Export: true, Versions: true, Attached: true})
	d.cfg.ExecEnvs[0].InitialRunLevel = 2
	c := d.console("e")
	d.start()
	d.until("it is waited for", func(s *model.Snapshot) error {
		if e := s.ExecEnvByID("e"); e.Status != model.EEError || !e.Attached || strings.Contains(e.StatusDetail, "launch") {
			return fmt.Errorf("%+v", *e)
		}
		return nil
	})
	d.ok(c.Install("theirs", fake.Spec{Name: "theirs", Version: "1"}))
	d.ok(c.Launch())
	d.up()
	if e := d.ee("e"); e.CurrentRunLevel != 2 {
		t.Errorf("it is at level %d", e.CurrentRunLevel)
	}
	kept := d.installed(fake.Spec{Name: "kept"}).ID
	d.rest(kept, model.EUActive)
	d.ok(d.agent.RecordBaseline(t.Context(), "cwmp", ""))

	ee := ref(model.KindExecEnv, d.ee("e").Instance)
	_, err := d.agent.Set(t.Context(), []model.Assignment{{Row: ee, Attribute: model.Enable, Value: false}}, model.Origin{Name: "test"})
	var se *model.SetError
	if !errors.As(err, &se) || fault.ReasonOf(se.Faults[0]) != fault.RequestDenied || !d.ee("e").Enable {
		t.Errorf("it could be disabled: %v", err)
	}
	_, err = d.agent.RestartExecEnv(t.Context(), ee.Instance, "", model.Origin{Name: "test"})
	wantReason(t, fault.RequestDenied, err)

	// A Reset restores units and levels.
	d.set(ref(model.KindExecutionUnit, d.eu(kept).ID), model.AutoStart, false)
	d.set(ee, model.InitialRunLevel, 7)
	d.set(ee, model.RequestedRunLevel, 9)
	new := d.installed(fake.Spec{Name: "new"}).ID
	j := d.done(d.agent.ResetExecEnv(t.Context(), ee.Instance, "cwmp", model.Origin{Name: "test"}))
	if !strings.Contains(j.Message, "somebody else launches it") {
		t.Errorf("the job says %q", j.Message)
	}
	if d.agent.Snapshot().DeploymentUnit(new) != nil {
		t.Error("what came after the baseline is still there")
	}
	d.rest(kept, model.EUActive)
	if e := d.ee("e"); e.InitialRunLevel != 2 || e.CurrentRunLevel != 2 || d.launches() != 1 {
		t.Errorf("after the Reset it is %+v, launched %d times", *e, d.launches())
	}

	// It goes and comes as they like, and is brought to its levels each time.
	d.ok(c.Lose("they ended it"))
	d.faults(model.FailureWhileActive, kept)
	d.restart()
	d.until("it is waited for", func(s *model.Snapshot) error {
		if e := s.ExecEnvByID("e"); e.StatusDetail != "they ended it" {
			return errors.New(e.StatusDetail)
		}
		return nil
	})
	d.ok(c.Launch())
	d.rest(kept, model.EUActive)
	d.until("its level is that of the row", func(s *model.Snapshot) error {
		if e := s.ExecEnvByID("e"); e.CurrentRunLevel != 2 {
			return fmt.Errorf("%+v", *e)
		}
		return nil
	})
	if d.launches() != 2 {
		t.Errorf("it was launched %d times", d.launches())
	}
	for _, call := range d.worlds["fake"].Calls() {
		if call.Method == "RestoreVersion" {
			t.Error("its version was restored")
		}
	}
}

// What is set while an environment is being restarted is told to it, also when the launch has been brought up already.
func TestSetDuringARestart(t *testing.T) {
	t.Parallel()
	d := start(t, levels)
	du := d.installed(fake.Spec{Name: "a"}).ID
	d.rest(du, model.EUActive)
	var once sync.Once
	d.worlds["fake"].Hook("SetRunLevel", fake.After, func(fake.Call) error {
		once.Do(func() {
			for row, x := range map[model.Ref]model.Attribute{
				ref(model.KindExecEnv, 1): model.InitialExecutionUnitRunLevel, ref(model.KindExecutionUnit, d.eu(du).ID): model.RunLevel,
			} {
				if _, err := d.agent.Set(t.Context(), []model.Assignment{{Row: row, Attribute: x, Value: 6}}, model.Origin{Name: "test"}); err != nil {
					t.Error(err)
				}
			}
		})
		return nil
	})
	d.done(d.agent.RestartExecEnv(t.Context(), 1, "", model.Origin{Name: "test"}))
	d.until("it has been told", func(s *model.Snapshot) error {
		state, err := d.worlds["fake"].State()
		if err != nil {
			return err
		}
		e, unit := state.Envs["e"], s.DeploymentUnit(du)
		if n, m := e.InitialModuleRunLevel, e.Units[unit.Key].Modules[0].RunLevel; n != 6 || m != 6 {
			return fmt.Errorf("the environment gives level %d to new modules and has %d", n, m)
		}
		return nil
	})
	// -1 is without effect.
	d.set(ref(model.KindExecEnv, 1), model.InitialExecutionUnitRunLevel, -1)
	if e := d.ee("e"); e.InitialExecutionUnitRunLevel != 6 || e.InitialLevelPending {
		t.Errorf("the row is %+v", *e)
	}
}

// A level that an environment refuses is no reason to bring it up for ever, nor is one that may not be changed.
func TestBringUpThatIsRefused(t *testing.T) {
	t.Parallel()
	d := prepare(t, levels)
	d.worlds["fake"].Fail("SetRunLevel", adapter.Errorf(adapter.NotSupported, "cannot go below its own level: a test"))
	d.start()
	d.up() // which includes that the launch has been brought up
	calls := 0
	for _, c := range d.worlds["fake"].Calls() {
		if c.Method == "SetRunLevel" {
			calls++
		}
	}
	if calls != 1 {
		t.Errorf("it was tried %d times", calls)
	}
}

// A start that has waited for its environment finds it launched and not yet brought to its level. It is not refused for that.
func TestStartWaitsForTheLaunch(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]fake.Options{"levels": levels, "plain": plain} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := start(t, o, func(d *device) { d.cfg.ExecEnvs[0].AutoStart = false })
			du := d.installed(fake.Spec{Name: "a"}).ID
			launch := make(chan struct{})
			d.worlds["fake"].Hook("SetEnabled", fake.Before, func(fake.Call) error {
				<-launch
				return nil
			})
			d.ok(d.console("e").Lose("it died"))
			d.until("the environment is down", func(s *model.Snapshot) error {
				if e := s.ExecEnvByID("e"); e.Status == model.EEUp {
					return errors.New("it is up")
				}
				return nil
			})
			job, err := d.request(d.eu(du).ID, model.RequestActive)
			d.ok(err)
			d.until("the start is under way", func(s *model.Snapshot) error {
				if j := s.Job(job); j.State == model.JobQueued {
					return fmt.Errorf("it is %s", j.State)
				}
				return nil
			})
			close(launch)
			d.done(job, nil)
			d.rest(du, model.EUActive)
			if e := d.up().ExecEnvByID("e"); e.CurrentRunLevel != e.InitialRunLevel {
				t.Errorf("the environment is at level %d of %d", e.CurrentRunLevel, e.InitialRunLevel)
			}
		})
	}
}
