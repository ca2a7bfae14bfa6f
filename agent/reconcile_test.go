package agent_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/plugins/adapter"
	"github.com/smmd-project/smmd/plugins/adapter/fake"
)

// row waits until a deployment unit with that name is there and check is content with it.
func (d *device) row(name string, check func(*model.DeploymentUnit) error) *model.DeploymentUnit {
	d.t.Helper()
	var row *model.DeploymentUnit
	d.until("the row of "+name+" is right", func(s *model.Snapshot) error {
		for u := range s.DeploymentUnits() {
			if u.Name == name {
				row = u
				return check(u)
			}
		}
		return errors.New("there is none")
	})
	return row
}

func there(u *model.DeploymentUnit) error {
	if u.Missing || u.Status != model.DUInstalled {
		return fmt.Errorf("it is %+v", *u)
	}
	return nil
}

func gone(u *model.DeploymentUnit) error {
	if !u.Missing {
		return fmt.Errorf("it is %+v", *u)
	}
	return nil
}

func TestFoundAndLost(t *testing.T) {
	d := prepare(t, levels)
	c := d.console("e")
	d.ok(c.Install("some/place", fake.Spec{Name: "factory", Vendor: "v", Version: "1"}))
	d.start()
	d.up()
	factory := d.row("factory", there)
	if factory.UUID == "" || factory.Key != "some/place" || factory.Alias == "" || !d.ee("e").Seen {
		t.Errorf("the row is %+v", *factory)
	}
	if u := d.eu(factory.ID); u.AutoStart || u.EUID != "e/"+factory.UUID {
		t.Errorf("the execution unit is %+v", *u)
	}
	d.ok(c.Install("later", fake.Spec{Name: "later", Version: "1"}))
	later := d.row("later", there)

	d.ok(c.Remove("later"))
	d.row("later", gone)
	if u := d.eu(later.ID); u.Status != model.EUIdle || u.FaultCode != model.UnStartable || u.FaultMessage == "" {
		t.Errorf("the execution unit of what is gone is %+v", *u)
	}
	d.ok(c.Install("later", fake.Spec{Name: "later", Version: "1"}))
	if again := d.row("later", there); again.ID != later.ID {
		t.Errorf("what came back is row %d, not %d", again.ID, later.ID)
	}

	// The same while the agent is away.
	d.kill()
	d.ok(c.Remove("some/place"))
	d.ok(c.Install("meanwhile", fake.Spec{Name: "meanwhile", Version: "1"}))
	d.start()
	d.row("factory", gone)
	d.row("meanwhile", there)
	d.done(d.uninstall(factory.ID))
	if d.agent.Snapshot().DeploymentUnit(factory.ID) != nil {
		t.Error("the row of what was gone is still there")
	}
	// The same in another launch.
	d.ok(c.Lose("a test"))
	d.ok(c.Remove("meanwhile"))
	d.row("meanwhile", gone)
	d.row("later", there)
}

func TestConsoleIsFollowed(t *testing.T) {
	d := start(t, levels)
	du := d.installed(fake.Spec{Name: "a"})
	d.rest(du.ID, model.EUActive)
	c := d.console("e")
	d.ok(c.SetAutoStart(du.Key, "main", false))
	d.until("AutoStart is as at the console", func(*model.Snapshot) error {
		if d.eu(du.ID).AutoStart {
			return errors.New("it is true")
		}
		return nil
	})
	d.ok(c.Crash(du.Key, "main", "out of luck", 3))
	if u := d.rest(du.ID, model.EUIdle); u.FaultCode != model.FailureWhileActive || u.FaultMessage != "out of luck" || u.ExitCode != 3 {
		t.Errorf("the execution unit is %+v", *u)
	}
	d.ok(c.Start(du.Key, "main"))
	d.rest(du.ID, model.EUActive)
}

func TestDependency(t *testing.T) {
	d := start(t, levels)
	user := d.installed(fake.Spec{Name: "user", Requires: []string{"lib"}})
	if u := d.eu(user.ID); user.Resolved || u.Status != model.EUIdle || u.FaultCode != model.DependencyFailure {
		t.Errorf("the rows are %+v %+v", *user, *u)
	}
	lib := d.installed(fake.Spec{Name: "lib", Modules: []fake.ModuleSpec{{ID: "main", Inert: true}}})
	d.done(d.request(d.eu(user.ID).ID, model.RequestActive))
	d.rest(user.ID, model.EUActive)
	for _, r := range []model.Request{model.RequestActive, model.RequestIdle, model.RequestRestart} {
		d.done(d.request(d.eu(lib.ID).ID, r))
	}
	d.done(d.uninstall(lib.ID))
	if u := d.rest(user.ID, model.EUIdle); u.FaultCode != model.DependencyFailure {
		t.Errorf("the execution unit is %+v", *u)
	}
}

// faults wants a fault code for the execution unit of each row.
func (d *device) faults(code model.FaultCode, ids ...model.RowID) {
	d.t.Helper()
	for _, id := range ids {
		d.until("the execution unit is idle with "+string(code), func(s *model.Snapshot) error {
			for u := range s.ExecutionUnitsOf(id) {
				if u.Status != model.EUIdle || u.FaultCode != code || u.FaultMessage == "" {
					return fmt.Errorf("it is %s: %s: %q", u.Status, u.FaultCode, u.FaultMessage)
				}
			}
			return nil
		})
	}
}

// A unit that was stopped before its environment ended was not at work then, also when both are told at once.
func TestStoppedBeforeTheEnd(t *testing.T) {
	d := start(t, plain)
	du := d.installed(fake.Spec{Name: "a"})
	for range 50 { // of which some are told at once
		d.rest(du.ID, model.EUActive)
		d.worlds["fake"].Fail("SetEnabled", adapter.Errorf(adapter.Internal, "cannot launch: a test"))
		d.ok(d.console("e").Stop(du.Key, d.eu(du.ID).Module))
		d.ok(d.console("e").Lose("it was ended"))
		d.faults(model.UnStartable, du.ID)
		d.worlds["fake"].Fail("SetEnabled", nil)
		d.ok(d.console("e").Launch())
		d.up()
	}
}

func TestEnvironmentDown(t *testing.T) {
	d := start(t, plain)
	active := d.installed(fake.Spec{Name: "active"}).ID
	idle := d.installed(fake.Spec{Name: "idle"}).ID
	d.rest(active, model.EUActive)
	d.done(d.request(d.eu(idle).ID, model.RequestIdle))
	d.rest(idle, model.EUIdle)

	d.worlds["fake"].Fail("SetEnabled", adapter.Errorf(adapter.Internal, "cannot launch: a test"))
	d.ok(d.console("e").Lose("it died"))
	d.faults(model.FailureWhileActive, active)
	d.faults(model.UnStartable, idle)
	d.until("the row says why", func(s *model.Snapshot) error {
		if e := s.ExecEnvByID("e"); e.Status != model.EEError || !strings.Contains(e.StatusDetail, "cannot launch: a test") {
			return fmt.Errorf("it is %s: %s", e.Status, e.StatusDetail)
		}
		return nil
	})
	begin := time.Now()
	d.failed(fault.ExecEnvUnavailable)(d.install(fake.Spec{Name: "b"}))
	d.failed(fault.ExecEnvUnavailable)(d.request(d.eu(active).ID, model.RequestActive))
	if took := time.Since(begin); took > d.cfg.Operations.CallDeadline/2 {
		t.Errorf("operations on a broken environment fail after %s only", took)
	}
	// Disabled while it is down: the row says so at once.
	d.worlds["fake"].Fail("SetEnabled", nil)
	d.enable("e", false)
	if e := d.ee("e"); e.Status != model.EEDisabled {
		t.Errorf("it is %s: %s", e.Status, e.StatusDetail)
	}
	d.faults(model.UnStartable, active, idle)
	d.enable("e", true)
	d.rest(active, model.EUActive)
	d.rest(idle, model.EUActive) // AutoStart

	d.enable("e", false)
	d.faults(model.UnStartable, active, idle)
	_, err := d.request(d.eu(active).ID, model.RequestActive)
	wantReason(t, fault.DisabledExecEnv, err)
	_, err = d.update(active, fake.Spec{Name: "active", Version: "2"})
	wantReason(t, fault.DisabledExecEnv, err)
	_, err = d.uninstall(active)
	wantReason(t, fault.DisabledExecEnv, err)
	_, err = d.install(fake.Spec{Name: "b"})
	wantReason(t, fault.DisabledExecEnv, err)

	// It stays down over a restart of the agent, and nobody launches it.
	launches := d.launches()
	d.restart()
	d.until("the adapter has told", func(*model.Snapshot) error {
		if e := d.ee("e"); e.Status != model.EEDisabled {
			return errors.New(string(e.Status))
		}
		return nil
	})
	d.enable("e", true)
	if n := d.launches(); n != launches+1 {
		t.Errorf("it was launched %d times", n-launches)
	}
}

func (d *device) launches() int {
	d.t.Helper()
	s, err := d.worlds["fake"].State()
	d.ok(err)
	return s.Envs["e"].Launches
}

func TestEnvironmentComesUpByItself(t *testing.T) {
	d := prepare(t, plain)
	d.worlds["fake"].Fail("SetEnabled", adapter.Errorf(adapter.Internal, "cannot launch: a test"))
	d.start()
	d.until("it is broken", func(s *model.Snapshot) error {
		if e := s.ExecEnvByID("e"); !strings.Contains(e.StatusDetail, "a test") {
			return errors.New(e.StatusDetail)
		}
		return nil
	})
	d.ok(d.console("e").Launch())
	d.up()
	d.installed(fake.Spec{Name: "a"})
}

func TestAdapterLost(t *testing.T) {
	d := start(t, plain)
	du := d.installed(fake.Spec{Name: "a"})
	d.rest(du.ID, model.EUActive)
	d.doubles["fake"].crash(true)
	d.until("the row says that the adapter is gone", func(s *model.Snapshot) error {
		if e := s.ExecEnvByID("e"); e.Status != model.EEError || !strings.Contains(e.StatusDetail, "adapter") {
			return fmt.Errorf("it is %s: %s", e.Status, e.StatusDetail)
		}
		return nil
	})
	// Meanwhile and until it has told again, the execution unit is as it was last seen.
	job, err := d.request(d.eu(du.ID).ID, model.RequestIdle)
	d.ok(err)
	feed := d.agent.Feed(t.Context())
	launches := d.launches()
	d.doubles["fake"].resume()
	for c := range feed {
		u := c.Snapshot.ExecutionUnit(d.eu(du.ID).ID)
		if u.FaultCode != model.NoFault {
			t.Fatalf("the execution unit is %+v", *u)
		}
		if c.Snapshot.Job(job).State.Final() {
			break
		}
	}
	d.done(job, nil)
	d.rest(du.ID, model.EUIdle)
	if d.launches() != launches {
		t.Error("the environment was launched although it ran")
	}
}

func TestNewsOfWhatIsGone(t *testing.T) {
	d := start(t, levels)
	c := d.console("e")
	// A unit changes while it is being removed: the news of that makes no new row.
	for i := range 20 {
		du := d.installed(fake.Spec{Name: fmt.Sprintf("u%d", i)})
		d.worlds["fake"].Hook("Uninstall", fake.Before, func(fake.Call) error {
			for range 10 {
				d.ok(c.Crash(du.Key, "main", "a test", 1))
				d.ok(c.Start(du.Key, "main"))
			}
			return nil
		})
		d.done(d.uninstall(du.ID))
		if n := d.agent.Snapshot().Count(model.KindDeploymentUnit); n != 0 {
			t.Fatalf("there are %d rows\n%s", n, dump(d.agent.Snapshot()))
		}
	}
	d.clean()
}

// TestManyUnits measures what a sync costs: it has to be nothing that a user notices.
func TestManyUnits(t *testing.T) {
	const n = 500
	d := prepare(t, levels)
	c := d.console("e")
	for i := range n {
		d.ok(c.Install(fmt.Sprintf("place/%d", i), fake.Spec{Name: fmt.Sprintf("u%d", i), Version: "1"}))
	}
	wait := func(what string) {
		t.Helper()
		begin := time.Now()
		d.until(what, func(s *model.Snapshot) error {
			if e := s.ExecEnvByID("e"); e.Status != model.EEUp || !e.Seen || s.Count(model.KindExecutionUnit) != n {
				return fmt.Errorf("%s, %d units", e.Status, s.Count(model.KindExecutionUnit))
			}
			return nil
		})
		took := time.Since(begin)
		t.Logf("%s after %s", what, took)
		if took > 10*time.Second { // a fraction of a second without the race detector and on a machine that is idle
			t.Errorf("%d units took %s", n, took)
		}
	}
	d.start()
	wait("the units are found")
	d.restart()
	wait("the units are found again")
	begin := time.Now()
	d.enable("e", false)
	t.Logf("down after %s", time.Since(begin))
}
