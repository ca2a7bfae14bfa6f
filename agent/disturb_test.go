package agent_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/plugins/adapter"
	"github.com/smmd-project/smmd/plugins/adapter/fake"
)

// change is an operation on a device that has the unit du, with all adapter calls it makes.
type change struct {
	name  string
	calls []string
	begin func(d *device, du model.RowID) (uint32, error)
}

var changes = []change{
	{"install", []string{"Inspect", "Install", "Start"}, func(d *device, _ model.RowID) (uint32, error) {
		return d.install(fake.Spec{Name: "b"})
	}},
	{"update", []string{"Inspect", "Update", "Start", "Discard"}, func(d *device, du model.RowID) (uint32, error) {
		return d.update(du, fake.Spec{Name: "a", Version: "2"})
	}},
	{"failing update", []string{"Update", "Revert", "Start"}, func(d *device, du model.RowID) (uint32, error) {
		return d.update(du, fake.Spec{Name: "a", Version: "2", UpdateFails: "a test"})
	}},
	{"install with settings", []string{"SetUnit"}, func(d *device, _ model.RowID) (uint32, error) {
		return d.installWith(fake.Spec{Name: "b"}, memory(2000), "KEY", "b")
	}},
	{"failing install with settings", []string{"SetUnit"}, func(d *device, _ model.RowID) (uint32, error) {
		return d.installWith(fake.Spec{Name: "b"}, disk(2000), "KEY", "b")
	}},
	{"update with settings", []string{"Update", "SetUnit", "Start"}, func(d *device, du model.RowID) (uint32, error) {
		return d.updateWith(du, fake.Spec{Name: "a", Version: "2"}, memory(2000), "KEY", "after", "NEW", "")
	}},
	{"failing update with settings", []string{"SetUnit", "Revert", "Start"}, func(d *device, du model.RowID) (uint32, error) {
		return d.updateWith(du, fake.Spec{Name: "a", Version: "2", UpdateFails: "a test"}, memory(2000), "KEY", "after")
	}},
	{"update with settings that are refused", []string{"SetUnit"}, func(d *device, du model.RowID) (uint32, error) {
		return d.updateWith(du, fake.Spec{Name: "a", Version: "2"}, disk(2000), "KEY", "after", "NEW", "")
	}},
	{"uninstall", []string{"Uninstall"}, func(d *device, du model.RowID) (uint32, error) {
		return d.uninstall(du)
	}},
	{"failing uninstall", []string{"Uninstall", "Start"}, func(d *device, du model.RowID) (uint32, error) {
		return d.uninstall(du)
	}},
	{"stop", []string{"Stop"}, func(d *device, du model.RowID) (uint32, error) {
		return d.request(d.eu(du).ID, model.RequestIdle)
	}},
	{"restart", []string{"Stop", "Start"}, func(d *device, du model.RowID) (uint32, error) {
		return d.request(d.eu(du).ID, model.RequestRestart)
	}},
}

// prepared returns a device with one active unit, and what may be the outcome of c there.
func (c change) prepared(t *testing.T, o fake.Options) (*device, model.RowID) {
	d := start(t, o)
	s := fake.Spec{Name: "a"}
	if c.name == "failing uninstall" {
		s.UninstallFails = "a test"
	}
	du := d.installedWith(s, memory(1000), "KEY", "before").ID
	d.rest(du, model.EUActive)
	return d, du
}

// outcome is the end state: rows, world and packages.
func (d *device) outcome(job uint32) string {
	d.t.Helper()
	j := d.end(job)
	var text string
	d.until("rows and world agree", func(s *model.Snapshot) error {
		text = string(j.State) + "\n"
		units := d.units("e")
		for du := range s.DeploymentUnits() {
			row := fmt.Sprintf("%s %s", du.Name, du.Version)
			for u := range s.ExecutionUnitsOf(du.ID) {
				row += " " + u.Module + "=" + string(u.Status)
				text += fmt.Sprintf("EU %s %t\n", u.EUID, u.AutoStart && !u.AutoStartPending)
			}
			if units[du.Key] != row {
				return fmt.Errorf("the row %d is %s, the environment has %v", du.ID, row, units)
			}
			settings, err := d.settings(du)
			if err != nil {
				return err
			}
			text += fmt.Sprintf("DU %d %s %s %s missing=%t %s\n", du.ID, row, du.UUID, du.Status, du.Missing, settings)
		}
		if len(units) != s.Count(model.KindDeploymentUnit) {
			return fmt.Errorf("the environment has %v", units)
		}
		return nil
	})
	d.stored(d.agent.Snapshot().Count(model.KindDeploymentUnit))
	return text
}

// errSkip says that something cannot happen sensibly in a call.
var errSkip = errors.New("not here")

// disturb runs each change undisturbed, then with something that happens at each of its adapter calls, before and after the
// effect, and wants the same end.
func disturb(t *testing.T, happens func(d *device, c fake.Call) error, after func(d *device, job uint32)) {
	for name, o := range map[string]fake.Options{"levels": levels, "plain": plain} {
		o.Settings, o.NoDiskLimit = true, true // a limit of disk space makes an operation fail
		for _, c := range changes {
			t.Run(name+"/"+c.name, func(t *testing.T) {
				t.Parallel()
				d, du := c.prepared(t, o)
				want := d.outcome(first(c.begin(d, du)))
				for _, method := range c.calls {
					for _, p := range []fake.Point{fake.Before, fake.After} {
						t.Run(fmt.Sprintf("%s %s", p, method), func(t *testing.T) {
							d, du := c.prepared(t, o)
							w := d.worlds["fake"]
							hit := make(chan struct{})
							var once sync.Once
							skip := false
							w.Hook(method, p, func(c fake.Call) (err error) {
								once.Do(func() {
									if err = happens(d, c); errors.Is(err, errSkip) {
										skip, err = true, nil
									}
									close(hit)
								})
								return err
							})
							job, err := c.begin(d, du)
							d.ok(err)
							<-hit
							if skip {
								d.end(job)
								return
							}
							after(d, job)
							if got := d.outcome(job); got != want {
								t.Errorf("the end is\n%s\nnot\n%s\n%s", got, want, dump(d.agent.Snapshot()))
							}
						})
					}
				}
			})
		}
	}
}

func TestAgentKilled(t *testing.T) {
	disturb(t, func(d *device, _ fake.Call) error {
		d.cancel()
		return context.Canceled
	}, func(d *device, job uint32) {
		// The operation is resumed before its environment has told anything.
		d.held = true
		d.restart()
		d.until("the operation is resumed", func(s *model.Snapshot) error {
			if j := s.Job(job); j.State == model.JobQueued {
				return fmt.Errorf("it is %+v", *j)
			}
			return nil
		})
		d.doubles["fake"].resume()
		d.up()
	})
}

// TestResumedInstallFails is about an install whose effect is there when the agent is ended, and that is refused afterwards.
func TestResumedInstallFails(t *testing.T) {
	resumed := func(t *testing.T, meanwhile func(*device), want fault.Reason) *device {
		d := start(t, levels)
		w := d.worlds["fake"]
		hit := make(chan struct{})
		w.Hook("Install", fake.After, func(fake.Call) error {
			w.Hook("Install", fake.After, nil)
			d.cancel()
			close(hit)
			return context.Canceled
		})
		job, err := d.install(fake.Spec{Name: "a"})
		d.ok(err)
		<-hit
		d.kill()
		meanwhile(d)
		d.start()
		d.failed(want)(job, nil)
		return d
	}
	t.Run("its own", func(t *testing.T) {
		resumed(t, func(d *device) {
			d.worlds["fake"].FailCall("Install", 1, adapter.Errorf(adapter.NotSupported, "cannot: a test"))
		}, fault.NotSupported).clean()
	})
	t.Run("another's", func(t *testing.T) {
		d := resumed(t, func(d *device) {
			c := d.console("e")
			for key := range d.units("e") {
				d.ok(c.Remove(key))
				d.ok(c.Install(key, fake.Spec{Name: "foreign", Version: "1"}))
			}
		}, fault.DuplicateDU)
		if len(d.units("e")) != 1 {
			t.Error("the unit of somebody else was removed")
		}
	})
}

func TestAdapterKilled(t *testing.T) {
	disturb(t, func(d *device, _ fake.Call) error {
		d.doubles["fake"].crash(false)
		return adapter.Errorf(adapter.Unavailable, "cannot: the adapter is gone")
	}, func(*device, uint32) {})
}

func TestEnvironmentLost(t *testing.T) {
	disturb(t, func(d *device, c fake.Call) error {
		if c.Method == "Inspect" || c.Method == "Stop" {
			return errSkip // the one needs no environment, and the other is overtaken by the AutoStart of the next launch
		}
		return errors.Join(d.console("e").Lose("a test"), adapter.Errorf(adapter.Unavailable, "cannot: the environment is gone"))
	}, func(d *device, _ uint32) {
		d.until("the environment is launched again", func(s *model.Snapshot) error {
			if e := s.ExecEnvByID("e"); e.Status != model.EEUp || e.Launch != "e#2" {
				return fmt.Errorf("it is %s, launch %s: %s", e.Status, e.Launch, e.StatusDetail)
			}
			return nil
		})
	})
}
