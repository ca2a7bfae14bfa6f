package agent_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/plugins/adapter/fake"
)

// TestPermanentUnits is about units that are part of the device's firmware, in an environment for which the agent keeps run levels and
// AutoStart.
func TestPermanentUnits(t *testing.T) {
	runs := fake.Spec{Name: "runs", Version: "1"}
	k := keep(t, func(k keeping) {
		c := k.console("e")
		// The firmware starts one of them itself, before anybody launches the environment.
		k.ok(errors.Join(c.InstallPermanent("runs", runs), c.InstallPermanent("rests", fake.Spec{Name: "rests", Version: "1"}),
			c.Launch(), c.Start("runs", fake.DefaultModule)))
	}, fake.Options{Export: true})
	seen := func(name string) *model.ExecutionUnit { return k.eu(k.row(name).ID) }
	if u := seen("runs"); !u.AutoStart || u.Status != model.EUActive || u.RunLevel != 1 {
		t.Errorf("what the firmware starts is %+v", *u)
	}
	if u := seen("rests"); u.AutoStart || u.Status != model.EUIdle {
		t.Errorf("what the firmware does not start is %+v", *u)
	}
	k.until("nothing reports their installation", func(s *model.Snapshot) error {
		for j := range s.Jobs() {
			return fmt.Errorf("there is job %+v", *j)
		}
		return nil
	})
	for _, name := range []string{"runs", "rests"} {
		_, err := k.uninstall(k.row(name).ID)
		wantReason(t, fault.RequestDenied, err)
		_, err = k.update(k.row(name).ID, fake.Spec{Name: name, Version: "2"})
		wantReason(t, fault.NotSupported, err)
	}
	// They are started, stopped and set as any other.
	k.done(k.request(seen("runs").ID, model.RequestIdle))
	k.done(k.request(seen("rests").ID, model.RequestActive))
	k.set(ref(model.KindExecutionUnit, seen("runs").ID), model.AutoStart, false)
	k.set(ref(model.KindExecutionUnit, seen("rests").ID), model.RunLevel, 0)
	k.set(ref(model.KindExecutionUnit, seen("rests").ID), model.AutoStart, true)
	k.installed(fake.Spec{Name: "since"})
	before := map[string]*model.DeploymentUnit{"runs": k.row("runs"), "rests": k.row("rests")}

	t.Run("a Reset restores what was set of them", func(t *testing.T) {
		k := k.in(t)
		k.done(k.reset("cwmp"))
		if k.rest(k.row("runs").ID, model.EUActive); !seen("runs").AutoStart {
			t.Errorf("what the firmware starts is %+v", *seen("runs"))
		}
		if u := k.rest(k.row("rests").ID, model.EUIdle); u.AutoStart || u.RunLevel != 1 {
			t.Errorf("what the firmware does not start is %+v", *u)
		}
		for name, was := range before {
			if now := k.row(name); now.ID != was.ID || now.Alias != was.Alias || now.Status != model.DUInstalled || !now.Installed.Equal(was.Installed) {
				t.Errorf("%s was\n\t%+v\nand is\n\t%+v", name, *was, *now)
			}
		}
		if n := k.agent.Snapshot().Count(model.KindDeploymentUnit); n != 2 {
			t.Errorf("there are %d units", n)
		}
		if n := k.world().Count("Export", ""); n > 0 {
			t.Errorf("an export was asked for %d times", n)
		}
	})
	t.Run("firmware that changed them", func(t *testing.T) {
		k := k.in(t)
		k.ok(errors.Join(k.console("e").Update("runs", fake.Spec{Name: "runs", Version: "2"}), k.console("e").Remove("rests"),
			k.console("e").InstallPermanent("new", fake.Spec{Name: "new", Version: "1"})))
		k.until("it is told", func(s *model.Snapshot) error {
			if s.Count(model.KindDeploymentUnit) != 3 || k.row("runs").Version != "2" || !k.row("rests").Missing {
				return errors.New(dump(s))
			}
			return nil
		})
		k.done(k.reset("usp"))
		if k.row("runs").Version != "2" || !k.row("rests").Missing || k.row("new").Missing {
			t.Error(dump(k.agent.Snapshot()))
		}
		k.done(k.uninstall(k.row("rests").ID)) // what is gone is no part of the firmware any more
	})
}
